"""Policies that follow an objective over stretches of what was lived long ago."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ._agent import above_zero, at_least_one
from ._experience import Experience, Transitions, draw_segments, joined
from ._optimisers import clipped
from ._td3 import TD3, Actors
from ._twin_critics import Networks


class Segments(eqx.Module):
    """Stretches of `T` consecutive steps, and what is thought of them now.

    - `transitions`: the steps, of which the flags tell where episodes ended.
    - `values`: of each observation, `V(o_t)`.
    - `next_values`: of where each step led before any reset, `V(o'_t)`.
    - `policy_actions`: what the policy would do now, `pi(o_t)`. Gradients reach the policy through
        these only.
    - `action_mask`: which actions exist; `None` where all do.
    """

    transitions: Transitions
    values: Float[Array, "n T"]
    next_values: Float[Array, "n T"]
    policy_actions: Float[Array, "n T B"]
    action_mask: Bool[Array, "n B"] | None


class OffPolicyGradient(TD3):
    """What follows an objective over stretches of a replay memory, in place of the critic's value.

    All else is as in `TD3`. A subclass says what its objective is.
    """

    segment_length: int = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)

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
        max_gradient_norm: float = 1.0,
        tau: float = 0.005,
        exploration_noise: float = 0.1,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        layer_norm: bool = False,
    ):
        """**Arguments:**

        - `batch_size`: stretches drawn for each update.
        - `segment_length`: `T`, environment steps of each stretch.
        - `max_gradient_norm`: above which the gradients of the policy are scaled down.
        - the others: as in `TD3`.

        **Raises:** `ValueError` as `TD3`, and for stretches longer than `capacity` or `warm_up`.
        """
        super().__init__(
            hidden_sizes,
            capacity=capacity,
            warm_up=warm_up,
            critic_warm_up=critic_warm_up,
            every=every,
            updates=updates,
            batch_size=batch_size,
            policy_delay=policy_delay,
            learning_rate=learning_rate,
            discount=discount,
            tau=tau,
            exploration_noise=exploration_noise,
            target_noise=target_noise,
            target_noise_clip=target_noise_clip,
            layer_norm=layer_norm,
        )
        at_least_one({"segment_length": segment_length})
        lengths = {"capacity": capacity, "warm_up": warm_up, "critic_warm_up": self.learns_from}
        for name, steps in lengths.items():
            if steps < segment_length:
                raise ValueError(
                    f"`{name}` must be at least `segment_length`, {segment_length}, so that there "
                    f"is a stretch to learn from; got {steps}."
                )
        above_zero({"max_gradient_norm": max_gradient_norm})
        self.segment_length, self.max_gradient_norm = segment_length, float(max_gradient_norm)

    @abc.abstractmethod
    def objective(self, segments: Segments) -> Float[Array, ""]:
        """What the policy minimises.

        It may be any function of the segments from which `segments.policy_actions` get a gradient.
        """

    @property
    def policy_optimiser(self) -> optax.GradientTransformation:
        """Adam on clipped gradients."""
        return clipped(self.optimiser, self.max_gradient_norm)

    def sample(
        self, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Transitions, Bool[Array, "n B"] | None]:
        """Stretches of steps, with axes `n T`, and the masks of their actions; see `TD3.sample`."""
        return draw_segments(streams, self.batch_size, self.segment_length, steps, key=key)

    def policy_loss(
        self, networks: Networks, batch: Transitions, masks: Bool[Array, "n B"] | None
    ) -> Float[Array, ""]:
        """The objective on what the networks think of a batch; see `TD3.policy_loss`."""
        return self.objective(self.look(networks, batch, masks))

    def value_loss(
        self, networks: Networks, batch: Transitions, masks: Bool[Array, "n B"] | None
    ) -> Float[Array, ""]:
        """What the policy of a TD3 minimises, on stretches of steps; see `TD3.policy_loss`."""
        return super().policy_loss(networks, *self._one_by_one(batch, masks))

    def look(
        self, networks: Networks, batch: Transitions, masks: Bool[Array, "n B"] | None
    ) -> Segments:
        """What policy and first critic think of each step.

        **Arguments:**

        - `networks`: policy and critics.
        - `batch`: stretches of steps, with axes `n T`.
        - `masks`: of their actions.
        """

        def one(steps: Transitions, mask: Array | None) -> tuple[Array, Array, Array]:
            policy = jax.vmap(lambda observation: networks.policy(observation, mask))
            actions, later = policy(steps.observations), policy(steps.final_observations)
            values = jax.vmap(networks.value)(steps.observations, actions)
            return values, jax.vmap(networks.value)(steps.final_observations, later), actions

        values, next_values, actions = jax.vmap(one)(batch, masks)
        values, next_values = jax.lax.stop_gradient((values, next_values))
        return Segments(batch, values, next_values, actions, masks)

    def fit_critics(
        self,
        knowledge: Actors,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
        *,
        key: PRNGKeyArray,
    ) -> Actors:
        """One step of both critics, for which the order of the steps does not matter."""
        return super().fit_critics(knowledge, *self._one_by_one(batch, masks), key=key)

    def _one_by_one(
        self, batch: Transitions, masks: Bool[Array, "n B"] | None
    ) -> tuple[Transitions, Bool[Array, "steps B"] | None]:
        """The steps of all stretches, with the masks of their actions."""
        if masks is not None:
            masks = jnp.repeat(masks, self.segment_length, axis=0)
        return joined(batch), masks
