"""Meta-testing: how well a learner learns, over many lives that training never saw."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

import rl


class Evaluation(eqx.Module):
    """The results of many lives.

    - `total_rewards`: the sum of rewards of each life.
    - `totals`: the sum over each life of each metric of the task (`"regret"`, for example).
    - `rewards`: the mean reward over lives at each environment step: the learning curve.
    - `by_part`: for `"reward"` and each metric, the mean per environment step in each of some
        equal parts of each life; `None` if no parts were asked for.
    """

    total_rewards: Float[Array, " lives"]
    totals: dict[str, Float[Array, " lives"]]
    rewards: Float[Array, " L"]
    by_part: dict[str, Float[Array, "lives parts"]] | None = None

    def mean(self, metric: str | None = None) -> float:
        """The mean over lives of the total reward, or of a metric."""
        return float(self._values(metric).mean())

    def sem(self, metric: str | None = None) -> float:
        """The standard error of that mean (with `lives - 1` degrees of freedom)."""
        return _standard_error(self._values(metric))

    def improvement(self, metric: str | None = None) -> tuple[float, float]:
        """How much the last part of a life is above the first, per environment step.

        **Arguments:**

        - `metric`: of a metric instead of the reward.

        **Returns:**

        The mean of the difference over lives, and its standard error (NaN for one life).

        **Raises:** `ValueError` if no parts were asked for, or there is no such metric.
        """
        if self.by_part is None:
            raise ValueError("Lives were not cut into parts: call `evaluate(..., parts=10)`.")
        if metric is not None:
            self._values(metric)
        values = self.by_part["reward" if metric is None else metric]
        change = values[:, -1] - values[:, 0]
        return float(change.mean()), _standard_error(change)

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
    parts: int | None = None,
) -> Evaluation:
    """Let a learner live many times.

    **Arguments:**

    - `learner`: any learner.
    - `tasks`: where the task of each life is drawn from.
    - `steps`: environment steps of a life.
    - `lives`: how many.
    - `key`: the random key of all lives; life `i` has `jax.random.split(key, lives)[i]`.
    - `batch`: how many lives are lived side by side; bounds the memory.
    - `parts`: cut each life into so many equal parts, for `by_part` and `improvement`. Where the
        steps do not divide evenly, the first parts are one step longer.

    **Returns:**

    An `Evaluation`.

    **Raises:** `ValueError` for less than one life, less than one in a batch, or more parts than
    steps.
    """
    for name, value in {"lives": lives, "batch": batch}.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if parts is not None and not 1 <= parts <= steps:
        raise ValueError(f"`parts` must be 1 to {steps}, the steps of a life; got {parts}.")

    def one(life_key: PRNGKeyArray) -> tuple[Array, dict[str, Array], Array, dict[str, Array]]:
        record = ("rewards",) if parts is None else ("rewards", "metrics")
        life = live(learner, tasks, steps=steps, key=life_key, record=record)
        assert life.rewards is not None  # it was recorded
        seen = {}
        if parts is not None:
            courses = {"reward": life.rewards, **(life.metrics or {})}
            seen = {name: _means(course, parts) for name, course in courses.items()}
        return life.total_reward, life.totals, life.rewards, seen

    rewards, totals, curves, by_part = jax.lax.map(
        one, jr.split(key, lives), batch_size=min(batch, lives)
    )
    return Evaluation(rewards, totals, curves.mean(0), None if parts is None else by_part)


def _standard_error(values: Float[Array, " lives"]) -> float:
    count = values.shape[0]
    return float(values.std(ddof=1) / count**0.5) if count > 1 else float("nan")


def _means(course: Float[Array, " L"], parts: int) -> Float[Array, " parts"]:
    """The mean of each of some equal parts of a life."""
    return jnp.stack([part.mean() for part in jnp.array_split(course, parts)])
