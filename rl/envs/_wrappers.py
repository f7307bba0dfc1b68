"""Wrappers: distributions of tasks around another, with something new drawn for each life."""

from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, PRNGKeyArray

from .._learner import Spaces
from .._task import Task, TaskDistribution
from ._counts import Counts, bounds, checked, drawn
from ._wrapped import (
    Delayed,
    DelayParams,
    Distracted,
    DistractParams,
    Padded,
    PadParams,
    Permuted,
    PermuteParams,
    Projected,
    ProjectParams,
    SwapParams,
    Swapped,
    Withheld,
    WithholdParams,
)

PermutedPart = Literal["both", "observations", "actions"]


class Permute(TaskDistribution):
    """Sensors, actions or both in an order of their own in each life (figure 5 of SymLA).

    The numbers of a continuous action are permuted as discrete actions are.

    !!! Example

        ```python
        tasks = rl.envs.Permute(rl.envs.Vary(rl.envs.CartPole()))
        ```
    """

    tasks: TaskDistribution
    what: PermutedPart = eqx.field(static=True)

    def __init__(self, tasks: TaskDistribution, what: PermutedPart = "both"):
        """**Arguments:**

        - `tasks`: the tasks to permute.
        - `what`: `"observations"`, `"actions"` or `"both"`.

        **Raises:** `ValueError` for another `what`.
        """
        if what not in get_args(PermutedPart):
            raise ValueError(
                f"`what` must be one of {', '.join(get_args(PermutedPart))}; got {what!r}."
            )
        self.tasks, self.what = _distribution(tasks), what

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task with its sensors and actions in an order drawn for one life."""
        task_key, sensors_key, actions_key = jr.split(key, 3)
        task = self.tasks.sample(key=task_key)
        now = task.spaces
        sensors, actions = jnp.arange(now.observation_size), jnp.arange(now.num_actions)
        if self.what != "actions":
            sensors = jr.permutation(sensors_key, sensors)
        if self.what != "observations":
            actions = jr.permutation(actions_key, actions)
        seen, done = now.observation_mask, now.action_mask
        return Task(
            Permuted(task.environment, *_sizes(now)),
            PermuteParams(task.params, sensors, actions),
            None if seen is None else seen[sensors],
            None if done is None else done[actions],
            task.metrics,
        )


class Project(TaskDistribution):
    """Observations through a random linear map, drawn for each life (figure 7 of SymLA).

    The map is Glorot-normal: its numbers have the variance `2 / (A + size)`, where sensors that are
    masked do not count and are not seen. There is nothing to mask afterwards.
    """

    tasks: TaskDistribution
    size: int = eqx.field(static=True)
    shared: bool = eqx.field(static=True)

    def __init__(self, tasks: TaskDistribution, size: int = 16, *, shared: bool = False):
        """**Arguments:**

        - `tasks`: the tasks whose observations are projected.
        - `size`: the numbers in an observation afterwards.
        - `shared`: one map for all lives, instead of one for each.

        **Raises:** `ValueError` for a size below one.
        """
        if size < 1:
            raise ValueError(f"`size` must be at least 1, got {size}.")
        self.tasks, self.size, self.shared = _distribution(tasks), size, shared

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task seen through a map drawn for one life."""
        task_key, matrix_key = jr.split(key)
        task = self.tasks.sample(key=task_key)
        now = task.spaces
        if self.shared:
            matrix_key = jr.key(0)
        matrix = jr.normal(matrix_key, (now.observation_size, self.size))
        mask = _mask(now.observation_mask, now.observation_size)
        variance = 2.0 / (mask.sum() + self.size).astype(matrix.dtype)
        matrix = jnp.where(mask[:, None], matrix * jnp.sqrt(variance), 0.0)
        return Task(
            Projected(task.environment, self.size, now.num_actions, now.continuous),
            ProjectParams(task.params, matrix),
            None,
            now.action_mask,
            task.metrics,
        )


