"""Lives as meta-training by gradients needs them: lived once, then gone through again."""

import math
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

import rl

State = TypeVar("State")


class Experience(eqx.Module):
    """What happened in one life of `L` environment steps.

    - `timesteps`: what the learner was told before each action, and after the last: one more.
    - `actions`: what it did.
    - `rewards`, `terminated`, `truncated`: what came of it.
    - `total_reward`: the sum of the rewards.
    """

    timesteps: rl.TimeStep
    actions: Int[Array, "*lives L"] | Float[Array, "*lives L B"]
    rewards: Float[Array, "*lives L"]
    terminated: Bool[Array, "*lives L"]
    truncated: Bool[Array, "*lives L"]
    total_reward: Float[Array, "*lives"]


def live_through(
    learner: rl.Learner, tasks: rl.TaskDistribution, *, steps: int, key: PRNGKeyArray
) -> Experience:
    """One life, with all that happened in it.

    **Arguments:**

    - `learner`: any learner.
    - `tasks`: where its task is drawn from.
    - `steps`: `L`.
    - `key`: the random key of the task, the birth and the life.
    """
    birth_key, life_key = jr.split(key)
    task, start = _birth(learner, tasks, birth_key)
    record = ("rewards", "actions", "observations", "final_observations", "terminated", "truncated")
    life = rl.lifetime(learner, task, steps=steps, key=life_key, record=record, start=start)

    observations, final_observations = life.observations, life.final_observations
    actions, rewards = life.actions, life.rewards
    terminated, truncated = life.terminated, life.truncated
    assert observations is not None and final_observations is not None  # they were recorded
    assert actions is not None and rewards is not None
    assert terminated is not None and truncated is not None
    first, last = start.timestep, life.final.timestep
    # What a step led to is told with the next one.
    told = [(first.action, actions), (first.reward, rewards), (first.terminated, terminated)]
    told += [(first.truncated, truncated), (first.final_observation, final_observations)]
    timesteps = eqx.tree_at(
        lambda t: (
            t.observation,
            *(t.action, t.reward, t.terminated, t.truncated, t.final_observation),
        ),
        first,
        (
            jnp.concatenate([observations, last.observation[None]]),
            *(jnp.concatenate([birth[None], later]) for birth, later in told),
        ),
    )
    return Experience(timesteps, actions, rewards, terminated, truncated, life.total_reward)


def replay(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    experience: Experience,
    *,
    key: PRNGKeyArray,
    truncation: int | None = None,
    rematerialise: bool = True,
) -> tuple[Float[Array, " L"], Float[Array, " L"]]:
    """Go through a life once more, with the same birth and the same actions.

    Nothing is drawn and no environment steps, so gradients flow through the learned variables
    only.

    **Arguments:**

    - `learner`: a `rl.Differentiable` one; not necessarily that which lived the life.
    - `tasks`, `key`: as of `live_through`.
    - `experience`: the life.
    - `truncation`, `rematerialise`: as of `unroll`.

    **Returns:**

    The logarithm of the probability of each action, and the entropy of each choice.
    """
    assert isinstance(learner, rl.Differentiable)  # it was checked
    birth = _birth(learner, tasks, jr.split(key)[0])[1].learner
    readout = learner.readout_of(birth)
    assert not isinstance(readout, rl.Deterministic)  # it was checked

    def step(state: PyTree, now: tuple[rl.TimeStep, Array]) -> tuple[PyTree, tuple[Array, Array]]:
        timestep, action = now
        state, logits = learner.advance(state, timestep)
        return state, (readout.log_prob(logits, action), readout.entropy(logits))

    told = jax.tree.map(lambda x: x[:-1], experience.timesteps)
    inputs = (told, experience.actions)
    return unroll(step, birth, inputs, truncation=truncation, rematerialise=rematerialise)


def _birth(
    learner: rl.Learner, tasks: rl.TaskDistribution, key: PRNGKeyArray
) -> tuple[rl.Task, rl.LifeState]:
    task_key, begin_key = jr.split(key)
    task = tasks.sample(key=task_key)
    return task, rl.begin(learner, task, key=begin_key)


def unroll(
    step: Callable[[State, PyTree], tuple[State, PyTree]],
    state: State,
    inputs: PyTree[Array],
    *,
    truncation: int | None = None,
    rematerialise: bool = True,
) -> PyTree[Array]:
    """The outputs of `jax.lax.scan(step, state, inputs)`, for gradients through many steps.

    **Arguments:**

    - `step`, `state`, `inputs`: as `jax.lax.scan` has them.
    - `truncation`: after so many steps the gradient does not reach back any further. `None`: it
        reaches back to the beginning.
    - `rematerialise`: whether only the states at the ends of segments are kept, whose length is
        about the square root of the number of steps. The way back computes the rest once more:
        memory grows with that root, for the time of one more way forth.
    """
    length = jax.tree.leaves(inputs)[0].shape[0]

    def one(state: State, now: tuple[Array, PyTree]) -> tuple[State, PyTree]:
        number, given = now
        if truncation is not None:
            here = number % truncation == 0
            state = jax.tree.map(lambda x: _cut(x, here), state)
        return step(state, given)

    inputs = (jnp.arange(length), inputs)
    if not rematerialise:
        return jax.lax.scan(one, state, inputs)[1]
    segment = math.isqrt(length - 1) + 1
    segments = -(-length // segment)
    spare = segments * segment - length

    def in_segments(x: Array) -> Array:
        """With the last step repeated as often as the last segment has room."""
        padded = jnp.concatenate([x, jnp.broadcast_to(x[-1:], (spare, *x.shape[1:]))])
        return padded.reshape(segments, segment, *x.shape[1:])

    def many(state: State, some: PyTree) -> tuple[State, PyTree]:
        return jax.lax.scan(one, state, some)

    many = jax.checkpoint(many, prevent_cse=False)  # a scan keeps the two computations apart
    outputs = jax.lax.scan(many, state, jax.tree.map(in_segments, inputs))[1]
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:length], outputs)


def _cut(x: Array, here: Bool[Array, ""]) -> Array:
    """The same number, through which no gradient flows if it is cut here."""
    if not eqx.is_inexact_array(x):
        return x
    return jnp.where(here, jax.lax.stop_gradient(x), x)
