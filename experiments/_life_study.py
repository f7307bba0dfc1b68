"""Meta-train learners by curricula, and look into their lives: the shape of figures 5 to 7."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.random as jr
import numpy as np
from jaxtyping import Float

import meta
import rl

from . import _curricula, _results, _scale
from ._bandit_study import LearnerFactory, spent, test_key

PARTS = 50  # of a life, in curves
Parts = Float[np.ndarray, "seeds lives parts"]


@dataclasses.dataclass(frozen=True)
class Row:
    """A learner, and how it is meta-trained.

    - `name`: how files and tables call it.
    - `learner`: makes a new learner from a key.
    - `curriculum`: the stages of its meta-training.
    - `after`: the name of an earlier row from whose learner of the same seed it starts.
    """

    name: str
    learner: LearnerFactory
    curriculum: meta.Curriculum
    after: str | None = None


@dataclasses.dataclass(frozen=True)
class Probe:
    """Lives in which learners are looked at.

    - `name`: how tables call it.
    - `tasks`: where the task of each life is drawn from.
    - `steps`: environment steps of a life.
    """

    name: str
    tasks: rl.TaskDistribution
    steps: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study measured.

    - `courses`: for each row, probe and metric (`"reward"`, too), the mean per environment step
        in each part of each life.
    - `steps`: of a life, by probe.
    - `seconds`: spent in the generations of each row, all seeds and runs, without compiling.
    - `wall_seconds`: of this run.
    """

    courses: dict[tuple[str, str], dict[str, Parts]]
    steps: dict[str, int]
    seconds: dict[str, float]
    wall_seconds: float

    def totals(self, row: str, probe: str, metric: str = "reward") -> Float[np.ndarray, "s l"]:
        """The sum over each life."""
        return self.courses[row, probe][metric].mean(-1) * self.steps[probe]

    def without(self, row: str, probe: str, metric: str, last: float = 0.2) -> float:
        """The share of lives in whose last part a metric stayed 0: lives without a fall."""
        course = self.courses[row, probe][metric]
        return float((course[..., -round(last * course.shape[-1]) :].sum(-1) == 0).mean())

    def gap(self, row: str, probe: str, metric: str, start: float, end: float) -> float:
        """Environment steps in a part of all lives for each event (a fall) that happened there.

        The part is given by where it starts and ends, as shares of a life. Where there was no
        event at all, it is as if there had been one.
        """
        course = self.courses[row, probe][metric]
        course = course[..., round(start * PARTS) : round(end * PARTS)]
        steps = course.size * self.steps[probe] / PARTS
        events = course.sum() * self.steps[probe] / PARTS
        return float(steps / max(events, 1.0))

    def part(self, row: str, probe: str, start: float, end: float) -> float:
        """The mean reward per step in a part of all lives, from and to a share of a life."""
        course = self.courses[row, probe]["reward"]
        return float(course[..., round(start * PARTS) : round(end * PARTS)].mean())

    def improvement(
        self, row: str, probe: str, than: tuple[str, str] | None = None
    ) -> tuple[float, float]:
        """The mean reward per step in the last tenth less that in the first, and its error.

        Where a new episode pays by itself, every life seems to become worse: all begin with one.
        `than` is a row and a probe (a random policy) whose own change is taken off.
        """
        change = self._change(row, probe)
        if than is not None:
            change = change - self._change(*than).mean(1, keepdims=True)
        units = change.mean(1) if change.shape[0] > 1 else change[0]
        return float(change.mean()), float(units.std(ddof=1) / np.sqrt(len(units)))

    def _change(self, row: str, probe: str) -> Float[np.ndarray, "s l"]:
        course, tenth = self.courses[row, probe]["reward"], PARTS // 10
        return course[..., -tenth:].mean(-1) - course[..., :tenth].mean(-1)


def contenders(families: Sequence[str], preset: str) -> list[Row]:
    """SymLA and a MetaRNN on each family: the rows `SymLA-FAMILY` and `MetaRNN-FAMILY`.

    SymLA comes from contextual bandits, once for each seed; a MetaRNN of that size cannot, and
    starts from scratch. In the paper's preset all do, and SymLA is as printed.
    """
    rows, root = [], None
    make = LearnerFactory(rl.SymLA.paper)
    if preset != "paper":
        make = LearnerFactory(rl.SymLA, reduction=_curricula.REDUCTION)
        root = "SymLA-contextual"
        rows.append(Row(root, make, _curricula.warm_up(preset)))
    for name in families:
        spaces = _curricula.family(name, preset).spaces
        sizes = {"observation_size": spaces.observation_size, "num_actions": spaces.num_actions}
        plain = _curricula.plain(name, preset)
        alone = plain if root is None else _curricula.control(name, preset)
        rows.append(Row(f"SymLA-{name}", make, alone, after=root))
        rows.append(Row(f"MetaRNN-{name}", LearnerFactory(rl.MetaRNN, **sizes), plain))
    return rows


