"""Contextual bandits: which action is right depends on what is seen, by a rule of each life."""

import dataclasses
from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._task import Task, TaskDistribution
from ._counts import Counts, bounds, checked, drawn


@struct.dataclass
class ContextualState(environment.EnvState):
    """The state of a contextual bandit.

    - `sensors`: what is seen, shape `[A]`.
    - `pending`: the rewards of the last steps, the latest first, shape `[max_delay]`.
    - `time`: steps so far.
    """

    sensors: PyTree
    pending: PyTree
    time: PyTree


@struct.dataclass
class ContextualParams(environment.EnvParams):
    """The parameters of a contextual bandit; by default of the least, one sensor for two actions.

    - `weights`: of the score of each action, shape `[B A]`.
    - `sensor_mask`, `action_mask`: which sensors and actions exist, shapes `[A]` and `[B]`.
    - `sensor_order`: which of the random numbers of a step each sensor shows, shape `[A]`: a
        permuted task sees the same numbers in another order.
    - `noise`: the probability that a reward has the wrong sign.
    - `delay`: steps by which rewards are late, from 0 to the `max_delay` of the environment.
    - `max_steps_in_episode`: steps after which the episode is truncated, and with it the rewards
        still to come.
    """

    weights: PyTree = struct.field(default_factory=lambda: jnp.asarray([[1.0], [-1.0]]))
    sensor_mask: PyTree = struct.field(default_factory=lambda: jnp.ones(1, bool))
    action_mask: PyTree = struct.field(default_factory=lambda: jnp.ones(2, bool))
    sensor_order: PyTree = struct.field(default_factory=lambda: jnp.arange(1))
    noise: PyTree = 0.0
    delay: PyTree = 0
    max_steps_in_episode: PyTree = 2**31 - 1


