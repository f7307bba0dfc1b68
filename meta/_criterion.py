"""When a training is good enough to move on."""

import dataclasses

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

import rl

from ._checkpoint import hash_of, text_of
from ._evaluate import evaluate


@dataclasses.dataclass(frozen=True)
class Reached:
    """A criterion: how well a learner does in the last part of its lives on held-out tasks.

    What counts is `"reward"` or a metric of the tasks, as the mean per environment step over the
    last part of a life: with `Reached("right", tasks, steps=100, at_least=0.95)`, 95 % of the
    choices in the last fifth of 100 steps must be right.

    - `metric`: `"reward"`, or the name of a metric of the tasks.
    - `tasks`: where the task of each life is drawn from.
    - `steps`: environment steps of a life.
    - `lives`: how many lives, always from the same keys, which training never uses.
    - `at_least`, `at_most`: the bound; one of them.
    - `parts`: into how many equal parts a life is cut, of which the last counts; 1 for the whole.
    - `share`: in what share of the lives the bound must hold. By default, it must hold for the
        mean over lives.

    **Raises:** `ValueError` for a number that cannot be, none or two bounds, or a metric that the
    tasks do not have.
    """

    metric: str
    tasks: rl.TaskDistribution
    steps: int
    lives: int = 100
    at_least: float | None = None
    at_most: float | None = None
    parts: int = 5
    share: float | None = None

    def __post_init__(self):
        for name in ("steps", "lives"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 1 <= self.parts <= self.steps:
            raise ValueError(
                f"`parts` must be 1 to {self.steps}, the steps of a life; got {self.parts}."
            )
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"One of `at_least` and `at_most` must be given; got {self.at_least} and "
                f"{self.at_most}."
            )
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"`share` must be above 0 and at most 1, got {self.share}.")
        metrics = eqx.filter_eval_shape(lambda: self.tasks.sample(key=jr.key(0))).metrics
        if self.metric != "reward" and self.metric not in metrics:
            raise ValueError(
                f"The tasks have no metric {self.metric!r}; `metric` can be "
                f"{', '.join(('reward', *metrics))}."
            )

    def measure(self, learner: rl.Learner, *, key: PRNGKeyArray) -> tuple[float, bool]:
        """How well a learner does, and whether that is enough.

        **Arguments:**

        - `learner`: any learner.
        - `key`: the random key of its lives.

        **Returns:**

        The mean over lives, or the share of lives within the bound if there is a `share`; and
        whether the criterion is met, which a number that is not finite never does.
        """
        found = evaluate(
            learner, self.tasks, steps=self.steps, lives=self.lives, key=key, parts=self.parts
        )
        assert found.by_part is not None  # it was asked for
        values = np.asarray(found.by_part[self.metric], np.float64)[:, -1]
        if self.share is None:
            return values.mean().item(), bool(self._within(values.mean()))
        share = self._within(values).mean().item()
        return share, bool(share >= self.share)

    def _within(self, values: np.ndarray | np.floating) -> np.ndarray | np.bool_:
        least = -np.inf if self.at_least is None else self.at_least
        most = np.inf if self.at_most is None else self.at_most
        return np.isfinite(values) & (values >= least) & (values <= most)

    @property
    def identity(self) -> dict:
        """What makes it this criterion and no other, for JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "tasks": text_of(self.tasks), "arrays": hash_of(self.tasks)}

    def __str__(self) -> str:
        bound = f"at least {self.at_least}" if self.at_most is None else f"at most {self.at_most}"
        where = "" if self.share is None else f" in {self.share:.0%} of lives"
        return f"{self.metric} {bound}{where}"
