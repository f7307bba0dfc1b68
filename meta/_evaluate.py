"""Meta-testing: how well a learner learns, over many lives that training never saw."""

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

import rl


class Evaluation(eqx.Module):
    """The results of many lives.

    - `total_rewards`: the sum of rewards of each life.
    - `totals`: the sum over each life of each metric of the task (`"regret"`, for example).
    - `rewards`: the mean reward over lives at each environment step: the learning curve.
    """

    total_rewards: Float[Array, " lives"]
    totals: dict[str, Float[Array, " lives"]]
    rewards: Float[Array, " L"]

    def mean(self, metric: str | None = None) -> float:
        """The mean over lives of the total reward, or of a metric."""
        return float(self._values(metric).mean())

    def sem(self, metric: str | None = None) -> float:
        """The standard error of that mean (with `lives - 1` degrees of freedom)."""
        values = self._values(metric)
        count = values.shape[0]
        return float(values.std(ddof=1) / count**0.5) if count > 1 else float("nan")

    def _values(self, metric: str | None) -> Float[Array, " lives"]:
        if metric is None:
            return self.total_rewards
        if metric not in self.totals:
            known = ", ".join(self.totals) or "none"
            raise ValueError(f"The task has no metric {metric!r}; it has: {known}.")
        return self.totals[metric]


def live(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    *,
    steps: int,
    key: PRNGKeyArray,
    record: tuple[rl.Record, ...] = (),
) -> rl.Life:
    """One life on a task drawn from a distribution; both from one key."""
    task_key, life_key = jr.split(key)
    task = tasks.sample(key=task_key)
    return rl.lifetime(learner, task, steps=steps, key=life_key, record=record)


@eqx.filter_jit
def evaluate(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    *,
    steps: int,
    lives: int,
    key: PRNGKeyArray,
    batch: int = 1024,
) -> Evaluation:
    """Let a learner live many times.

    **Arguments:**

    - `learner`: any learner.
    - `tasks`: where the task of each life is drawn from.
    - `steps`: environment steps of a life.
    - `lives`: how many.
    - `key`: the random key of all lives; life `i` has `jax.random.split(key, lives)[i]`.
    - `batch`: how many lives are lived side by side; bounds the memory.

    **Returns:**

    An `Evaluation`.

    **Raises:** `ValueError` for less than one life, or less than one in a batch.
    """
    for name, value in {"lives": lives, "batch": batch}.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")

    def one(life_key: PRNGKeyArray) -> tuple[Array, dict[str, Array], Array]:
        life = live(learner, tasks, steps=steps, key=life_key, record=("rewards",))
        assert life.rewards is not None  # it was recorded
        return life.total_reward, life.totals, life.rewards

    rewards, totals, curves = jax.lax.map(one, jr.split(key, lives), batch_size=min(batch, lives))
    return Evaluation(rewards, totals, curves.mean(0))
