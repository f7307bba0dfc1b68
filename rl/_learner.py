"""The one idea: every algorithm, learned or made by hand, is a Learner."""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

State = TypeVar("State")


class Spaces(eqx.Module):
    """What a learner has to know of a task at birth.

    - `observation_size`: `A`, the numbers in an observation.
    - `num_actions`: `B`, the discrete actions.
    - `observation_mask`, `action_mask`: `False` where a sensor or action does not exist, so
        that tasks of different sizes share one compiled program. `None` where all exist.
    """

    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_mask: Bool[Array, " A"] | None = None
    action_mask: Bool[Array, " B"] | None = None

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


class TimeStep(eqx.Module):
    """What the environment tells a learner after each of its actions.

    Nothing is lost at the end of an episode: the reward, the action and the observation that
    ended it are all here, beside the first observation of the next episode.

    - `observation`: what to act on now.
    - `action`: the action that led here, -1 at birth.
    - `reward`: its reward, 0 at birth.
    - `terminated`: whether that action ended the episode by the rules of the task.
    - `truncated`: whether that action ended the episode by its time limit.
    - `final_observation`: where that action led, before any reset; the same as `observation`
        unless the episode ended.
    """

    observation: Float[Array, " A"]
    action: Int[Array, ""]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    final_observation: Float[Array, " A"]

    @classmethod
    def first(cls, observation: Float[Array, " A"]) -> "TimeStep":
        """The time step at birth: an observation, and nothing done yet."""
        return cls(
            observation=observation,
            action=jnp.asarray(-1, jnp.int32),
            reward=jnp.zeros((), observation.dtype),
            terminated=jnp.asarray(False),
            truncated=jnp.asarray(False),
            final_observation=observation,
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
    step: `proofs.certify` then looks at it, too.

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
    def step(
        self, state: State, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[State, Int[Array, ""]]:
        """Learn from the last action and choose the next one.

        **Arguments:**

        - `state`: the learned variables.
        - `timestep`: what the last action led to.
        - `key`: the random key of this step.

        **Returns:**

        The new learned variables and an action.
        """
