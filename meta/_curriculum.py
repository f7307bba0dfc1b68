"""Stages of meta-training, one after another, each from where the one before ended."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

import rl

from . import _archive, _hosts
from ._criterion import Reached
from ._es import EvolutionStrategy
from ._evaluate import live
from ._hosts import Devices
from ._lesson import Lesson, lessons_of
from ._strategy import State, Strategy, program_of
from ._train import TrainResult, train

FILE = "curriculum.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class NotReachedError(RuntimeError):
    """A stage ended without meeting a criterion that it is required to meet."""


class Stage(eqx.Module):
    """One meta-training of a curriculum."""

    lessons: tuple[Lesson, ...] = eqx.field(static=True)
    generations: int = eqx.field(static=True)
    strategy: Strategy = eqx.field(static=True)
    until: Reached | None = eqx.field(static=True)
    test_every: int = eqx.field(static=True)
    required: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        lessons: Lesson | Sequence[Lesson],
        generations: int,
        strategy: Strategy | None = None,
        *,
        until: Reached | None = None,
        test_every: int = 10,
        required: bool = False,
        name: str | None = None,
    ):
        """**Arguments:**

        - `lessons`: what members live in each generation.
        - `generations`: how many at most.
        - `strategy`: the outer loop, `EvolutionStrategy()` by default. Each stage has a new
            optimiser.
        - `until`: a criterion that ends the stage as soon as it is met.
        - `test_every`: generations between two tests of the criterion (and of the `tests` of
            `train_curriculum`).
        - `required`: whether the curriculum ends if the criterion was never met; otherwise the
            next stage begins all the same.
        - `name`: of the stage's folder; by default made of the names of its lessons.

        **Raises:** `ValueError` for lessons or a number that cannot be, or a name that cannot be
        that of a folder.
        """
        self.lessons = lessons_of(lessons)
        for label, value in {"generations": generations, "test_every": test_every}.items():
            if value < 1:
                raise ValueError(f"`{label}` must be at least 1, got {value}.")
        if required and until is None:
            raise ValueError("`required` needs a criterion to meet; give `until`.")
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(
                f"`name` must be letters, digits and . _ + - only, for a folder; got {name!r}."
            )
        title = "+".join(re.sub(r"[^A-Za-z0-9._-]+", "-", str(one.name)) for one in self.lessons)
        self.generations, self.test_every = generations, test_every
        self.strategy = EvolutionStrategy() if strategy is None else strategy
        self.until, self.required, self.name = until, required, name or title


class Curriculum(eqx.Module):
    """Stages of meta-training, one after another."""

    stages: tuple[Stage, ...] = eqx.field(static=True)

    def __init__(self, stages: Sequence[Stage]):
        """**Arguments:**

        - `stages`: the first one first.

        **Raises:** `ValueError` for none.
        """
        if not stages:
            raise ValueError("A curriculum must have at least one stage, got none.")
        self.stages = tuple(stages)


@dataclasses.dataclass(frozen=True)
class CurriculumResult:
    """What came of a curriculum.

    - `learner`: the learner at the end of the last stage that began.
    - `stages`: the result of each stage that began. Its `reached` says whether it met its
        criterion, and is `None` for a stage without one.
    - `finished`: `False` if it was interrupted; run it again with the same `out` to go on.
    """

    learner: rl.Learner
    stages: list[TrainResult]
    finished: bool


def train_curriculum(
    learner: rl.Learner,
    curriculum: Curriculum,
    *,
    key: PRNGKeyArray,
    devices: Devices | None = None,
    memory: int | None = None,
    out: str | os.PathLike | None = None,
    chunk: int = 10,
    tests: Mapping[str, rl.TaskDistribution] | None = None,
    test_lives: int = 100,
    callback: Callable[[State, rl.Learner, dict], bool | None] | None = None,
    progress: bool = False,
    tensorboard: bool = False,
) -> CurriculumResult:
    """Meta-train a learner in stages, each from where the one before ended.

    Stage i is a `train` of its own with the key `jax.random.fold_in(key, i)`. What was stopped
    anywhere and resumed equals what never was, bit for bit on the same machine and versions.

    **Arguments:**

    - `learner`: where the first stage starts.
    - `curriculum`: the stages.
    - `key`: the random key of the whole curriculum.
    - `out`: a folder, in which each stage has its own, `stage-0-NAME`, as `train` writes it; and
        `curriculum.json` says which stages have ended, how and after how many generations. If it
        holds the same curriculum, or the beginning of it, that one is resumed. `None`: nothing is
        written.
    - `tests`: held-out tasks by name for all stages, lived in every `test_every` generations of a
        stage and at its end.
    - `devices`, `memory`, `chunk`, `test_lives`, `callback`, `progress`, `tensorboard`: as of
        `train`; the records that `callback` gets have the `stage`, too.

    **Returns:**

    A `CurriculumResult`. An interrupt, or a callback that returns `True`, ends it after the chunk
    that runs.

    **Raises:** `NotReachedError` for a stage that did not meet the criterion that it is required
    to meet; give it more generations and run it again. `ValueError` if `out` holds another
    curriculum, and whatever `train` raises; what can be seen without training is refused before
    the first stage.
    """
    stages = curriculum.stages
    _check(learner, stages, devices)
    folder = None if out is None else Path(out)
    ended = _ended(folder, stages)
    results: list[TrainResult] = []
    for number, stage in enumerate(stages):
        over = number < len(ended)
        generations, reached = ended[number] if over else (stage.generations, None)
        if not over:
            _note(folder, stages[: number + 1], ended)
        result = train(
            learner,
            stage.lessons,
            stage.strategy,
            generations=generations,
            key=jr.fold_in(key, number),
            devices=devices,
            memory=memory,
            out=None if folder is None else folder / f"stage-{number}-{stage.name}",
            chunk=chunk,
            tests=tests,
            test_every=stage.test_every,
            test_lives=test_lives,
            until=None if over else stage.until,
            callback=None if callback is None else _in_stage(callback, stage),
            progress=progress,
            tensorboard=tensorboard,
        )
        if over:
            result = dataclasses.replace(result, reached=reached)
        results.append(result)
        learner = result.learner
        if result.finished and not over:
            generation = int(result.state.generation)
            if stage.required and not result.reached:
                raise NotReachedError(
                    f"Stage {number} ({stage.name}) ended after {generation} generations without "
                    f"{stage.until}. Give it more generations, and run it again to go on."
                )
            ended.append((generation, result.reached))
            _note(folder, stages[: number + 1], ended)
        if result.stopped or not result.finished:
            break
    return CurriculumResult(learner, results, len(ended) == len(stages))


def _check(learner: rl.Learner, stages: tuple[Stage, ...], devices: Devices | None) -> None:
    """See now, and not after hours, what would stop a later stage."""
    everything = jax.devices() if jax.process_count() > 1 else jax.devices()[:1]
    for number, stage in enumerate(stages):
        try:
            program_of(
                learner,
                stage.lessons,
                stage.strategy,
                key=jr.key(0),
                devices=everything if devices is None else devices,
            )
            for lesson in stage.lessons:
                eqx.filter_eval_shape(
                    lambda key, lesson=lesson: lesson.fitness(
                        live(learner, lesson.tasks, steps=1, key=key)
                    ),
                    jr.key(0),
                )
        except ValueError as error:
            raise ValueError(f"Stage {number} ({stage.name}) cannot be: {error}") from error


def _in_stage(
    callback: Callable[[State, rl.Learner, dict], bool | None], stage: Stage
) -> Callable[[State, rl.Learner, dict], bool | None]:
    return lambda state, learner, row: callback(state, learner, {**row, "stage": stage.name})


def _entry(stage: Stage) -> dict:
    """What must not change of a stage that has begun; `train` compares the rest."""
    return {
        "name": stage.name,
        "generations": stage.generations,
        "test_every": stage.test_every,
        "until": None if stage.until is None else stage.until.identity,
    }


def _note(
    folder: Path | None, begun: tuple[Stage, ...], ended: list[tuple[int, bool | None]]
) -> None:
    """Write down how the stages stand; whole or not at all."""
    if folder is None or not _hosts.is_first():
        return
    entries = []
    for number, stage in enumerate(begun):
        after, reached = ended[number] if number < len(ended) else (None, None)
        entries.append({**_entry(stage), "ended": after, "reached": reached})
    folder.mkdir(parents=True, exist_ok=True)
    renewed = folder / f".{FILE}.new"
    renewed.write_text(json.dumps({"stages": entries}, indent=1, allow_nan=False) + "\n")
    renewed.replace(folder / FILE)


def _ended(folder: Path | None, stages: tuple[Stage, ...]) -> list[tuple[int, bool | None]]:
    """For each stage that has ended, after how many generations, and whether it met its criterion.

    The first process reads, and tells the others.
    """
    ended, failure = [], None
    if folder is not None and _hosts.is_first() and (folder / FILE).exists():
        try:
            ended = _read(folder, stages)
        except (ValueError, OSError) as error:
            failure = error
    if _hosts.any_of(failure is not None):
        raise failure or ValueError("The first process could not begin; it says why.")
    table = np.full((len(stages), 2), -1, np.int32)
    for number, (after, reached) in enumerate(ended):
        table[number] = after, -1 if reached is None else reached
    table = np.asarray(_hosts.from_first(table))
    return [(int(n), None if r < 0 else bool(r)) for n, r in table if n >= 0]


def _read(folder: Path, stages: tuple[Stage, ...]) -> list[tuple[int, bool | None]]:
    try:
        saved = json.loads((folder / FILE).read_text())["stages"]
        outcomes = [(entry["ended"], entry["reached"]) for entry in saved]
    except (ValueError, KeyError, TypeError) as error:
        raise _archive.ArchiveError(
            f"{folder / FILE} does not say how a curriculum stands ({error}); take another folder."
        ) from error
    if len(saved) > len(stages):
        raise ValueError(
            f"{folder} holds a curriculum of which {len(saved)} stages have begun, more than the "
            f"{len(stages)} asked for. Choose another folder, or ask for as many."
        )
    for number, (entry, stage) in enumerate(zip(saved, stages, strict=False)):
        now = json.loads(json.dumps(_entry(stage)))
        free = {"generations"} if entry["ended"] is None else set()
        different = [k for k in now if k not in free and entry.get(k) != now[k]]
        if different:
            changes = "; ".join(f"{k}: {entry.get(k)} there, {now[k]} now" for k in different)
            raise ValueError(
                f"{folder} holds another curriculum: stage {number} ({entry['name']}) is not the "
                f"same ({changes}). Choose another folder, or append stages instead."
            )
    return [(after, reached) for after, reached in outcomes if after is not None]
