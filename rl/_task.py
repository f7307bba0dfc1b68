"""Tasks: what a learner lives in, and where they come from."""

import abc
import math
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from ._learner import Spaces


@runtime_checkable
class Space(Protocol):
    """What a lifetime has to know of a space of observations or of continuous actions."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an element."""
        ...


@runtime_checkable
class Environment(Protocol):
    """The part of the interface of gymnax 1.0 that a lifetime uses.

    Any `gymnax.environments.environment.Environment` has it. The task is in the parameters, so
    that it outlives the episodes.

    It may also have `action_space(params)`, as those of gymnax do; without it, actions are
    discrete. A continuous action reaches `step` as the learner gave it: a vector of numbers from -1
    to 1, which the environment has to give a scale. And it may have `metrics`, the names of the
    scalars in its `info` that are worth summing up.
    """

    @property
    def num_actions(self) -> int:
        """The number of actions; read only where they are discrete."""
        ...

    def observation_space(self, params: PyTree) -> Space:
        """The space of observations."""
        ...

    def reset(self, key: PRNGKeyArray, params: PyTree) -> tuple[Array, PyTree]:
        """The first observation and state of an episode."""
        ...

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Array, params: PyTree
    ) -> tuple[Array, PyTree, Array, Array, Array, dict]:
        """Observation, state, reward, terminated, truncated and info, after any reset."""
        ...


class Task(eqx.Module):
    """An environment and the parameters that make one task of it.

    - `environment`: any environment with the interface of gymnax 1.0.
    - `params`: its parameters: the arms of a bandit, the length of a pole.
    - `observation_mask`, `action_mask`: which sensors and actions exist; `None` where all do.
    - `metrics`: names of scalars in the environment's `info`, which a lifetime sums up.
    """

    environment: Environment = eqx.field(static=True)
    params: PyTree
    observation_mask: Bool[Array, " A"] | None = None
    action_mask: Bool[Array, " B"] | None = None
    metrics: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def spaces(self) -> Spaces:
        """Sizes and masks, for `Learner.init`. Observations of any shape are flattened.

        **Raises:** `ValueError` if actions are neither discrete nor a box of numbers.
        """
        shape = self.environment.observation_space(self.params).shape
        box = _box_shape(self.environment, self.params)
        return Spaces(
            math.prod(shape),
            self.environment.num_actions if box is None else math.prod(box),
            self.observation_mask,
            self.action_mask,
            continuous=box is not None,
        )


def _box_shape(environment: Environment, params: PyTree) -> tuple[int, ...] | None:
    """The shape of a continuous action; `None` where actions are discrete."""
    action_space = getattr(environment, "action_space", None)
    if action_space is None:
        return None
    try:
        space = action_space(params)
    except NotImplementedError:  # what the base class of gymnax says
        return None
    if hasattr(space, "n"):
        return None
    if not all(hasattr(space, name) for name in ("low", "high", "shape")):
        raise ValueError(
            f"Actions must be discrete or a box of numbers, but {type(environment).__name__} has "
            f"{space!r}. Wrap it so that `action_space` is a Discrete or a Box."
        )
    return tuple(space.shape)


class TaskDistribution(eqx.Module):
    """Where the task of each life is drawn from.

    All tasks of a distribution have the same static sizes; smaller ones are masked.
    """

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Task:
        """The task of one life."""

    @property
    def spaces(self) -> Spaces:
        """The static sizes that all tasks of the distribution share."""

        def sizes() -> Spaces:
            spaces = self.sample(key=jr.key(0)).spaces
            return Spaces(spaces.observation_size, spaces.num_actions, continuous=spaces.continuous)

        return eqx.filter_eval_shape(sizes)


class FixedTask(TaskDistribution):
    """The same task for every life."""

    task: Task

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """The task."""
        del key
        return self.task
