"""The outer loop of MetaGenRL: did a step down the objective make the policy better?"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from rl.classic import Networks, OffPolicyGradient, Transitions

from ._lesson import Lesson, total_reward

InnerReduction = Literal["sum", "mean", "normalised"]


_LEAST = 1e-20  # of a root mean square, below which there is no direction


class CriticGradient(eqx.Module):
    """Gradients of critics through steps of policies down a learned objective (Kirsch et al. 2020,
    arXiv:1910.04098, equation 6), for any `rl.classic.OffPolicyGradient` with meta-variables, such
    as `meta.MetaGenRL`.

    A population of agents lives on and on, each with a task, a policy, critics and a memory of its
    own; in one generation each lives the `steps` of its lesson, whose `lives` are its agents. As
    often as policies are updated, so is the objective: each agent takes a step down it on stretches
    of its memory, its first critic says what the actions of that policy are worth on all of them,
    and the gradient of that for the objective, clipped, is averaged over all agents.
    """

    optimizer: optax.GradientTransformation = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    inner_rate: float = eqx.field(static=True)
    inner_reduction: InnerReduction = eqx.field(static=True)
    max_gradient_norm: float = eqx.field(static=True)
    annealing: int = eqx.field(static=True)
    restarts: tuple[int, int] | None = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation | None = None,
        *,
        inner_steps: int = 1,
        inner_rate: float = 1e-3,
        inner_reduction: InnerReduction = "normalised",
        max_gradient_norm: float = 1.0,
        annealing: int = 2000,
        restarts: tuple[int, int] | None = None,
    ):
        """In brackets what the paper has.

        **Arguments:**

        - `optimizer`: of the objective; `optax.adam(1e-3)` by default (the same).
        - `inner_steps`: steps of the policy before the critic judges it (1; also 3 and 5).
        - `inner_rate`: the rate of these steps, plain gradient descent (0.001).
        - `inner_reduction`: whether they follow the sum of the objective over all steps of a batch,
            as in its code, or its mean; `"normalised"` divides the gradient by its root mean
            square, so that an objective is judged by where it leads alone, whatever its scale. The
            updates that stay have the mean, and Adam, which does not see the scale either.
        - `max_gradient_norm`: above which each agent's gradient is scaled down (1).
        - `annealing`: environment steps of each agent, after the first `warm_up`, over which the
            objective takes the place of the critics' values, which policies follow at first; once
            in a meta-training, for those that begin anew as well (10,000).
        - `restarts`: the least and the most environment steps after which an agent begins anew,
            drawn each time; `None` for never (as there). Without, all agents are good before long,
            and the objective forgets how to train those that are not (appendix A.2).

        **Raises:** `ValueError` for a number out of range, or an unknown reduction.
        """
        for name, value in (("inner_steps", inner_steps),):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        for name, value in (("inner_rate", inner_rate), ("max_gradient_norm", max_gradient_norm)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"`{name}` must be a number above 0, got {value}.")
        if annealing < 0:
            raise ValueError(f"`annealing` must be at least 0 (none), got {annealing}.")
        if inner_reduction not in get_args(InnerReduction):
            raise ValueError(
                f"`inner_reduction` must be one of {', '.join(get_args(InnerReduction))}; got "
                f"{inner_reduction!r}."
            )
        if restarts is not None and not 1 <= restarts[0] <= restarts[1]:
            raise ValueError(
                f"`restarts` must be (least, most), with 1 <= least <= most; got {restarts}."
            )
        self.optimizer = optax.adam(1e-3) if optimizer is None else optimizer
        self.inner_steps, self.inner_rate = inner_steps, float(inner_rate)
        self.inner_reduction, self.annealing = inner_reduction, annealing
        self.max_gradient_norm, self.restarts = float(max_gradient_norm), restarts

    @classmethod
    def paper(cls) -> "CriticGradient":
        """As printed, in table 4 and appendix B.2, and in the authors' code."""
        return cls(optax.adam(1e-3), inner_reduction="sum", annealing=10_000)

    @property
    def population(self) -> int:
        """One: all agents follow the same objective."""
        return 1

    @property
    def schedules(self) -> dict[str, Callable[[int], float]]:
        """None of its settings changes with the generations."""
        return {}

    def steps(self, lesson: Lesson) -> int:
        """Environment steps of one agent in one generation."""
        return lesson.steps

    def share(self, steps: Int[Array, ""]) -> Float[Array, ""]:
        """How much of what a policy follows is the objective; the rest is the critic's value.

        **Arguments:**

        - `steps`: environment steps of each agent in all of the meta-training, less `warm_up`.
        """
        if self.annealing == 0:
            return jnp.ones(())
        return jnp.clip(steps.astype(jnp.float32) / self.annealing, 0.0, 1.0)

    def check(self, learner: object, lessons: Sequence[Lesson]) -> None:
        """Refuse what it cannot meta-train.

        **Raises:** `ValueError` for a learner of another kind, lessons of different steps, steps
        that are no whole number of the learner's, continuous actions missing, or a fitness.
        """
        if not isinstance(learner, OffPolicyGradient):
            raise ValueError(
                f"{type(learner).__name__} has no critics that could judge what it learns with: "
                "`CriticGradient` is for MetaGenRL. Meta-train it by `EvolutionStrategy`."
            )
        lengths = sorted({lesson.steps for lesson in lessons})
        if len(lengths) > 1:
            raise ValueError(
                "All agents live side by side, so that lessons must have the same `steps`; got "
                f"{', '.join(map(str, lengths))}."
            )
        together = learner.every * learner.policy_delay
        if lengths[0] * learner.updates % together:
            raise ValueError(
                f"`steps` times `updates` must be a multiple of {together}, `every` times "
                f"`policy_delay` of the learner; got {lengths[0]} and {learner.updates}."
            )
        for lesson in lessons:
            if not lesson.tasks.spaces.continuous and not learner.discrete:
                raise ValueError(
                    f"{type(learner).__name__} has continuous actions only, but those of the "
                    f"lesson {lesson.name} are discrete."
                )
            if lesson.fitness is not total_reward:
                raise ValueError(
                    "Critics judge by the rewards of the steps; a `fitness` of whole lives is for "
                    "`EvolutionStrategy`."
                )

    def loss(
        self,
        learner: OffPolicyGradient,
        networks: Networks,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
    ) -> Float[Array, ""]:
        """What the objective of a learner minimises: the value, negated, of the actions of a policy
        that has followed it (equations 6 and 8).

        **Arguments:**

        - `learner`: whose objective it is.
        - `networks`: of an agent; only its policy moves.
        - `batch`: `(inner_steps + 1) batch_size` stretches. Each step follows the objective on some
            of them; the critic judges the actions on all.
        - `masks`: of their actions.
        """
        networks = jax.lax.stop_gradient(networks)
        actor, count = networks.actor, learner.batch_size
        rate = self.inner_rate
        if self.inner_reduction == "sum":
            rate *= count * learner.segment_length
        for k in range(self.inner_steps):
            own = slice(k * count, (k + 1) * count)
            some = jax.tree.map(lambda x, own=own: x[own], (batch, masks))
            gradient = _slope((learner, actor), networks, *some)
            if self.inner_reduction == "normalised":
                gradient = _normalised(gradient)
            actor = jax.tree.map(lambda w, g: w - rate * g, actor, gradient)
        moved = eqx.tree_at(lambda n: n.actor, networks, actor)
        return learner.value_loss(moved, batch, masks)