class SwapRewards(TaskDistribution):
    """Rewards with the opposite sign, in every life or in some (figure 6 of SymLA).

    What paid +1 costs 1, so in a `HeartTrap` hearts are what traps were.
    """

    tasks: TaskDistribution
    chance: float = eqx.field(static=True)

    def __init__(self, tasks: TaskDistribution, chance: float = 1.0):
        """**Arguments:**

        - `tasks`: the tasks whose rewards are swapped.
        - `chance`: the probability that a life has swapped rewards.

        **Raises:** `ValueError` for a chance that is no probability.
        """
        self.tasks, self.chance = _distribution(tasks), _probability("chance", chance)

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task whose rewards are swapped or not, for one life."""
        task_key, swap_key = jr.split(key)
        task = self.tasks.sample(key=task_key)
        return Task(
            Swapped(task.environment, *_sizes(task.spaces)),
            SwapParams(task.params, jr.bernoulli(swap_key, self.chance)),
            task.observation_mask,
            task.action_mask,
            task.metrics,
        )


class DelayRewards(TaskDistribution):
    """Rewards that come some steps after what they are for.

    They also cross the ends of episodes. Those that are still to come when a life ends are lost.
    """

    tasks: TaskDistribution
    delay: Counts = eqx.field(static=True)

    def __init__(self, tasks: TaskDistribution, delay: Counts = (0, 4)):
        """**Arguments:**

        - `tasks`: the tasks whose rewards are delayed.
        - `delay`: environment steps; or the least and the most, drawn uniformly for each life.

        **Raises:** `ValueError` for a negative number, or a least above the most.
        """
        self.tasks, self.delay = _distribution(tasks), checked("delay", delay, 0)

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task with a delay drawn for one life."""
        task_key, delay_key = jr.split(key)
        task = self.tasks.sample(key=task_key)
        return Task(
            Delayed(task.environment, *_sizes(task.spaces), bounds(self.delay).most),
            DelayParams(task.params, drawn(self.delay, key=delay_key)),
            task.observation_mask,
            task.action_mask,
            task.metrics,
        )


class WithholdRewards(TaskDistribution):
    """Rewards until some step of a life, and none after it, whatever is done.

    A learner that knows by then what to do has to remember it: the metrics of a task tell whether
    it does, such as `right` of contextual bandits. The total reward does not.
    """

    tasks: TaskDistribution
    after: Counts = eqx.field(static=True)

    def __init__(self, tasks: TaskDistribution, after: Counts = (20, 120)):
        """**Arguments:**

        - `tasks`: the tasks whose rewards are withheld.
        - `after`: so many environment steps; or the least and the most, drawn uniformly for each
            life.

        **Raises:** `ValueError` for a negative number, or a least above the most.
        """
        self.tasks, self.after = _distribution(tasks), checked("after", after, 0)

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task that stops to pay at a step drawn for one life."""
        task_key, after_key = jr.split(key)
        task = self.tasks.sample(key=task_key)
        return Task(
            Withheld(task.environment, *_sizes(task.spaces)),
            WithholdParams(task.params, drawn(self.after, key=after_key)),
            task.observation_mask,
            task.action_mask,
            task.metrics,
        )


class Pad(TaskDistribution):
    """Observations and actions padded to fixed sizes, for learners that need them (`MetaRNN`).

    Added sensors show 0. Added actions are masked; for learners that choose one nevertheless,
    there being `n` real ones, action `b` does what `b % n` does. Added numbers of a continuous
    action are dropped.
    """

    tasks: TaskDistribution
    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    mask: bool = eqx.field(static=True)

    def __init__(
        self, tasks: TaskDistribution, observation_size: int, num_actions: int, *, mask: bool = True
    ):
        """**Arguments:**

        - `tasks`: the tasks to pad.
        - `observation_size`, `num_actions`: the sizes afterwards.
        - `mask`: whether the learner is told which sensors and actions are real, by masks.

        **Raises:** `ValueError` for a size smaller than that of the tasks.
        """
        now = _distribution(tasks).spaces
        for name, wanted in (("observation_size", observation_size), ("num_actions", num_actions)):
            if wanted < getattr(now, name):
                raise ValueError(
                    f"`{name}` must be at least {getattr(now, name)}, the size of the tasks; got "
                    f"{wanted}."
                )
        self.tasks, self.mask = tasks, mask
        self.observation_size, self.num_actions = observation_size, num_actions

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task, padded."""
        task = self.tasks.sample(key=key)
        now = task.spaces
        sizes = self.observation_size, self.num_actions
        seen = done = None
        if self.mask:
            seen = _mask(now.observation_mask, now.observation_size)
            done = _mask(now.action_mask, now.num_actions)
            seen = jnp.pad(seen, (0, self.observation_size - now.observation_size))
            done = jnp.pad(done, (0, self.num_actions - now.num_actions))
        return Task(
            Padded(task.environment, *sizes, now.continuous, now.num_actions),
            PadParams(task.params),
            seen,
            done,
            task.metrics,
        )


