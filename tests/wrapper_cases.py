"""Two tasks that are wrapped in tests, one of each kind of actions, and how they are played."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnax.environments import spaces
from helpers import quick_jit

import rl
from rl.envs import HeartTrap, Vary

HEARTS = Vary(HeartTrap(3, observation="compass"), steps_in_episode=4)  # 8 sensors, 4 actions
STEPS = 12


@dataclasses.dataclass(frozen=True)
class Reach:
    """Three numbers act; they are seen as `[2, 2]`, in the fourth place the steps of the episode.

    An episode ends with every third step. The first number pays 1, the second 10, the third 100.
    """

    num_actions: int = 3

    def observation_space(self, params):
        return spaces.Box(-1, 1, (2, 2))

    def action_space(self, params):
        return spaces.Box(-1, 1, (3,))

    def reset(self, key, params):
        return jnp.zeros((2, 2)), jnp.asarray(0, jnp.int32)

    def step(self, key, state, action, params):
        time = state + 1
        seen = jnp.append(action, time.astype(action.dtype)).reshape(2, 2)
        ended = time >= 3
        return (
            jnp.where(ended, 0.0, seen),
            jnp.where(ended, 0, time),
            (action * params).sum(),
            ended,
            jnp.asarray(False),
            {"final_observation": seen, "first": action[0]},
        )


REACH = rl.FixedTask(rl.Task(Reach(), jnp.asarray([1.0, 10.0, 100.0]), metrics=("first",)))


def masked(observation_mask=None, action_mask=None):
    """The hearts and traps, of which some sensors or actions are said not to exist."""
    task = HEARTS.sample(key=jr.key(0))
    seen, done = (
        None if mask is None else jnp.asarray(mask, bool)
        for mask in (observation_mask, action_mask)
    )
    return rl.FixedTask(rl.Task(task.environment, task.params, seen, done, task.metrics))


@quick_jit
def sample(tasks, key):
    return tasks.sample(key=key)


@quick_jit
def samples(tasks, keys):
    return jax.vmap(lambda key: tasks.sample(key=key))(keys)


@quick_jit
def played(task, actions, key):
    """Observations `[L+1 A]` and final ones `[L A]`, rewards, ends and metrics of given actions."""
    reset_key, steps_key = jr.split(key)
    first, state = task.environment.reset(reset_key, task.params)

    def step(state, now):
        action, key = now
        seen, state, reward, terminated, truncated, info = task.environment.step(
            key, state, action, task.params
        )
        metrics = {name: info[name] for name in task.metrics}
        kept = (seen.reshape(-1), info["final_observation"].reshape(-1))
        return state, (*kept, (reward, terminated, truncated, metrics))

    keys = jr.split(steps_key, len(actions))
    _, (seen, final, rest) = jax.lax.scan(step, state, (actions, keys))
    return jnp.concatenate([first.reshape(1, -1), seen]), final, rest


def discrete(key, actions=4, steps=STEPS):
    return jr.randint(key, (steps,), 0, actions)


def numbers(key, size=3, steps=STEPS):
    return jr.uniform(key, (steps, size), minval=-1.0)


def inner_of(task):
    """The task within the wrapper."""
    return rl.Task(task.environment.inner, task.params.inner, metrics=task.metrics)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def ends(rest):
    return np.asarray(rest[1] | rest[2])
