"""The cells of the generalisation matrix: lives, and what they come to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

import meta
import rl

from . import _builders, _results
from ._evaluate import Lives, check_fits
from ._names import PLAYERS
from ._statistics import Interval, normalised, stratified_bootstrap
from ._tasks import TaskSpec


class Cell(NamedTuple):
    """What the learners of a row earned in a test.

    - `row`, `test`: which.
    - `steps`: environment steps of a life.
    - `rewards`: the mean reward per step of each life, for each learner; none if they do not fit.
    - `note`: why they do not, or `None`.
    """

    row: str
    test: str
    steps: int
    rewards: list[Float[np.ndarray, " lives"]]
    note: str | None


def load(rows: Mapping[str, Sequence[str]]) -> dict[str, rl.Learner]:
    """The meta-trained learners by what the command line calls them.

    **Raises:** as `_builders.load_learner`.
    """
    names = {name for names in rows.values() for name in names}
    return {name: _builders.load_learner(name) for name in sorted(names - set(PLAYERS))}


def live(
    rows: Mapping[str, Sequence[str]],
    learners: Mapping[str, rl.Learner],
    tests: Sequence[TaskSpec],
    *,
    lives: int,
    steps: int | None,
    seed: int,
    folder: Path,
) -> list[Cell]:
    """Let every learner live in every test; all of a test live the same lives.

    **Arguments:**

    - `rows`: the learners of each row, by name.
    - `learners`: those that were meta-trained; others are players.
    - `tests`: what they live in.
    - `lives`: of each learner in each test.
    - `steps`: environment steps of a life; by default the task's.
    - `seed`: of the lives.
    - `folder`: where the rewards of lives are kept, and not lived again.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    cells = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("", total=len(rows) * len(tests))
        for spec in tests:
            tasks = _builders.make_tasks(spec)
            length = spec.entry.steps if steps is None else steps
            programs: list[Lives] = []
            for row, names in rows.items():
                progress.update(bar, description=f"{row} on {spec.text}")
                try:
                    mine = [
                        learners[name]
                        if name in learners
                        else _builders.find_learner(name, spec, length)
                        for name in names
                    ]
                    for learner in mine:
                        check_fits(learner, tasks)
                except ValueError as error:
                    cells.append(Cell(row, spec.text, length, [], " ".join(str(error).split())))
                else:
                    rewards = []
                    for learner in mine:
                        file = folder / f"{_identity(learner, spec, length, lives, seed)}.npy"
                        if not file.exists():
                            _live(learner, tasks, programs, length, lives, seed, file)
                        rewards.append(np.load(file))
                    cells.append(Cell(row, spec.text, length, rewards, None))
                progress.advance(bar)
    return cells


def _live(
    learner: rl.Learner,
    tasks: rl.TaskDistribution,
    programs: list[Lives],
    steps: int,
    lives: int,
    seed: int,
    file: Path,
) -> None:
    """Live, by a program that is compiled already if one suits, and keep the rewards per step."""
    program = next((one for one in programs if one.suits(learner)), None)
    if program is None:
        program = Lives(learner, tasks, steps=steps, lives=lives)
        programs.append(program)
    rewards = np.asarray(program(learner, seed).total_rewards, np.float64) / steps
    file.parent.mkdir(parents=True, exist_ok=True)
    renewed = file.with_suffix(".new")
    with renewed.open("wb") as opened:
        np.save(opened, rewards)
    renewed.replace(file)


def _identity(learner: rl.Learner, spec: TaskSpec, steps: int, lives: int, seed: int) -> str:
    """What tells the lives of a learner in a test from all others."""
    arrays = jax.tree.leaves(eqx.filter(learner, eqx.is_array))
    told = {
        "learner": type(learner).__name__,
        "hyperparameters": meta.hyperparameters(learner),
        "task": [spec.name, sorted(spec.options.items()), *spec.wrappers],
        "numbers": [steps, lives, seed],
        "versions": _builders.versions(),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode())
    for array in arrays:
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()[:24]


def scores(cells: Sequence[Cell], *, seed: int, zero: str) -> dict:
    """What JSON can hold of the cells: their interquartile means with intervals.

    **Arguments:**

    - `cells`: of a whole matrix.
    - `seed`: of the bootstrap.
    - `zero`: the row whose score is 0 on the normalised scale; the best other one's is 1.

    **Returns:**

    `rows`, `tests`, `cells`, and `overall`: the normalised score over the lives of all tests of a
    row, each test and seed a stratum.
    """
    raw = {(c.row, c.test): stratified_bootstrap(c.rewards, seed=seed) for c in cells if c.rewards}
    rows, tests = (
        list(dict.fromkeys(c.row for c in cells)),
        list(dict.fromkeys(c.test for c in cells)),
    )
    ends = {
        test: (
            raw[zero, test].value if (zero, test) in raw else float("nan"),
            max((raw[r, test].value for r in rows if r != zero and (r, test) in raw), default=0.0),
        )
        for test in tests
    }
    no_score = dict.fromkeys(Interval._fields)
    told, strata = [], {row: [] for row in rows}
    for cell in cells:
        interval = raw.get((cell.row, cell.test))
        scaled = None if interval is None else normalised(interval, *ends[cell.test])
        if scaled is not None:
            low, high = ends[cell.test]
            strata[cell.row] += [(x - low) / (high - low) for x in cell.rewards]
        told.append(
            {
                "row": cell.row,
                "test": cell.test,
                "steps": cell.steps,
                "seeds": len(cell.rewards),
                **(no_score if interval is None else interval._asdict()),
                "normalised": None if scaled is None else scaled._asdict(),
                "note": cell.note,
            }
        )
    counts = {
        row: sum(c["normalised"] is not None for c in told if c["row"] == row) for row in rows
    }
    overall = {
        row: {**stratified_bootstrap(values, seed=seed)._asdict(), "tests": counts[row]}
        for row, values in strata.items()
        if values
    }
    return {"rows": rows, "tests": tests, "cells": told, "overall": overall}


def write(folder: Path, result: dict) -> None:
    """Write the matrix as JSON, CSV and a heat map."""
    from ._study_plots import generalisation_matrix

    _results.write_json(folder / "matrix.json", result)
    flat = []
    for cell in result["cells"]:
        scaled = cell["normalised"] or dict.fromkeys(Interval._fields)
        plain = {k: v for k, v in cell.items() if k != "normalised"}
        flat.append({**plain, **{f"normalised_{k}": v for k, v in scaled.items()}})
    _results.write_csv(folder / "matrix.csv", flat)
    found = {(cell["row"], cell["test"]): cell["normalised"] for cell in result["cells"]}
    several = len(result["tests"]) > 1
    if several:
        found |= {(row, "all tests"): overall for row, overall in result["overall"].items()}
    columns = [*result["tests"], *(["all tests"] if several else [])]

    def grid(field: str) -> Float[np.ndarray, "rows columns"]:
        return np.asarray(
            [
                [(found.get((row, column)) or {}).get(field, float("nan")) for column in columns]
                for row in result["rows"]
            ]
        )

    generalisation_matrix(
        folder / "matrix.png",
        "Score from the random player (0) to the best learner of a test (1)",
        result["rows"],
        columns,
        grid("value"),
        grid("low"),
        grid("high"),
        note="Empty: the learner does not fit the task, or nobody is above the random player.",
    )
