"""Meta-train on some bandits, meta-test on all: the shape of figures 3 and 4 of SymLA."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.random as jr
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

import meta
import rl

from . import _results, _scale

TEST_STREAM = 0x7E57  # folded into the seed, so that no test life has a key of the training


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a preset spends on one meta-training.

    - `population`, `lives`, `generations`: members, lives of each, and generations.
    - `std`, `learning_rate`: of the perturbations and of Adam.
    - `last_rate`: the learning rate at the end over that at the start (exponential decay).
    - `fitness`: what of a life is maximised.
    - `meta_seeds`: independent meta-trainings of each kind.
    - `test_lives`: lives of each meta-trained learner on each test task.
    """

    population: int
    lives: int
    generations: int
    std: float
    learning_rate: float
    last_rate: float = 1.0
    fitness: meta.Fitness = meta.total_reward
    meta_seeds: int = 3
    test_lives: int = 100

    def strategy(self) -> meta.EvolutionStrategy:
        """The evolution strategy of this budget."""
        rate = self.learning_rate
        if self.last_rate != 1.0:
            rate = optax.exponential_decay(rate, self.generations, self.last_rate)
        return meta.EvolutionStrategy(self.population, self.std, optax.adam(rate))

    def describe(self) -> dict:
        """The budget as JSON can hold it."""
        plain = dataclasses.asdict(self)
        return {**plain, "fitness": self.fitness.__name__}


@dataclasses.dataclass(frozen=True)
class Training:
    """One row of a study: what is meta-trained, and on what.

    - `name`: how files and tables call it.
    - `tasks`: the training tasks.
    - `budget`: what is spent.
    - `learner`: makes a new learner from a key.
    """

    name: str
    tasks: rl.TaskDistribution
    budget: Budget
    learner: "LearnerFactory"


class LearnerFactory:
    """A class of learner with its arguments, all but the key."""

    def __init__(self, make, **arguments):
        self._make, self._arguments = make, arguments

    def __call__(self, key) -> rl.Learner:
        return self._make(**self._arguments, key=key)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study measured.

    - `regrets`: `[seeds, lives]` for each training and test task.
    - `seconds`: spent in the generations of each row, all seeds and runs, without compiling.
    - `compile_seconds`: spent compiling in this run.
    - `seconds_now`: of `seconds`, those of this run.
    """

    regrets: dict[tuple[str, str], np.ndarray]
    seconds: dict[str, float]
    compile_seconds: float
    seconds_now: float = 0.0

    def timing(self, elapsed: float) -> dict:
        """What the study took, as JSON can hold it.

        **Arguments:**

        - `elapsed`: seconds since this run began.

        **Returns:**

        Seconds in the generations of each row; compiling in this run; and all in all, for which
        a study that was cut off and resumed counts the generations of its earlier runs, too.
        """
        total = elapsed - self.seconds_now + sum(self.seconds.values())
        return {
            "training_seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "compile_seconds": round(self.compile_seconds, 1),
            "wall_seconds": round(total, 1),
        }


def run(
    trainings: Sequence[Training],
    tests: Mapping[str, rl.TaskDistribution],
    *,
    steps: int,
    seed: int,
    out: Path,
    progress: bool,
) -> Outcome:
    """Meta-train every row with every seed, and meta-test each on all test tasks.

    Resumable: a training that is finished in `out` is not repeated, one that was cut off goes on.

    **Raises:** `KeyboardInterrupt` if it was interrupted; all that is done is kept.
    """
    regrets, seconds, compiling, now = {}, {}, 0.0, 0.0
    for training in trainings:
        budget = training.budget
        rows: dict[str, list[np.ndarray]] = {name: [] for name in tests}
        seconds[training.name] = 0.0
        for meta_seed in range(seed, seed + budget.meta_seeds):
            init_key, train_key = jr.split(jr.key(meta_seed))
            if progress:
                _results.say(f"{training.name}, meta-training seed {meta_seed}")
            folder = out / "runs" / training.name / f"seed-{meta_seed}"
            result = meta.train(
                training.learner(init_key),
                training.tasks,
                budget.strategy(),
                steps=steps,
                lives=budget.lives,
                generations=budget.generations,
                key=train_key,
                fitness=budget.fitness,
                devices=_scale.choose_devices(None, budget.population // 2)[0],
                out=folder,
                chunk=50,
                progress=progress,
            )
            if not result.finished:
                raise KeyboardInterrupt
            seconds[training.name] += spent(folder)
            compiling += result.compile_seconds
            now += sum(row["seconds"] for row in result.history)
            for name, tasks in tests.items():
                test = meta.evaluate(
                    result.learner,
                    tasks,
                    steps=steps,
                    lives=budget.test_lives,
                    key=test_key(meta_seed),
                )
                rows[name].append(np.asarray(test.totals["regret"]))
        for name, values in rows.items():
            regrets[training.name, name] = np.stack(values)
    return Outcome(regrets, seconds, compiling, now)


def report(
    trainings: Sequence[Training],
    tests: Mapping[str, rl.TaskDistribution],
    players: Mapping[str, rl.Learner],
    *,
    steps: int,
    seed: int,
    out: Path,
    progress: bool,
) -> tuple[Outcome, dict]:
    """Run a study and tell what every figure tells of one; the claims are the figure's own.

    **Returns:**

    The outcome, and a result that JSON can hold.
    """
    began = time.perf_counter()
    outcome = run(trainings, tests, steps=steps, seed=seed, out=out, progress=progress)
    result = {
        "unit": f"expected cumulative regret after {steps} pulls (lower is better)",
        "seeds": list(range(seed, seed + trainings[0].budget.meta_seeds)),
        "steps": steps,
        "budgets": {row.name: row.budget.describe() for row in trainings},
        "regret": {
            f"{row.name}->{test}": _results.summary(outcome.regrets[row.name, test])
            for row in trainings
            for test in tests
        },
        "players": play(players, tests, steps=steps, seed=seed),
        "machine": _results.machine(),
        **outcome.timing(time.perf_counter() - began),
    }
    return outcome, result


def play(
    players: Mapping[str, rl.Learner],
    tests: Mapping[str, rl.TaskDistribution],
    *,
    steps: int,
    seed: int,
    lives: int = 2000,
) -> dict[str, dict]:
    """The regret of hand-made players on the test tasks, to compare with.

    **Returns:**

    `{"player->task": {"mean", "sem", ...}}`.
    """
    key, found = test_key(seed), {}
    for name, player in players.items():
        for task, tasks in tests.items():
            test = meta.evaluate(player, tasks, steps=steps, lives=lives, key=key)
            regret = np.asarray(test.totals["regret"])[None]
            found[f"{name}->{task}"] = _results.summary(regret)
    return found


def test_key(seed: int) -> PRNGKeyArray:
    """The key of the test lives of a seed: a stream that no meta-training uses."""
    return jr.fold_in(jr.key(seed), TEST_STREAM)


def spent(folder: Path) -> float:
    """Seconds spent in the generations of a training, over all its runs."""
    return sum(line.get("seconds", 0.0) for line in meta.recorded(folder))