class Distract(TaskDistribution):
    """Sensors that tell nothing, added to those of the tasks; their number is drawn for each life.

    An added sensor is idle, always 0, or noisy, a new normal number at every step. Those beyond
    the number of a life are masked.
    """

    tasks: TaskDistribution
    sensors: Counts = eqx.field(static=True)
    noisy: float | tuple[float, float] = eqx.field(static=True)
    std: float = eqx.field(static=True)

    def __init__(
        self,
        tasks: TaskDistribution,
        sensors: Counts = (0, 12),
        noisy: float | tuple[float, float] = 0.5,
        std: float = 1.0,
    ):
        """**Arguments:**

        - `tasks`: the tasks to add sensors to.
        - `sensors`: how many; or the least and the most, drawn uniformly for each life.
        - `noisy`: the probability that an added sensor is noisy, and not idle; or the least and the
            most, drawn uniformly for each life, so that there are lives with sensors of one kind.
        - `std`: the standard deviation of a noisy one.

        **Raises:** `ValueError` for a negative number, a least above the most, a `noisy` that is no
        probability, or a negative `std`.
        """
        if std < 0:
            raise ValueError(f"`std` must be at least 0, got {std}.")
        self.tasks, self.sensors = _distribution(tasks), checked("sensors", sensors, 0)
        self.noisy, self.std = _probabilities("noisy", noisy), std

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A task with idle and noisy sensors drawn for one life."""
        low, high = bounds(self.sensors)
        task_key, count_key, noisy_key = jr.split(key, 3)
        task = self.tasks.sample(key=task_key)
        now, mask = task.spaces, task.observation_mask
        there = jnp.arange(high) < drawn(self.sensors, key=count_key)
        share = self.noisy
        if isinstance(share, tuple):
            share_key, noisy_key = jr.split(noisy_key)
            share = jr.uniform(share_key, minval=share[0], maxval=share[1])
        noisy = there & jr.bernoulli(noisy_key, share, (high,))
        if low < high or mask is not None:
            mask = jnp.concatenate([_mask(mask, now.observation_size), there])
        return Task(
            Distracted(task.environment, now.observation_size + high, *_sizes(now)[1:]),
            DistractParams(task.params, jnp.where(noisy, self.std, 0.0).astype(float)),
            mask,
            now.action_mask,
            task.metrics,
        )


def _sizes(spaces: Spaces) -> tuple[int, int, bool]:
    """What a wrapper that changes no size has to say of them."""
    return spaces.observation_size, spaces.num_actions, spaces.continuous


def _mask(mask: Bool[Array, " n"] | None, size: int) -> Bool[Array, " n"]:
    """A mask, also where there was none."""
    return jnp.ones((size,), bool) if mask is None else mask


def _probabilities(name: str, value: float | tuple[float, float]) -> float | tuple[float, float]:
    """One probability, or the least and the most."""
    if not isinstance(value, tuple):
        return _probability(name, value)
    low, high = (_probability(name, one) for one in value)
    if high < low:
        raise ValueError(f"`{name}` must be (least, most), got {value}.")
    return low, high


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a probability, from 0 to 1; got {value}.")
    return float(value)


def _distribution(tasks: TaskDistribution) -> TaskDistribution:
    """The argument, if it is a distribution of tasks."""
    if not isinstance(tasks, TaskDistribution):
        raise ValueError(
            f"`tasks` must be a TaskDistribution, got {type(tasks).__name__}: put an "
            "environment in `rl.envs.Vary(...)`, a task in `rl.FixedTask(...)`."
        )
    return tasks