def run(
    rows: Sequence[Row],
    probes: Mapping[str, Sequence[Probe]],
    *,
    seeds: Sequence[int],
    lives: int,
    out: Path,
    progress: bool,
) -> Outcome:
    """Meta-train every row with every seed, and let each live in its probes.

    Resumable: a training that is finished in `out` is not repeated, one that was cut off goes on.

    **Arguments:**

    - `rows`: what is meta-trained.
    - `probes`: where each row is looked at, by its name.
    - `seeds`: of the meta-trainings.
    - `lives`: of each meta-trained learner in each probe.
    - `out`: the folder of the trainings.
    - `progress`: show progress on the terminal.

    **Raises:** `KeyboardInterrupt` if it was interrupted; all that is done is kept.
    """
    began, seconds = time.perf_counter(), dict.fromkeys((row.name for row in rows), 0.0)
    seen: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    steps = {probe.name: probe.steps for row in rows for probe in probes.get(row.name, ())}
    for seed in seeds:
        learners: dict[str, rl.Learner] = {}
        for row in rows:
            folder = out / "runs" / row.name / f"seed-{seed}"
            start = None if row.after is None else learners[row.after]
            learners[row.name] = train(row, seed=seed, start=start, out=folder, progress=progress)
            seconds[row.name] += sum(map(spent, sorted(folder.glob("stage-*"))))
            for probe in probes.get(row.name, ()):
                course = look(learners[row.name], probe, seed=seed, lives=lives)
                seen.setdefault((row.name, probe.name), []).append(course)
    courses = {pair: _stacked(found) for pair, found in seen.items()}
    return Outcome(courses, steps, seconds, time.perf_counter() - began)


def train(
    row: Row, *, seed: int, start: rl.Learner | None, out: Path, progress: bool
) -> rl.Learner:
    """The learner of a row and seed, meta-trained in `out`, or as far as that was done, onwards."""
    init_key, train_key = jr.split(jr.key(seed))
    populations = {stage.strategy.population for stage in row.curriculum.stages}
    if progress:
        _results.say(f"{row.name}, meta-training seed {seed}")
    result = meta.train_curriculum(
        row.learner(init_key) if start is None else start,
        row.curriculum,
        key=train_key,
        devices=_scale.choose_devices(None, min(populations) // 2)[0],
        out=out,
        chunk=20,
        progress=progress,
    )
    if not result.finished:
        raise KeyboardInterrupt
    return result.learner


def look(learner: rl.Learner, probe: Probe, *, seed: int, lives: int) -> dict[str, np.ndarray]:
    """The course of unseen lives: `[lives, parts]` for the reward and each metric."""
    found = meta.evaluate(
        learner,
        probe.tasks,
        steps=probe.steps,
        lives=lives,
        key=test_key(seed),
        parts=PARTS,
    )
    assert found.by_part is not None  # it was asked for
    return {name: np.asarray(course) for name, course in found.by_part.items()}


def _stacked(found: Sequence[dict[str, np.ndarray]]) -> dict[str, Parts]:
    """The courses of all seeds as one array for each metric."""
    return {name: np.stack([course[name] for course in found]) for name in found[0]}


def report(
    rows: Sequence[Row],
    probes: Mapping[str, Sequence[Probe]],
    players: Mapping[str, rl.Learner],
    *,
    seeds: Sequence[int],
    lives: int,
    out: Path,
    progress: bool,
) -> tuple[Outcome, dict]:
    """Run a study and tell what every figure tells of one; the claims are the figure's own.

    **Arguments:** as of `run`, and `players`: learners without meta-training, which live in the
    probes of all rows.

    **Returns:**

    The outcome, and a result that JSON can hold.
    """
    outcome = run(rows, probes, seeds=seeds, lives=lives, out=out, progress=progress)
    everywhere = {probe.name: probe for found in probes.values() for probe in found}
    for name, player in players.items():
        for probe in everywhere.values():
            found = [look(player, probe, seed=seed, lives=lives) for seed in seeds]
            outcome.courses[name, probe.name] = _stacked(found)
    total = sum(outcome.seconds.values())
    result = {
        "unit": "reward per environment step, and its sum over a life",
        "seeds": list(seeds),
        "lives": lives,
        "steps": outcome.steps,
        "curricula": {row.name: describe(row.curriculum) for row in rows},
        "lives_of": {f"{a}->{b}": _told(outcome, a, b) for a, b in outcome.courses},
        "machine": _results.machine(),
        "training_seconds": {name: round(value, 1) for name, value in outcome.seconds.items()},
        "generation_seconds": round(total, 1),
        "wall_seconds_of_this_run": round(outcome.wall_seconds, 1),
    }
    return outcome, result


def describe(curriculum: meta.Curriculum) -> list[dict]:
    """The stages of a curriculum as JSON can hold them."""
    return [
        {
            "stage": stage.name,
            "generations": stage.generations,
            "population": stage.strategy.population,
            "outer_loop": type(stage.strategy).__name__,
            "std": _deviations(stage),
            "lessons": [
                {"name": one.name, "steps": one.steps, "lives": one.lives, "weight": one.weight}
                for one in stage.lessons
            ],
            "until": None if stage.until is None else str(stage.until),
        }
        for stage in curriculum.stages
    ]


def _deviations(stage: meta.Stage) -> list[float] | None:
    """Of the perturbations, at the start and the end; `None` where gradients are followed."""
    if not isinstance(stage.strategy, meta.EvolutionStrategy):
        return None
    return [round(stage.strategy.std_at(g), 6) for g in (0, stage.generations)]


def _told(outcome: Outcome, row: str, probe: str) -> dict:
    """The numbers of one learner in one probe."""
    change, error = outcome.improvement(row, probe)
    courses = outcome.courses[row, probe]
    told: dict = {
        "total_reward": _results.summary(outcome.totals(row, probe)),
        "improvement": {"mean": change, "sem": error},
        "courses": {
            name: {
                "mean": [round(float(x), 5) for x in course.mean((0, 1))],
                "std_over_seeds": [round(float(x), 5) for x in course.mean(1).std(0)],
                "std_over_lives": [round(float(x), 5) for x in course.std((0, 1))],
            }
            for name, course in courses.items()
        },
    }
    if "falls" in courses:
        told["without_fall_in_last_fifth"] = outcome.without(row, probe, "falls")
        told["steps_per_fall"] = {
            "first_fifth": outcome.gap(row, probe, "falls", 0.0, 0.2),
            "last_fifth": outcome.gap(row, probe, "falls", 0.8, 1.0),
        }
    return told
