"""REINFORCE on what was lived long ago."""

from functools import partial
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._agent import shares
from ._experience import Transitions
from ._returns import normalised_advantages
from ._segments import OffPolicyGradient, Segments

Reduction = Literal["mean", "sum"]


class OffPolicyREINFORCE(OffPolicyGradient):
    """REINFORCE with generalised advantages on stretches of a replay memory, which MetaGenRL
    (Kirsch et al. 2020, arXiv:1910.04098, appendix B.3) is compared with; for continuous actions.

    All is as in `TD3`, but the objective of the policy: it comes closer to actions that turned out
    better than expected, and flees from the others, as if it had chosen them itself. There are no
    importance weights, so that its gradient is biased: it shows in which direction actions get
    better, and not where to stop. The value of an observation is what the first critic expects of
    the policy's action.

    The code of MetaGenRL adds 1 to the return of each episode and takes time limits for ends; its
    paper does neither, nor is it done here.
    """

    gae_lambda: float = eqx.field(static=True)
    reduction: Reduction = eqx.field(static=True)
    normalise_advantages: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        capacity: int = 50_000,
        warm_up: int = 500,
        critic_warm_up: int | None = None,
        every: int = 1,
        updates: int = 1,
        batch_size: int = 16,
        segment_length: int = 20,
        policy_delay: int = 2,
        learning_rate: float = 1e-3,
        discount: float = 0.98,
        gae_lambda: float = 0.97,
        reduction: Reduction = "mean",
        normalise_advantages: bool = True,
        max_gradient_norm: float = 1.0,
        tau: float = 0.005,
        exploration_noise: float = 0.1,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        layer_norm: bool = False,
    ):
        """In brackets what MetaGenRL has, in its tables 3 and 4 or its code. Defaults are the same
        but for sizes, the discount, which is that of `TD3`, and advantages, which are normalised.

        **Arguments:**

        - `hidden_sizes`: of the policy and of each critic (350 and 350).
        - `capacity`: environment steps that are remembered, of each stream (1,000,000).
        - `warm_up`: environment steps with random actions, after which policies learn (10,000).
        - `critic_warm_up`: environment steps after which critics learn; `None` for as many (as
            many).
        - `every`: environment steps from one time of learning to the next (1).
        - `updates`: of the critics, each time (1).
        - `batch_size`: stretches drawn for each of them, for critics and policy alike (100).
        - `segment_length`: `T`, environment steps of each stretch (20).
        - `policy_delay`: updates of the critics for each one of the policy and the targets (2).
        - `learning_rate`: of Adam, for policy and critics (0.001).
        - `discount`: per environment step (0.99).
        - `gae_lambda`: the decay of generalised advantage estimation (0.97, in its code).
        - `reduction`: whether squared distances are averaged over the dimensions of an action, as
            in its code, or summed, as in the logarithm of a density.
        - `normalise_advantages`: whether those of a batch get mean 0 and deviation 1 (not in its
            code, and then the policy flees from what it remembers, for most of that was worse).
        - `max_gradient_norm`: above which the gradients of the policy are scaled down (1).
        - `tau`: the share of the way that the targets go (0.005).
        - `exploration_noise`: the standard deviation of the noise on actions, which are from -1 to
            1 (0.1).
        - `target_noise`, `target_noise_clip`: the standard deviation of the noise on the action of
            the target, and its greatest size (0.2, 0.5).
        - `layer_norm`: whether the hidden layers of policy and critics are normalised (they are).

        **Raises:** `ValueError` for sizes and counts below one, no hidden layer, numbers out of
        range, or stretches longer than `capacity` or `warm_up`.
        """
        super().__init__(
            hidden_sizes,
            capacity=capacity,
            warm_up=warm_up,
            critic_warm_up=critic_warm_up,
            every=every,
            updates=updates,
            batch_size=batch_size,
            segment_length=segment_length,
            policy_delay=policy_delay,
            learning_rate=learning_rate,
            discount=discount,
            max_gradient_norm=max_gradient_norm,
            tau=tau,
            exploration_noise=exploration_noise,
            target_noise=target_noise,
            target_noise_clip=target_noise_clip,
            layer_norm=layer_norm,
        )
        shares({"gae_lambda": gae_lambda})
        if reduction not in get_args(Reduction):
            raise ValueError(
                f"`reduction` must be one of {', '.join(get_args(Reduction))}; got {reduction!r}."
            )
        self.gae_lambda, self.reduction = float(gae_lambda), reduction
        self.normalise_advantages = normalise_advantages

    def objective(self, segments: Segments) -> Float[Array, ""]:
        """What the policy minimises: the mean of `(a_t - pi(o_t))^2 A_t`, with the advantages `A_t`
        of the actions that were taken.
        """
        lived = segments.transitions
        advantages = jax.vmap(
            partial(Transitions.advantages, discount=self.discount, trace_decay=self.gae_lambda)
        )(lived, segments.values, segments.next_values)
        if self.normalise_advantages:
            advantages = normalised_advantages(advantages)
        distances = ((lived.actions - segments.policy_actions) ** 2).sum(-1)
        if self.reduction == "mean":
            mask, dimensions = segments.action_mask, segments.policy_actions.shape[-1]
            existing = dimensions if mask is None else mask.sum(-1, keepdims=True)
            distances = distances / jnp.asarray(existing, distances.dtype)
        return (distances * advantages).mean()
