"""`symla evaluate`: how good a learner is over many unseen lives, and whether it learns in them."""

import math
import time
from collections.abc import Sequence
from typing import TypedDict

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

import meta
import rl

from . import _builders, _results
from ._commands import say, table
from ._names import PLAYERS, check_at_least_one, show_arms
from ._options import Evaluate
from ._tasks import parse_task

FROZEN = (0.1, 0.5)
SHUFFLED, RANDOM = "rewards shuffled", "random player"
_PARTS = 10
_WHO = "who"
_SURE = 3.0  # standard errors
_LOWER_IS_BETTER = ("regret", "falls")


class Change(TypedDict):
    """The mean over lives of a difference between two parts or two learners, and its error."""

    mean: float
    sem: float | None


class Lives:
    """The compiled program of many lives in one task, for all learners of one kind and size."""

    def __init__(self, learner: rl.Learner, tasks: rl.TaskDistribution, *, steps: int, lives: int):
        """**Arguments:**

        - `learner`: one of those that will live.
        - `tasks`: where the task of each life is drawn from.
        - `steps`, `lives`: environment steps of a life, and how many lives.

        **Raises:** `ValueError` for a learner that does not fit the tasks.
        """
        began = time.perf_counter()
        check_fits(learner, tasks)
        arrays, self._static = eqx.partition(learner, eqx.is_array)

        def live(arrays: PyTree, key: PRNGKeyArray) -> meta.Evaluation:
            learner = eqx.combine(arrays, self._static)
            parts = min(_PARTS, steps)
            return meta.evaluate(learner, tasks, steps=steps, lives=lives, key=key, parts=parts)

        self._shapes = jax.eval_shape(lambda: arrays)
        self._compiled = (
            jax.jit(live).lower(arrays, jr.key(0)).compile(compiler_options=meta.compiler_options())
        )
        self.compile_seconds = time.perf_counter() - began
        self.seconds = 0.0

    def suits(self, learner: rl.Learner) -> bool:
        """Whether this is the program for another learner, too."""
        arrays, static = eqx.partition(learner, eqx.is_array)
        ours = jax.tree.flatten((self._shapes, self._static))
        return ours == jax.tree.flatten((jax.eval_shape(lambda: arrays), static))

    def __call__(self, learner: rl.Learner, seed: int) -> meta.Evaluation:
        """Let a learner live, with keys of a seed that no meta-training uses."""
        began = time.perf_counter()
        arrays = eqx.filter(learner, eqx.is_array)
        result = jax.block_until_ready(self._compiled(arrays, _builders.test_key(seed)))
        self.seconds += time.perf_counter() - began
        return result


def check_fits(learner: rl.Learner, tasks: rl.TaskDistribution) -> None:
    """Refuse sizes that do not fit before anything is compiled, and say what would.

    **Raises:** `ValueError`.
    """
    spaces = tasks.spaces
    try:
        jax.eval_shape(lambda key: learner.init(spaces, key=key), jr.key(0))
    except ValueError as error:
        sizes = [getattr(learner, name, 0) for name in ("observation_size", "num_actions")]
        small = sizes[0] >= spaces.observation_size and sizes[1] >= spaces.num_actions
        if not isinstance(learner, rl.MetaRNN) or not small or sizes == _sizes(spaces):
            raise
        raise ValueError(
            f"{error} In the name of the task, that is +pad={sizes[0]}x{sizes[1]}."
        ) from None


def _sizes(spaces: rl.Spaces) -> list[int]:
    return [spaces.observation_size, spaces.num_actions]