class ContextualBandit(environment.Environment[ContextualState, ContextualParams]):
    """A bandit whose right action depends on sensors x, standard Gaussians drawn anew each step.

    The right action is the one with the highest score `weights @ x` of those that exist. Choosing
    it is worth a reward of 1, any other -1; with the probability `noise` it is the other way
    round. The reward of a step arrives `delay` steps later; until the first one does, rewards are
    0. `info["right"]` is 1 if this step's action was right and 0 if not, whatever the reward.
    """

    metrics = ("right",)

    def __init__(self, sensors: int, actions: int, max_delay: int = 0):
        """**Arguments:**

        - `sensors`: `A`.
        - `actions`: `B`.
        - `max_delay`: the longest delay of a reward that the parameters can ask for, in steps.

        **Raises:** `ValueError` for no sensors, no actions or a negative delay.
        """
        super().__init__()
        for name, value, least in (
            ("sensors", sensors, 1),
            ("actions", actions, 1),
            ("max_delay", max_delay, 0),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        self.sensors, self.actions, self.max_delay = sensors, actions, max_delay

    @property
    def default_params(self) -> ContextualParams:
        """Each action has a sensor (by turns), whose highest value makes it right; no noise."""
        own = jnp.arange(self.actions) % self.sensors
        return ContextualParams(
            weights=(own[:, None] == jnp.arange(self.sensors)[None]).astype(jnp.float32),
            sensor_mask=jnp.ones(self.sensors, bool),
            action_mask=jnp.ones(self.actions, bool),
            sensor_order=jnp.arange(self.sensors),
        )

    def step_env(
        self,
        key: PRNGKeyArray,
        state: ContextualState,
        action: int | float | Array,
        params: ContextualParams,
    ) -> tuple[Array, ContextualState, Array, Array, dict]:
        """Choose an action for what is seen; see something else."""
        sensors_key, noise_key = jr.split(key)
        dtype = params.weights.dtype
        scores = jnp.where(params.action_mask, params.weights @ state.sensors, -jnp.inf)
        right = jnp.asarray(action) == scores.argmax()
        flipped = jr.bernoulli(noise_key, params.noise)
        earned = jnp.where(right != flipped, 1.0, -1.0).astype(dtype)
        recent = jnp.concatenate([earned[None], state.pending])
        sensors = self._sensors(sensors_key, params)
        state = ContextualState(
            sensors=sensors, pending=recent[: self.max_delay], time=state.time + 1
        )
        info = {"right": right.astype(dtype), "discount": jnp.ones((), dtype)}
        return sensors, state, recent[params.delay], jnp.asarray(False), info

    def reset_env(
        self, key: PRNGKeyArray, params: ContextualParams
    ) -> tuple[Array, ContextualState]:
        """See something; no rewards are to come."""
        sensors = self._sensors(key, params)
        pending = jnp.zeros(self.max_delay, sensors.dtype)
        return sensors, ContextualState(
            sensors=sensors, pending=pending, time=jnp.asarray(0, jnp.int32)
        )

    def _sensors(self, key: PRNGKeyArray, params: ContextualParams) -> Float[Array, " A"]:
        values = jr.normal(key, (self.sensors,), params.weights.dtype)[params.sensor_order]
        return jnp.where(params.sensor_mask, values, 0.0)

    def permuted(
        self,
        params: ContextualParams,
        sensors: Int[Array | np.ndarray, " A"],
        actions: Int[Array | np.ndarray, " B"],
    ) -> ContextualParams:
        """The parameters of the same task with its sensors and actions in another order.

        **Arguments:**

        - `params`: of the task.
        - `sensors`: sensor i of the new task is sensor `sensors[i]` of this one.
        - `actions`: likewise.
        """
        return dataclasses.replace(
            params,
            weights=params.weights[actions][:, sensors],
            sensor_mask=params.sensor_mask[sensors],
            action_mask=params.action_mask[actions],
            sensor_order=params.sensor_order[sensors],
        )

    def is_terminated(self, state: ContextualState, params: ContextualParams) -> Array:
        """Never: no choice ends anything."""
        del state, params
        return jnp.asarray(False)

    @property
    def name(self) -> str:
        """The name of the environment."""
        return "ContextualBandit"

    @property
    def num_actions(self) -> int:
        """The number of actions, those included that do not exist in a life."""
        return self.actions

    def action_space(self, params: ContextualParams | None = None) -> spaces.Discrete:
        """The actions."""
        del params
        return spaces.Discrete(self.actions)

    def observation_space(self, params: ContextualParams | None = None) -> spaces.Box:
        """The sensors, which have no bounds."""
        del params
        return spaces.Box(-jnp.inf, jnp.inf, (self.sensors,), jnp.float32)


@lru_cache(maxsize=64)
def _environment(sensors: int, actions: int, max_delay: int) -> ContextualBandit:
    """One instance for each size: gymnax and JAX compile anew for every instance."""
    return ContextualBandit(sensors, actions, max_delay)


class ContextualBandits(TaskDistribution):
    """Contextual bandits with a rule drawn anew for each life.

    Which sensors are relevant is drawn, and then the weights of each action over them, so that in
    every life each action is right equally often. Two actions have a random direction and its
    opposite; with one relevant sensor, its sign tells which is right. More actions have the
    corners of a regular body, in random order and position: of a polygon for two relevant
    sensors, and of a simplex where there are enough for one. In between, they have an orbit of a
    cyclic group of rotations.
    """

    sensors: Counts = eqx.field(static=True)
    actions: Counts = eqx.field(static=True)
    relevant: Counts = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    delay: Counts = eqx.field(static=True)

    def __init__(
        self,
        sensors: Counts = 4,
        actions: Counts = 2,
        relevant: Counts = 1,
        *,
        noise: float = 0.0,
        delay: Counts = 0,
    ):
        """**Arguments:**

        - `sensors`: how many there are; this, `actions`, `relevant` and `delay` are one number, or
            the least and the most, drawn uniformly for each life. Sensors and actions beyond
            those of a life are masked.
        - `actions`: how many there are.
        - `relevant`: how many sensors matter; all of them in a life that has fewer.
        - `noise`: the probability that a reward has the wrong sign, below 0.5.
        - `delay`: steps by which rewards are late.

        **Raises:** `ValueError` for numbers that cannot be: fewer than two actions, more relevant
        sensors than there ever are, or one relevant sensor for more than two actions.
        """
        checked("sensors", sensors, 1)
        checked("actions", actions, 2)
        checked("relevant", relevant, 1)
        checked("delay", delay, 0)
        if not 0 <= noise < 0.5:
            raise ValueError(f"`noise` must be from 0 to below 0.5, got {noise}.")
        if bounds(relevant).most > bounds(sensors).most:
            raise ValueError(f"`relevant` must be at most `sensors` ({sensors}), got {relevant}.")
        least = min(bounds(relevant).least, bounds(sensors).least)
        if least < 2 and bounds(actions).most > 2:
            raise ValueError(
                "One relevant sensor can tell only two actions apart; for more `actions`, take "
                f"`sensors` and `relevant` of at least 2 (got {sensors} and {relevant})."
            )
        self.sensors, self.actions, self.relevant = sensors, actions, relevant
        self.noise, self.delay = float(noise), delay

    def sample(self, *, key: PRNGKeyArray) -> Task:
        """A bandit with a rule drawn for one life."""
        (_, most_sensors), (_, most_actions) = bounds(self.sensors), bounds(self.actions)
        sizes_key, relevant_key, weights_key = jr.split(key, 3)
        keys = jr.split(sizes_key, 4)
        sensors, actions, relevant, delay = (
            drawn(value, key=key)
            for value, key in zip(
                (self.sensors, self.actions, self.relevant, self.delay), keys, strict=True
            )
        )
        sensor_mask = jnp.arange(most_sensors) < sensors
        action_mask = jnp.arange(most_actions) < actions
        relevant = jnp.minimum(relevant, sensors)
        corners = _corners(most_actions, most_sensors, actions, relevant, key=weights_key)
        # Which column each sensor has: those of a life in random order before all others.
        places = jnp.where(sensor_mask, jr.uniform(relevant_key, (most_sensors,)), 2.0)
        weights = corners[:, places.argsort().argsort()]
        return Task(
            _environment(most_sensors, most_actions, bounds(self.delay).most),
            ContextualParams(
                weights=weights,
                sensor_mask=sensor_mask,
                action_mask=action_mask,
                sensor_order=jnp.arange(most_sensors),
                noise=jnp.asarray(self.noise, weights.dtype),
                delay=delay,
            ),
            observation_mask=sensor_mask if isinstance(self.sensors, tuple) else None,
            action_mask=action_mask if isinstance(self.actions, tuple) else None,
            metrics=ContextualBandit.metrics,
        )


def _corners(
    rows: int,
    columns: int,
    actions: Int[Array, ""],
    relevant: Int[Array, ""],
    *,
    key: PRNGKeyArray,
) -> Float[Array, "{rows} {columns}"]:
    """Unit rows of the first `actions`, nonzero in the first `relevant` columns, all alike.

    Row b is `(cos(2 pi k b / B), sin(2 pi k b / B))` for k = 1, 2, ... side by side, and `(-1)^b`
    where the number of columns is odd and that of actions even. To go from each row to the next is
    an orthogonal map, which standard Gaussians do not feel: each row has the same chance of the
    highest score. With one column less than actions, the rows are the corners of a simplex.
    """
    order_key, rotation_key = jr.split(key)
    used = jnp.minimum(relevant, actions - 1)
    odd = used % 2
    mirrored = odd * (1 - actions % 2)  # 1 where the first column is (-1)^b
    used = used - odd + mirrored
    # A random order of the actions that exist.
    exists = jnp.arange(rows) < actions
    turn = jnp.where(exists, jr.uniform(order_key, (rows,)), 2.0).argsort().argsort()[:, None]
    column = jnp.arange(columns)[None] - mirrored
    angle = 2 * jnp.pi * (((column // 2 + 1) * turn) % actions / actions)
    waves = jnp.where(column % 2 == 0, jnp.cos(angle), jnp.sin(angle)) * 2**0.5
    alternating = (1 - 2 * (turn % 2)).astype(waves.dtype)
    body = jnp.where(column < 0, alternating, waves)
    body = jnp.where(jnp.arange(columns)[None] < used, body, 0.0) / jnp.sqrt(
        used.astype(waves.dtype)
    )
    body = jnp.where(exists[:, None], body, 0.0)
    return body @ _rotation(columns, relevant, key=rotation_key)


def _rotation(
    size: int, relevant: Int[Array, ""], *, key: PRNGKeyArray
) -> Float[Array, "{size} {size}"]:
    """A random orthogonal matrix of the first `relevant` dimensions, uniform over all of them."""
    inside = jnp.arange(size) < relevant
    inside = inside[:, None] & inside[None]
    mixed = jnp.where(inside, jr.normal(key, (size, size)), jnp.eye(size))
    orthogonal, triangle = jnp.linalg.qr(mixed)
    signed = orthogonal * jnp.sign(jnp.diagonal(triangle))[None]
    return jnp.where(inside, signed, 0.0)
