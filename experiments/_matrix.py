"""`symla matrix`: how good each learner is in each test, as numbers, a table and a heat map."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

from . import _scale
from ._commands import say, table
from ._names import PLAYERS, check_at_least_one
from ._options import Matrix, Train
from ._tasks import TaskSpec, parse_tasks
from ._train import train
from ._train_settings import settings

RANDOM, THOMPSON = "random", "thompson"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is tested on what.

    - `rows`: the learners of each row: one, or one for each seed.
    - `trainings`: the meta-trainings whose learners are further rows.
    - `tests`: the columns.
    """

    rows: Mapping[str, tuple[str, ...]]
    trainings: Mapping[str, tuple[Train, ...]]
    tests: tuple[TaskSpec, ...]


def plan(options: Matrix) -> Plan:
    """Read and check the options, before JAX is imported.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    check_at_least_one(lives=options.lives, seeds=options.seeds)
    if options.steps is not None:
        check_at_least_one(steps=options.steps)
    if not options.learners and not options.train:
        raise ValueError(
            "Name learners to test (`--learners`), or tasks to meta-train learners on (`--train`)."
        )
    if not options.train:
        given = [
            f"`--{name}`"
            for name in ("learner", "preset", "generations", "seeds")
            if getattr(options, name) != getattr(Matrix, name, None)
        ]
        if given:
            raise ValueError(f"{' and '.join(given)} can only go with `--train`.")
    rows: dict[str, tuple[str, ...]] = {}
    for text in options.learners:
        name, learner = _named(text)
        rows[name] = (*rows.get(name, ()), learner)
    specs = parse_tasks(options.train) if options.train else ()
    trainings = {spec.text: _trainings(options, spec.text) for spec in specs}
    for name in trainings:
        if name in rows:
            raise ValueError(f"Two rows are called {name}; name the learner: `NAME=LEARNER`.")
    return Plan(rows, trainings, parse_tasks(options.tests))


def _named(text: str) -> tuple[str, str]:
    """The name of a row and the learner that an argument is."""
    match = re.fullmatch(r"([^=/\\:]+)=(.+)", text)
    if match:
        return match[1], match[2]
    if text in PLAYERS or text.startswith("pretrained:"):
        return text.removeprefix("pretrained:"), text
    path = Path(text)
    return path.parent.name if path.stem == "learner" and path.parent.name else path.stem, text


def _trainings(options: Matrix, task: str) -> tuple[Train, ...]:
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", task)
    trainings = tuple(
        Train(
            learner=options.learner,
            task=(task,),
            preset=options.preset,
            generations=options.generations,
            seed=seed,
            out=options.out / "trained" / f"{slug}-{seed}",
        )
        for seed in range(options.seed, options.seed + options.seeds)
    )
    settings(trainings[0])
    return trainings


def matrix(options: Matrix) -> dict:
    """Carry out `symla matrix`.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    what = plan(options)
    _scale.use_all_cores()
    from . import _matrix_cells, _results

    learners = _matrix_cells.load(what.rows)  # what is not there says so before any training
    trained: dict[str, tuple[str, ...]] = {}
    for row, trainings in what.trainings.items():
        for how in trainings:
            assert how.out is not None
            if not _is_done(how):
                say(f"Meta-training on {row}, seed {how.seed}")
                if not train(how)["finished"]:
                    say("Stopped. The same command goes on.")
                    return {"finished": False, "out": str(options.out)}
            trained[row] = (*trained.get(row, ()), str(how.out))
    rows = {**what.rows, **trained, RANDOM: (RANDOM,)}
    if any(spec.is_bandit for spec in what.tests):
        rows[THOMPSON] = (THOMPSON,)
    cells = _matrix_cells.live(
        rows,
        {**learners, **_matrix_cells.load(trained)},
        what.tests,
        lives=options.lives,
        steps=options.steps,
        seed=options.seed,
        folder=options.out / "lives",
    )
    result = {
        "lives": options.lives,
        "seed": options.seed,
        **_matrix_cells.scores(cells, seed=options.seed, zero=RANDOM),
        "learners": {row: list(names) for row, names in rows.items()},
        "finished": True,
        "out": str(options.out),
        "machine": _results.machine(),
    }
    _matrix_cells.write(options.out, result)
    return result


def _is_done(how: Train) -> bool:
    """Whether a training has ended with these settings."""
    file = (how.out or Path()) / "train.json"
    if not file.exists():
        return False
    saved = json.loads(file.read_text())
    asked = json.loads(json.dumps(settings(how)))
    return saved.get("finished", False) and asked == {key: saved.get(key) for key in asked}


def show_matrix(result: dict) -> None:
    """The scores as tables that fit the terminal, and where the rest is."""
    if not result["finished"]:
        return
    from rich.console import Console

    rows, tests = result["rows"], result["tests"]
    cells = {(cell["row"], cell["test"]): cell for cell in result["cells"]}
    say(
        "Mean reward per step (interquartile mean over lives), in brackets the score\n"
        "from the random player (0) to the best learner of the test (1), and beneath\n"
        "the interval of 95 %."
    )
    first = min(max(map(len, tests)), 28)
    width = max(16, *(min(len(row), 20) for row in rows)) + 3
    at_once = max(1, (Console().width - first - 4) // width)
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        lines = [[test, *(_in_words(cells[row, test]) for row in some)] for test in tests]
        overall = [_all_in_words(result["overall"].get(row)) for row in some]
        table("", ["test", *some], [*lines, ["all tests", *overall]], lines=True)
    say(f"In {result['out']}: matrix.png, matrix.csv, matrix.json.")


def _in_words(cell: dict) -> str:
    if cell["note"] is not None:
        return "does not fit"
    norm = cell["normalised"]
    share = "" if norm is None else f" ({norm['value']:.2f})"
    return f"{cell['value']:.3g}{share}\n[{cell['low']:.3g}, {cell['high']:.3g}]"


def _all_in_words(overall: dict | None) -> str:
    if overall is None:
        return "-"
    number = f"({overall['value']:.2f})\n[{overall['low']:.2f}, {overall['high']:.2f}]"
    return f"{number}\nof {overall['tests']} tests"