def scores(evaluation: meta.Evaluation) -> dict:
    """Numbers for JSON: `reward_mean`, `reward_sem`, and the same of each metric, over whole lives.

    And per step, for the reward and each metric: `parts`, the mean in each tenth of the life, and
    `improvement`, of the last tenth over the first. Where there are falls, `no_fall_at_last`: the
    share of lives without one in their last fifth. Standard errors of one life are `None`.
    """
    result: dict = {}
    for name in [*evaluation.totals, "reward"]:
        metric = None if name == "reward" else name
        result[f"{name}_mean"] = evaluation.mean(metric)
        result[f"{name}_sem"] = _or_none(evaluation.sem(metric))
    by_part = evaluation.by_part or {}
    result["parts"] = {name: np.asarray(x).mean(0).tolist() for name, x in by_part.items()}
    result["improvement"] = {
        name: _change(np.asarray(x[:, -1] - x[:, 0])) for name, x in by_part.items()
    }
    if "falls" in by_part:
        falls = np.asarray(by_part["falls"])
        last = max(1, falls.shape[1] // 5)
        result["no_fall_at_last"] = float((falls[:, -last:].sum(1) == 0).mean())
    return result


def report(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    *,
    steps: int,
    lives: int,
    seed: int,
    controls: bool = True,
    frozen: Sequence[float] = FROZEN,
) -> dict:
    """Scores of a learner and of its controls, on the same lives.

    **Arguments:**

    - `learner`: any learner.
    - `tasks`: where the task of each life is drawn from.
    - `steps`, `lives`, `seed`: environment steps of a life, how many, and their random seed.
    - `controls`: whether the controls live, too.
    - `frozen`: after which shares of its life a control learns no more.

    **Returns:**

    `lives`, `steps`, `seed`, what `scores` has, `seconds` and `compile_seconds`; and `controls`:
    for each what `scores` has, and `behind`, how much less total reward it has than the learner in
    the same life.

    **Raises:** `ValueError` for a learner that does not fit the tasks.
    """
    program = Lives(learner, tasks, steps=steps, lives=lives)
    programs, own = [program], program(learner, seed)
    result = {"lives": lives, "steps": steps, "seed": seed, **scores(own)}
    if controls:
        result["controls"] = {}
        for name, control in _controls(learner, steps, frozen).items():
            programs.append(Lives(control, tasks, steps=steps, lives=lives))
            other = programs[-1](control, seed)
            behind = _change(np.asarray(own.total_rewards - other.total_rewards))
            result["controls"][name] = {**scores(other), "behind": behind}
    return {**result, **_seconds(programs)}


def _controls(learner: rl.Learner, steps: int, frozen: Sequence[float]) -> dict[str, rl.Learner]:
    after = sorted({max(1, round(share * steps)) for share in frozen})
    return {
        SHUFFLED: rl.ShuffledRewards(learner, steps),
        **{f"frozen after {n}": rl.Frozen(learner, n) for n in after},
        RANDOM: rl.classic.RandomPlayer(),
    }


def _seconds(programs: Sequence[Lives]) -> dict[str, float]:
    return {
        "seconds": round(sum(p.seconds for p in programs), 3),
        "compile_seconds": round(sum(p.compile_seconds for p in programs), 3),
    }


def _change(values: np.ndarray) -> Change:
    count = len(values)
    error = float(values.std(ddof=1) / count**0.5) if count > 1 else None
    return {"mean": float(values.mean()), "sem": error}


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number


def evaluate(options: Evaluate) -> dict:
    """Carry out `symla evaluate`.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    task = parse_task(options.task, options.arms)
    steps = task.entry.steps if options.steps is None else options.steps
    check_at_least_one(lives=options.lives, steps=steps)
    for share in options.frozen:
        if not 0 < share < 1:
            raise ValueError(f"`--frozen` are shares of a life, between 0 and 1; got {share}.")
    learner = _builders.find_learner(options.learner, task, steps)
    result: dict = {
        "learner": options.learner,
        "task": task.text,
        **({} if task.arms is None else {"arms": show_arms(task.arms)}),
        **report(
            learner,
            _builders.make_tasks(task),
            steps=steps,
            lives=options.lives,
            seed=options.seed,
            controls=options.controls and options.learner not in PLAYERS,
            frozen=options.frozen,
        ),
    }
    if options.learner == "optimal":
        result["regret_exact"] = _builders.exact_regret(task, steps)
    result["versions"] = _builders.versions()
    if options.out is not None:
        _results.write_json(options.out, result)
    return result


def show_evaluate(result: dict) -> None:
    """The result of `symla evaluate` as a table."""
    arms = f", {result['arms']} arms" if "arms" in result and ":" not in result["task"] else ""
    show_report(f"{result['learner']} on {result['task']}{arms}", result)
    if "regret_exact" in result:
        say(f"The exact expectation of its regret is {result['regret_exact']:.3f}.")


def show_report(title: str, result: dict) -> None:
    """Scores of a learner and its controls as a table, and in words whether it learns.

    **Arguments:**

    - `title`: what lived where.
    - `result`: what `report` has, with `lives` and `steps`.
    """
    rows = {"the learner": result, **result.get("controls", {})}
    metrics = [name for name in result["parts"] if name != "reward"]
    columns = [
        _WHO,
        *(f"{name}{' (less is better)' * (name in _LOWER_IS_BETTER)}" for name in metrics),
        "reward",
        "first → last tenth, a step",
        "improvement",
        *(["no fall in the last fifth"] if "no_fall_at_last" in result else []),
    ]
    table(
        f"{title}: mean ± s.e. of {result['lives']} lives of {result['steps']} steps",
        columns,
        [
            [
                who,
                *(_with_error(row[f"{name}_mean"], row[f"{name}_sem"]) for name in metrics),
                _with_error(row["reward_mean"], row["reward_sem"]),
                f"{row['parts']['reward'][0]:.2f} → {row['parts']['reward'][-1]:.2f}",
                _with_error(**row["improvement"]["reward"]),
                *([f"{row['no_fall_at_last']:.1%}"] if "no_fall_at_last" in result else []),
            ]
            for who, row in rows.items()
        ],
        whole=(_WHO,),
    )
    if "controls" in result and result["lives"] > 1:
        say(verdict(result))


def verdict(result: dict) -> str:
    """In words, whether a learner learns from its rewards: what its controls have to say."""
    gain, behind = result["improvement"]["reward"], result["controls"][SHUFFLED]["behind"]
    gained = f"{_with_error(**gain)} a step from the first to the last tenth of a life"
    lost = f"with its rewards shuffled in time it earns {_with_error(**behind)} less in a life"
    if _sure(gain) and _sure(behind):
        return f"It learns: it gains {gained}, and {lost}."
    if _sure(behind):
        return f"Its rewards matter: {lost}. But over its life it does not gain: {gained}."
    if _sure(gain):
        return f"It gains {gained}, but not by its rewards: {lost}."
    return f"No sign of learning: it gains {gained}, and {lost}."


def _sure(change: Change) -> bool:
    return change["sem"] is not None and change["mean"] > _SURE * change["sem"]


def _with_error(mean: float, sem: float | None) -> str:
    """A mean with as many digits as its error has two of."""
    if sem is None:
        return f"{mean:.3f}"
    digits = 3 if sem == 0 else min(max(1 - math.floor(math.log10(sem)), 0), 3)
    return f"{mean:.{digits}f} ± {sem:.{digits}f}"