def _normalised(gradient: eqx.Module) -> eqx.Module:
    """A gradient over its root mean square."""
    size = sum(x.size for x in jax.tree.leaves(gradient))
    scale = optax.tree.norm(gradient) / math.sqrt(size)
    return jax.tree.map(lambda g: g / jnp.maximum(scale, _LEAST), gradient)


@eqx.filter_custom_vjp
def _slope(
    moving: tuple[OffPolicyGradient, eqx.Module],
    networks: Networks,
    batch: Transitions,
    masks: Bool[Array, "n B"] | None,
) -> eqx.Module:
    """The gradient, for a policy, of what a learner's policies minimise.

    **Arguments:**

    - `moving`: the learner and the policy. Derivatives are taken for these two only.
    - `networks`: all of an agent, of which the critics count.
    - `batch`, `masks`: of its memory.
    """
    return _both_slopes(moving, networks, batch, masks)[1]


@_slope.def_fwd
def _slope_forward(perturbed, moving, networks, batch, masks):
    del perturbed
    return _slope(moving, networks, batch, masks), None


@_slope.def_bwd
def _slope_backward(residuals, direction, perturbed, moving, networks, batch, masks):
    """Forwards through the gradient, which is cheaper than backwards: it is of one number, so that
    the order of two derivatives does not matter.
    """
    del residuals, perturbed
    learner, actor = moving

    def both(actor: eqx.Module) -> tuple[OffPolicyGradient, eqx.Module]:
        return _both_slopes((learner, actor), networks, batch, masks)

    return eqx.filter_jvp(both, (actor,), (direction,))[1]


def _both_slopes(
    moving: tuple[OffPolicyGradient, eqx.Module],
    networks: Networks,
    batch: Transitions,
    masks: Bool[Array, "n B"] | None,
) -> tuple[OffPolicyGradient, eqx.Module]:
    """The gradients for the learner and for the policy."""

    def objective(moving: tuple[OffPolicyGradient, eqx.Module]) -> Float[Array, ""]:
        learner, actor = moving
        moved = eqx.tree_at(lambda n: n.actor, networks, actor)
        return learner.policy_loss(moved, batch, masks)

    return eqx.filter_grad(objective)(moving)
