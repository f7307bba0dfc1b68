"""A learner and tasks so small that the fitness of a life can be any function we like.

The processes that `test_resume.py` starts need this module only.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

import meta
import rl

TARGET = 0.5


class Vector(rl.Learner):
    """It learns nothing; its learned variables are its parameters, for a fitness to look at."""

    values: Float[Array, " n"]
    size: int = eqx.field(static=True)
    style: str = eqx.field(static=True)

    def __init__(self, size: int = 3, style: str = "plain", *, key: PRNGKeyArray):
        self.size, self.style = size, style
        self.values = jr.normal(key, (size,))

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> Array:
        del spaces, key
        return self.values

    def step(self, state: Array, timestep: rl.TimeStep, *, key: PRNGKeyArray) -> tuple:
        del timestep, key
        return state, jnp.asarray(0, jnp.int32)


class Box(NamedTuple):
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Oracle:
    """An environment whose rewards depend on the random keys of a life and on nothing else."""

    num_actions: int = 2

    def observation_space(self, params: Array) -> Box:
        del params
        return Box((1,))

    def reset(self, key: PRNGKeyArray, params: Array) -> tuple:
        del params
        return jnp.ones(1), jr.uniform(key)

    def step(self, key: PRNGKeyArray, state: Array, action: Array, params: Array) -> tuple:
        del action
        reward, ended, sight = params + state + jr.uniform(key), jnp.asarray(False), jnp.ones(1)
        return sight, state, reward, ended, ended, {"final_observation": sight, "omen": params}


class Oracles(rl.TaskDistribution):
    """Oracles with an omen (a number that the environment adds to every reward) each."""

    scale: float = eqx.field(static=True, default=1.0)

    def sample(self, *, key: PRNGKeyArray) -> rl.Task:
        return rl.Task(Oracle(), self.scale * jr.uniform(key), metrics=("omen",))


T = TypeVar("T")


def made(cls: Callable[..., T], *args: object, **options: object) -> T:
    """An object of a class whose arguments a type checker gets wrong: those of its parent."""
    return cls(*args, **options)


def closeness(life: rl.Life) -> Array:
    """How near the parameters are to the target, plus the luck of the life."""
    return life.total_reward - ((life.final.learner - TARGET) ** 2).sum()


# A strategy with all the state there is: moments, schedules, different lives for pairs.
STRATEGY = meta.EvolutionStrategy(
    4,
    optax.exponential_decay(0.3, 2, 0.9),
    optax.adam(optax.exponential_decay(0.05, 3, 0.8)),
    common_random_numbers="pair",
)
GENERATIONS = 7
KEY = jr.key(5)
VECTOR = Vector(key=jr.key(0))


def train(**options) -> meta.TrainResult:
    """A training, the same but for the options."""
    usual: dict = dict(
        learner=VECTOR,
        tasks=Oracles(),
        strategy=STRATEGY,
        steps=2,
        lives=3,
        generations=GENERATIONS,
        chunk=3,
        key=KEY,
        fitness=closeness,
    )
    return meta.train(**{**usual, **options})
