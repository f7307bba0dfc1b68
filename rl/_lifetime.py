"""One life of a learner as one compiled scan."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ._learner import Learner, TimeStep
from ._task import Task

Record = Literal[
    "rewards",
    "actions",
    "observations",
    "final_observations",
    "terminated",
    "truncated",
    "episode_returns",
    "metrics",
]


class LifeState(eqx.Module):
    """All that a life needs in order to go on: the end of one is the start of the next.

    - `learner`: the learned variables.
    - `environment`: the state of the environment.
    - `timestep`: what the learner has not seen yet.
    - `steps`: environment steps lived.
    - `episode_return`: reward of the episode under way.
    """

    learner: PyTree
    environment: PyTree
    timestep: TimeStep
    steps: Int[Array, ""]
    episode_return: Float[Array, ""]


class Life(eqx.Module):
    """What came of `L` environment steps. What was not recorded is `None`.

    - `total_reward`: the undiscounted sum of rewards.
    - `episodes`: how many episodes ended.
    - `totals`: the sum over the life of each metric of the task.
    - `final`: where the life stands; give it to `lifetime` as `start` to go on.
    - `rewards`, `actions`, `terminated`, `truncated`: of each step.
    - `observations`: what the learner acted on at each step.
    - `final_observations`: where each step led, before any reset.
    - `episode_returns`: the return of the episode that ended with a step, NaN elsewhere.
    - `metrics`: the metrics of the task at each step.
    """

    total_reward: Float[Array, "*lives"]
    episodes: Int[Array, "*lives"]
    totals: dict[str, Float[Array, "*lives"]]
    final: LifeState
    rewards: Float[Array, "*lives L"] | None = None
    actions: Int[Array, "*lives L"] | Float[Array, "*lives L B"] | None = None
    observations: Float[Array, "*lives L A"] | None = None
    final_observations: Float[Array, "*lives L A"] | None = None
    terminated: Bool[Array, "*lives L"] | None = None
    truncated: Bool[Array, "*lives L"] | None = None
    episode_returns: Float[Array, "*lives L"] | None = None
    metrics: dict[str, Float[Array, "*lives L"]] | None = None


def begin(learner: Learner, task: Task, *, key: PRNGKeyArray) -> LifeState:
    """A newborn learner before its first step.

    **Arguments:**

    - `learner`: any learner.
    - `task`: what it will live in.
    - `key`: the random key of its state and of the first episode.
    """
    learner_key, reset_key = jr.split(key)
    observation, environment = task.environment.reset(reset_key, task.params)
    observation, spaces = flat(observation), task.spaces
    return LifeState(
        learner=learner.init(spaces, key=learner_key),
        environment=environment,
        timestep=TimeStep.first(observation, spaces),
        steps=jnp.asarray(0, jnp.int32),
        episode_return=jnp.zeros((), observation.dtype),
    )


@eqx.filter_jit
def lifetime(
    learner: Learner,
    task: Task,
    *,
    steps: int,
    key: PRNGKeyArray,
    record: tuple[Record, ...] = ("rewards", "actions", "episode_returns"),
    start: LifeState | None = None,
) -> Life:
    """Let a learner live in a task.

    The learned variables are carried over the ends of episodes, and the reward and action of an
    episode's last step reach the learner. Memory grows with `steps` only by what is recorded.
    Living `n` steps and then `m` more from `final`, with the same key, equals `n + m` steps.

    **Arguments:**

    - `learner`: any learner.
    - `task`: the task; to live many, `jax.vmap` over tasks and keys.
    - `steps`: `L`, environment steps.
    - `key`: the random key of the whole life.
    - `record`: what to keep of every step.
    - `start`: where to go on from, the `final` of an earlier life; birth by default.

    **Returns:**

    A `Life`.

    **Raises:** `ValueError` for a length below one, an unknown name in `record`, a metric of the
    task that its environment does not report, or an action of another kind than the task's.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    unknown = sorted(set(record) - set(get_args(Record)))
    if unknown:
        raise ValueError(
            f"`record` can hold {', '.join(get_args(Record))}; got {', '.join(unknown)}."
        )
    birth_key, steps_key = jr.split(key)
    if start is None:
        start = begin(learner, task, key=birth_key)
    dtype = start.episode_return.dtype
    zeros = {name: jnp.zeros((), dtype) for name in task.metrics}
    sums = (jnp.zeros((), dtype), jnp.asarray(0, jnp.int32), zeros)

    def one(
        carry: tuple[LifeState, tuple], _: None
    ) -> tuple[tuple[LifeState, tuple], dict[str, PyTree]]:
        life, (reward_sum, episodes, totals) = carry
        learner_key, environment_key = jr.split(jr.fold_in(steps_key, life.steps))
        learned, action = learner.step(life.learner, life.timestep, key=learner_key)
        action = _like(life.timestep.action, action, learner)
        observation, environment, reward, terminated, truncated, info = task.environment.step(
            environment_key, life.environment, action, task.params
        )
        missing = sorted(set(task.metrics) - set(info))
        if missing:
            raise ValueError(
                f"The task's metrics {', '.join(missing)} are not in the environment's info, which "
                f"has {', '.join(sorted(info))}. Name others in `Task(metrics=...)`."
            )
        reward = jnp.asarray(reward).astype(dtype)
        timestep = TimeStep(
            observation=flat(observation),
            action=action,
            reward=reward,
            terminated=jnp.asarray(terminated, bool),
            truncated=jnp.asarray(truncated, bool),
            final_observation=flat(info["final_observation"]),
        )
        metrics = {name: jnp.asarray(info[name]).astype(dtype) for name in task.metrics}
        running = life.episode_return + reward
        seen = {
            "rewards": reward,
            "actions": action,
            "observations": life.timestep.observation,
            "final_observations": timestep.final_observation,
            "terminated": timestep.terminated,
            "truncated": timestep.truncated,
            "episode_returns": jnp.where(timestep.ended, running, jnp.nan),
            "metrics": metrics,
        }
        life = LifeState(
            learner=learned,
            environment=environment,
            timestep=timestep,
            steps=life.steps + 1,
            episode_return=jnp.where(timestep.ended, 0.0, running),
        )
        sums = (
            reward_sum + reward,
            episodes + timestep.ended.astype(jnp.int32),
            {name: totals[name] + metrics[name] for name in totals},
        )
        return (life, sums), {name: seen[name] for name in record}

    (final, (reward_sum, episodes, totals)), kept = jax.lax.scan(
        one, (start, sums), None, length=steps
    )
    return Life(reward_sum, episodes, totals, final, **kept)


def flat(observation: Array) -> Float[Array, " A"]:
    """An observation of any shape and type as a vector of floats."""
    observation = jnp.asarray(observation).reshape(-1)
    if not jnp.issubdtype(observation.dtype, jnp.floating):
        observation = observation.astype(jnp.float32)
    return observation


def _like(before: Array, action: Array, learner: Learner) -> Array:
    """An action of the kind of those before it, or an error that says so."""
    if action.shape != before.shape:
        raise ValueError(
            f"{type(learner).__name__} acts with an array of shape {action.shape}, but an action "
            f"of this task has shape {before.shape}: use a learner that has such actions."
        )
    return action.astype(before.dtype) if before.ndim else action
