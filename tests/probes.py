"""Environments and learners that are made to be seen through, and lives rolled by hand."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.environments.classic_control.cartpole import EnvParams as CartPoleParams
from helpers import quick_jit
from jaxtyping import Array, PRNGKeyArray, PyTree

import rl

NEVER = 2**31 - 1


@struct.dataclass
class ClockState(environment.EnvState):
    """`time` is the number of steps in this episode, `lap` a random number drawn at its start."""

    time: PyTree
    lap: PyTree


@struct.dataclass
class ClockParams(environment.EnvParams):
    """Steps after which an episode is terminated, or truncated."""

    terminates_at: PyTree = NEVER
    max_steps_in_episode: PyTree = NEVER


class Clock(environment.Environment[ClockState, ClockParams]):
    """Counts steps, and pays the action, but only for the last step of an episode.

    The observation is `[time, lap]`, so that it tells from which episode it is; as whole numbers
    or as an image it is all `time`. `info["draw"]` is a number drawn from the key of the step.
    """

    def __init__(self, form: str = "vector", actions: int = 3):
        super().__init__()
        self.form, self.actions = form, actions
        self.shape = {"vector": (2,), "integers": (3,), "image": (2, 3, 2)}[form]

    @property
    def default_params(self) -> ClockParams:
        return ClockParams()

    def observe_clock(self, state: ClockState) -> Array:
        if self.form == "vector":
            return jnp.stack([state.time.astype(jnp.float32), state.lap])
        dtype = jnp.int32 if self.form == "integers" else jnp.uint8
        pixels = np.arange(np.prod(self.shape)).reshape(self.shape)
        return jnp.asarray(pixels, dtype) + state.time.astype(dtype)[(None,) * len(self.shape)]

    def step_env(
        self, key: Array, state: ClockState, action: int | float | Array, params: ClockParams
    ) -> tuple[Array, ClockState, Array, Array, dict]:
        state = ClockState(time=state.time + 1, lap=state.lap)
        ended = self.is_terminated(state, params) | self.is_truncated(state, params)
        reward = jnp.where(ended, jnp.asarray(action).astype(jnp.float32), 0.0)
        info = {"twice": 2.0 * reward, "steps": jnp.asarray(1)}
        return (
            self.observe_clock(state),
            state,
            reward,
            self.is_terminated(state, params),
            info,
        )

    def step(
        self,
        key: Array,
        state: ClockState,
        action: int | float | Array,
        params: ClockParams | None = None,
    ) -> tuple[Array, ClockState, Array, Array, Array, dict]:
        *rest, info = super().step(key, state, action, params)
        return (*rest, info | {"draw": jr.uniform(key)})

    def reset_env(self, key: Array, params: ClockParams) -> tuple[Array, ClockState]:
        state = ClockState(time=jnp.asarray(0, jnp.int32), lap=jr.uniform(key))
        return self.observe_clock(state), state

    def is_terminated(self, state: ClockState, params: ClockParams) -> Array:
        return jnp.asarray(state.time >= params.terminates_at)

    @property
    def num_actions(self) -> int:
        return self.actions

    def action_space(self, params: ClockParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.actions)

    def observation_space(self, params: ClockParams | None = None) -> spaces.Box:
        return spaces.Box(0, 255, self.shape)


def clock(
    form: str = "vector", *, terminates_at: int = NEVER, truncates_at: int = NEVER
) -> rl.Task:
    """A task of the clock, its parameters in arrays."""
    params = ClockParams(
        terminates_at=jnp.asarray(terminates_at, jnp.int32),
        max_steps_in_episode=jnp.asarray(truncates_at, jnp.int32),
    )
    return rl.Task(CLOCKS[form], params, metrics=("twice", "steps", "draw"))


CLOCKS = {form: Clock(form) for form in ("vector", "integers", "image")}


def cart_pole_params(**changes: object) -> CartPoleParams:
    """Those of gymnax with changes, which may be arrays."""
    return dataclasses.replace(CartPoleParams(), **changes)  # pyright: ignore[reportArgumentType]


class Diary(eqx.Module):
    """All that a witness was told: every time step, and a number drawn from the key of it."""

    entries: rl.TimeStep
    draws: Array
    count: Array


class Witness(rl.Learner[Diary]):
    """Writes down every time step and acts 0, 1, 2, ... by the count of those it has seen.

    `traces` grows by one each time that a step is traced.
    """

    capacity: int = eqx.field(static=True)
    meta_variable: Array
    traces: list = eqx.field(static=True)

    def __init__(self, capacity: int):
        self.capacity, self.traces = capacity, _Traces()
        self.meta_variable = jnp.zeros(())

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> Diary:
        blank = rl.TimeStep.first(jnp.full((spaces.observation_size,), jnp.nan))
        pages = jax.tree.map(lambda x: jnp.repeat(x[None], self.capacity, axis=0), blank)
        draws = jnp.zeros((self.capacity + 1,)).at[-1].set(jr.uniform(key))
        return Diary(pages, draws, jnp.asarray(0, jnp.int32))

    def step(
        self, state: Diary, timestep: rl.TimeStep, *, key: PRNGKeyArray
    ) -> tuple[Diary, Array]:
        self.traces.append(None)
        n = state.count
        entries = jax.tree.map(lambda page, x: page.at[n].set(x), state.entries, timestep)
        draws = state.draws.at[n].set(jr.uniform(key))
        return Diary(entries, draws, n + 1), (n % 3).astype(jnp.int32)


class _Traces(list):
    """A list that can be a static field."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Script(eqx.Module):
    """What happens in a life rolled by hand, whatever the learner does, for `L` steps.

    - `observations` `[L A]`, `ended` `[L]`.
    - `rewards` `[L B]`: of each action, at the next step.
    - `gumbel` `[L B]`: the noise of the choices.
    """

    observations: Array
    rewards: Array
    gumbel: Array
    ended: Array


def script(steps: int, sensors: int, actions: int, seed: int = 0) -> Script:
    rng = np.random.default_rng(seed)
    return Script(
        jnp.asarray(rng.normal(size=(steps, sensors)), jnp.float32),
        jnp.asarray(rng.normal(size=(steps, actions)), jnp.float32),
        jnp.asarray(rng.gumbel(size=(steps, actions)), jnp.float32),
        jnp.asarray(np.arange(steps) % 2 == 1),
    )


def life_by_hand(
    learner: rl.SymLA | rl.MetaRNN, birth: PyTree, happens: Script
) -> tuple[PyTree, Array, Array]:
    """The states, logits and actions of each step of a scripted life."""

    def step(carry: tuple, now: Script) -> tuple:
        state, action, rewards = carry
        timestep = rl.TimeStep(
            observation=now.observations,
            action=action,
            reward=jnp.where(action < 0, 0.0, rewards[action]),
            terminated=now.ended,
            truncated=jnp.asarray(False),
            final_observation=now.observations,
        )
        state, logits = learner.advance(state, timestep)
        action = learner.readout.choose(logits, now.gumbel)
        return (state, action, now.rewards), (state, logits, action)

    start = (birth, jnp.asarray(-1, jnp.int32), jnp.zeros_like(happens.rewards[0]))
    return jax.lax.scan(step, start, happens)[1]


def _born_and_lived(
    learner: rl.SymLA, spaces: rl.Spaces, noise: rl.SymLANoise, happens: Script
) -> tuple[PyTree, tuple]:
    birth = learner.init_from(spaces, noise)
    return birth, life_by_hand(learner, birth, happens)


live = quick_jit(_born_and_lived)
live_from = quick_jit(life_by_hand)
