"""The one idea: every algorithm, learned or made by hand, is a Learner."""

import abc
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ._readout import Readout

State = TypeVar("State")
Action = Int[Array, ""] | Float[Array, " B"]


class Spaces(eqx.Module):
    """What a learner has to know of a task at birth.

    - `observation_size`: `A`, the numbers in an observation.
    - `num_actions`: `B`, the discrete actions, or the numbers in a continuous one.
    - `observation_mask`, `action_mask`: `False` where a sensor or action does not exist, so
        that tasks of different sizes share one compiled program. `None` where all exist.
    - `continuous`: whether an action is `B` numbers, each from -1 to 1, instead of one of `B`.
    """

    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_mask: Bool[Array, " A"] | None = None
    action_mask: Bool[Array, " B"] | None = None
    continuous: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        for name in ("observation_size", "num_actions"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name, size in (
            ("observation_mask", self.observation_size),
            ("action_mask", self.num_actions),
        ):
            mask = getattr(self, name)
            if mask is not None and mask.shape != (size,):
                raise ValueError(f"`{name}` must have shape {(size,)}, got {mask.shape}.")

    def check_discrete(self, learner: "Learner") -> None:
        """Refuse a task with continuous actions, for a learner that has discrete ones only.

        **Raises:** `ValueError` if actions are continuous.
        """
        if self.continuous:
            raise ValueError(
                f"{type(learner).__name__} has discrete actions only, but the actions of this task "
                f"are continuous ({self.num_actions} number(s) each). Use a learner that has both, "
                "such as SymLA."
            )

    def check_fixed(
        self, learner: "Learner", observation_size: int, num_actions: int, continuous: bool
    ) -> None:
        """Refuse a task that does not fit a learner of fixed size.

        **Raises:** `ValueError` for other sizes or another kind of actions than it was made for.
        """
        name = type(learner).__name__
        if (self.observation_size, self.num_actions) != (observation_size, num_actions):
            raise ValueError(
                f"This {name} was made for {observation_size} observations and {num_actions} "
                f"actions, but the task has {self.observation_size} and {self.num_actions}. Its "
                "sizes are fixed: pad the task, or use SymLA."
            )
        if self.continuous != continuous:
            kinds = {True: "continuous", False: "discrete"}
            raise ValueError(
                f"This {name} was made for {kinds[continuous]} actions, but those of the task are "
                f"{kinds[self.continuous]}. Make it with `continuous={self.continuous}`, or use "
                "SymLA, which has both."
            )


class TimeStep(eqx.Module):
    """What the environment tells a learner after each of its actions.

    Nothing is lost at the end of an episode: the reward, the action and the observation that
    ended it are all here, beside the first observation of the next episode.

    - `observation`: what to act on now.
    - `action`: the action that led here: an integer, -1 at birth; or, in a task with continuous
        actions, `B` numbers from -1 to 1, zeros at birth.
    - `reward`: its reward, 0 at birth.
    - `terminated`: whether that action ended the episode by the rules of the task.
    - `truncated`: whether that action ended the episode by its time limit.
    - `final_observation`: where that action led, before any reset; the same as `observation`
        unless the episode ended.
    """

    observation: Float[Array, " A"]
    action: Action
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    final_observation: Float[Array, " A"]

    @classmethod
    def first(cls, observation: Float[Array, " A"], spaces: Spaces | None = None) -> "TimeStep":
        """The time step at birth: an observation, and nothing done yet.

        **Arguments:**

        - `observation`: the first observation.
        - `spaces`: of the task; needed if its actions are continuous.
        """
        if spaces is not None and spaces.continuous:
            action = jnp.zeros((spaces.num_actions,), observation.dtype)
        else:
            action = jnp.asarray(-1, jnp.int32)
        return cls(
            observation=observation,
            action=action,
            reward=jnp.zeros((), observation.dtype),
            terminated=jnp.asarray(False),
            truncated=jnp.asarray(False),
            final_observation=observation,
        )

    def check_kind(self, continuous: bool) -> None:
        """Refuse an action that is not of the kind of the task that a learner was born in.

        **Raises:** `ValueError` for a discrete action in a continuous task, or the opposite.
        """
        if (self.action.ndim == 1) != continuous:
            kind = "continuous" if continuous else "discrete"
            raise ValueError(
                f"This learner was born in a task with {kind} actions, but was told of an action "
                f"of shape {self.action.shape}. A life starts with `TimeStep.first(observation, "
                "spaces)`, and its spaces stay as they are at birth."
            )

    @property
    def ended(self) -> Bool[Array, ""]:
        """Whether the last action ended an episode, for either reason."""
        return self.terminated | self.truncated


class Learner(eqx.Module, Generic[State]):
    """A thing that lives in an environment, receives observations and rewards, and acts.

    The arrays of the module are the meta-variables, which an outer loop may optimise. `init`
    makes the learned variables, and `step` is the learning algorithm (table 1 of SymLA,
    arXiv:2109.10781).

    A learner may offer `advance(state, timestep) -> (state, logits)`, the deterministic part of a
    step: `proofs.certify` then looks at it, too. With `readout_of(state)`, which says what these
    logits mean, it is `Differentiable`, and gradients can meta-train it.

    A learner keeps each argument of its constructor, but the key, as a static field of the same
    name; that is what `meta.save` writes down.
    """

    @abc.abstractmethod
    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> State:
        """The learned variables at birth.

        **Arguments:**

        - `spaces`: sizes and masks of the task.
        - `key`: the random key of this life's initial state.
        """

    @abc.abstractmethod
    def step(self, state: State, timestep: TimeStep, *, key: PRNGKeyArray) -> tuple[State, Action]:
        """Learn from the last action and choose the next one.

        **Arguments:**

        - `state`: the learned variables.
        - `timestep`: what the last action led to.
        - `key`: the random key of this step.

        **Returns:**

        The new learned variables and an action of the kind of the task: `Spaces.continuous`.
        """


@runtime_checkable
class Differentiable(Protocol):
    """What a learner offers beside `init` and `step`, so that gradients can meta-train it.

    A step is then the two together: `advance`, and a choice by the readout.
    """

    def advance(self, state: Any, timestep: TimeStep) -> tuple[Any, Array]:
        """The deterministic part of a step: the new state and the logits of the next action."""
        ...

    def readout_of(self, state: Any) -> Readout:
        """What these logits mean: how an action is drawn from them, and with what probability."""
        ...
