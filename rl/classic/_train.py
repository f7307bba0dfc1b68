"""Many environments side by side, and one knowledge that learns from all of them."""

from typing import Generic

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep
from .._lifetime import Life, LifeState, begin, lifetime
from .._task import Task, TaskDistribution
from ._agent import Agent, Knowledge, at_least_one
from ._experience import Experience


class Settled(Learner[tuple[Experience, Int[Array, ""]]], Generic[Knowledge]):
    """An agent that learns nothing more: it acts as its knowledge says, exploration included.

    It is a learner as any other, so that `rl.lifetime` and `meta.evaluate` take it.

    - `agent`: whose knowledge it is.
    - `knowledge`: as `train` returns it, or an `AgentState` has it.
    - `lived`: environment steps that lie behind it. Agents that begin with random actions do so no
        more after many of them.
    """

    agent: Agent[Knowledge]
    knowledge: Knowledge
    lived: int = eqx.field(static=True, default=2**30)

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> tuple[Experience, Int[Array, ""]]:
        """A stream before its first step, and the steps lived; see `Learner.init`."""
        del key
        return self.agent.begin(spaces), jnp.asarray(self.lived, jnp.int32)

    def step(
        self, state: tuple[Experience, Int[Array, ""]], timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[tuple[Experience, Int[Array, ""]], Action]:
        """Remember the last step, and act; see `Learner.step`."""
        stream, steps = state
        stream = stream.add(timestep, steps)
        stream, action = self.agent.act(self.knowledge, stream, timestep, steps, key=key)
        return (stream, steps + 1), action


def live_on(player: Settled, task: Task, start: LifeState, key: PRNGKeyArray) -> Life:
    """Let an agent live from one time of learning to the next.

    **Arguments:**

    - `player`: the agent, and what it knows.
    - `task`: what it lives in.
    - `start`: where its life stands.
    - `key`: the random key of its whole life.

    **Returns:**

    The steps lived, with the returns of episodes. `final.learner` has the stream to learn from,
    with what the last action led to, and the steps lived.
    """
    life = lifetime(
        player,
        task,
        steps=player.agent.period,
        key=key,
        record=("episode_returns",),
        start=start,
    )
    stream, lived = life.final.learner
    # The next step will remember it in the same place again. A stream beside that of the life would
    # be a copy of all that is remembered.
    stream = stream.add(life.final.timestep, lived)
    return eqx.tree_at(lambda x: x.final.learner, life, (stream, lived))


class Training(eqx.Module, Generic[Knowledge]):
    """What came of `U` updates.

    - `knowledge`: at the end; `Settled(agent, knowledge)` plays by it.
    - `rewards`: the mean reward of an environment step before each update.
    - `episodes`: how many episodes ended before it, and after the one before.
    - `episode_returns`: their mean return, NaN if there was none.
    """

    knowledge: Knowledge
    rewards: Float[Array, " U"]
    episodes: Int[Array, " U"]
    episode_returns: Float[Array, " U"]


@eqx.filter_jit
def train(
    agent: Agent[Knowledge],
    tasks: TaskDistribution,
    *,
    environments: int = 16,
    steps: int,
    key: PRNGKeyArray,
) -> Training[Knowledge]:
    """Let one agent learn in many environments at once, as one compiled scan.

    With one environment, it is what the agent does in a `rl.lifetime`.

    !!! Example

        ```python
        tasks = rl.envs.Vary(rl.envs.CartPole("gym"))
        trained = rl.classic.train(rl.classic.PPO(), tasks, steps=3200, key=key)
        player = rl.classic.Settled(rl.classic.PPO(), trained.knowledge)
        ```

    **Arguments:**

    - `agent`: PPO, A2C, TD3 or another.
    - `tasks`: each environment has a task of its own, for good.
    - `environments`: `E`, how many.
    - `steps`: environment steps in each of them, a multiple of the agent's `period`.
    - `key`: the random key of all.

    **Returns:**

    A `Training` of `steps / period` updates.

    **Raises:** `ValueError` for numbers below one, or steps that are no whole number of periods.
    """
    at_least_one({"environments": environments, "steps": steps})
    if steps % agent.period:
        raise ValueError(
            f"`steps` must be a multiple of the {agent.period} environment steps from one update "
            f"of {type(agent).__name__} to the next, got {steps}."
        )
    birth_key, task_key, start_key, life_key, update_key = jr.split(key, 5)
    drawn = jax.vmap(lambda key: tasks.sample(key=key))(jr.split(task_key, environments))
    knowledge = agent.newborn(tasks.spaces, key=birth_key)
    life_keys = jr.split(life_key, environments)
    starts = jax.vmap(lambda task, key: begin(Settled(agent, knowledge, 0), task, key=key))(
        drawn, jr.split(start_key, environments)
    )

    def update(
        carry: tuple[Knowledge, LifeState], count: Int[Array, ""]
    ) -> tuple[tuple[Knowledge, LifeState], tuple[Array, Array, Array]]:
        knowledge, starts = carry
        player = Settled(agent, knowledge)
        lives = jax.vmap(lambda *one: live_on(player, *one))(drawn, starts, life_keys)
        streams, lived = lives.final.learner
        knowledge = agent.learn(knowledge, streams, lived[0], key=jr.fold_in(update_key, count))
        returns = lives.episode_returns
        assert returns is not None
        ended = jnp.isfinite(returns)
        mean = jnp.where(ended, returns, 0.0).sum() / ended.sum(dtype=returns.dtype)
        reward = lives.total_reward.mean() / agent.period
        return (knowledge, lives.final), (reward, ended.sum(dtype=jnp.int32), mean)

    counts = jnp.arange(steps // agent.period)
    (knowledge, _), curves = jax.lax.scan(update, (knowledge, starts), counts)
    return Training(knowledge, *curves)
