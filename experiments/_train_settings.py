"""The options of `symla train`, filled in from a preset and checked before JAX is imported."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

from . import _loops
from ._names import (
    COMMON_RANDOM_NUMBERS,
    FITNESSES,
    NORMALISATIONS,
    PLAYERS,
    PRECISIONS,
    REDUCTIONS,
    SHAPINGS,
    TRAINABLE,
    check_at_least_one,
    choose,
    show_arms,
)
from ._options import Train
from ._presets import PRESETS, Preset
from ._tasks import TaskSpec, parse_tasks

_HIDDEN_SIZES = {"metarnn": 48, "maml": 32, "metagenrl": 32, "epg": 64, "lpg": 32}
# What a curriculum decides itself.
_OF_TASKS = (
    "outer_loop task arms steps generations population lives std learning_rate discount fitness "
    "shaping common_random_numbers test_every"
).split()


def settings(options: Train) -> dict:
    """What will be trained and how: the options, and the preset's numbers where they are silent.

    Everything that can be wrong is refused here, before JAX is imported.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    preset = PRESETS[choose("preset", options.preset, PRESETS)]
    learner = _learner(options, preset)
    if options.curriculum is None:
        budget = _budget(options, preset, _outer_loop(options, learner["learner"]))
    else:
        from ._curricula import CURRICULA

        budget = {"curriculum": choose("curriculum", options.curriculum, CURRICULA)}
        _refuse(options, _OF_TASKS, "`--curriculum` has its own tasks and budgets")
    check_at_least_one(chunk=options.chunk)
    return {
        **learner,
        **budget,
        "chunk": options.chunk,
        "precision": choose("precision", options.precision, PRECISIONS),
        "preset": options.preset,
        "seed": options.seed,
    }


def task_specs(options: Train) -> tuple[TaskSpec, ...]:
    """The tasks of a training without a curriculum."""
    return parse_tasks(options.task, options.arms)


def folder(options: Train, how: dict) -> Path:
    """Where the results go."""
    if options.out is not None:
        return options.out
    arms = how.get("arms") if ":" not in how.get("task", "") else None
    what = how.get("curriculum") or how["task"]
    words = (how["learner"], what, *([] if arms is None else [arms]), how["preset"], how["seed"])
    return Path("runs") / re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(map(str, words)))


def command(options: Train, out: Path) -> str:
    """A command line that goes on with a training."""
    words = ["symla", "train"]
    for name, value in vars(options).items():
        option = _option(name)
        if name == "out":
            words += [option, str(out)]
        elif value == _default(name):
            continue
        elif value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [option, *value]
        else:
            words += [option, str(value)]
    return shlex.join(words)


def _learner(options: Train, preset: Preset) -> dict:
    if options.start is not None:
        if options.start in PLAYERS:
            raise ValueError(
                f"`--from` is a meta-trained learner, and {options.start} has nothing to train."
            )
        _refuse(
            options,
            ("learner", "hidden_size", "reduction", "normalise"),
            "`--from` says what is trained",
        )
        return {"learner": options.start, "hidden_size": None, "reduction": None, "normalise": None}
    name = preset.learner if options.learner is None else options.learner
    choose("learner", name, TRAINABLE)
    hidden_size = options.hidden_size
    if hidden_size is None:
        hidden_size = _HIDDEN_SIZES.get(name, preset.hidden_size)
    check_at_least_one(hidden_size=hidden_size)
    return {"learner": name, "hidden_size": hidden_size, **_choices(options, name)}


def _choices(options: Train, learner: str) -> dict[str, str | None]:
    """The options of `rl.SymLA` that can be chosen, and what was; `None` for other learners."""
    defaults = {
        "reduction": (REDUCTIONS, "mean" if options.curriculum is None else "scaled"),
        "normalise": (NORMALISATIONS, "none"),
    }
    found: dict[str, str | None] = dict.fromkeys(defaults)
    for name, (known, default) in defaults.items():
        given = getattr(options, name)
        if learner == "symla":
            found[name] = choose(name, default if given is None else given, known)
        elif given is not None:
            raise ValueError(f"`--{name}` is an option of symla; {learner} has none to choose.")
    return found


def _outer_loop(options: Train, learner: str) -> str:
    """The name of the outer loop."""
    if options.outer_loop is None:
        return _loops.default(learner)
    name = choose("outer loop", options.outer_loop, _loops.LOOPS)
    only = _loops.LOOPS[name].learner
    if options.start is None and only not in (None, learner):
        raise ValueError(
            f"`--outer-loop {name}` meta-trains {only} only, got --learner {learner}. Others: "
            "symla list outer-loops."
        )
    return name


def _budget(options: Train, preset: Preset, outer_loop: str) -> dict:
    loop = _loops.LOOPS[outer_loop]
    others = {name for one in _loops.LOOPS.values() for name in one.options} - {*loop.options}
    _refuse(options, sorted(others), f"`--outer-loop {outer_loop}` has no such options")
    numbers: dict[str, Any] = {
        name: default if getattr(options, name) is None else getattr(options, name)
        for name, default in loop.numbers[options.preset].items()
    }
    specs = task_specs(options)
    steps = numbers.pop("steps", options.steps)
    lived = [spec.entry.steps if steps is None else steps for spec in specs]
    counts = {
        name: numbers[name] for name in ("generations", "population", "lives") if name in numbers
    }
    check_at_least_one(steps=min(lived), **counts)
    if numbers.get("population", 0) % 2:
        raise ValueError(
            f"`--population` must be even, because members come in antithetic pairs; got "
            f"{numbers['population']}. Try {numbers['population'] + 1}."
        )
    if options.test_every < 0:
        raise ValueError(f"`--test-every` must be at least 0 (never), got {options.test_every}.")
    for name in ("std", "learning_rate"):
        if name in numbers and not 0 < numbers[name] < float("inf"):
            raise ValueError(f"`{_option(name)}` must be above 0, got {numbers[name]}.")
    if not 0 <= numbers.get("discount", 1) <= 1:
        raise ValueError(f"`--discount` must be a number from 0 to 1, got {numbers['discount']}.")
    evolved = "fitness" in loop.options
    fitness = [_fitness(options, preset, spec) if evolved else "reward" for spec in specs]
    arms = specs[0].arms if len(specs) == 1 else None
    return {
        "outer_loop": outer_loop,
        "task": " ".join(spec.text for spec in specs),
        **({} if arms is None else {"arms": show_arms(arms)}),
        "steps": _common(lived),
        **numbers,
        "fitness": _common(fitness),
        **(_search(options) if evolved else {}),
        "lessons": [
            {"task": spec.text, "steps": n, "fitness": kind}
            for spec, n, kind in zip(specs, lived, fitness, strict=True)
        ],
    }


def _search(options: Train) -> dict[str, str]:
    """How evolution compares members."""
    return {
        "shaping": choose("shaping", options.shaping, SHAPINGS),
        "common_random_numbers": choose(
            "kind of common random numbers", options.common_random_numbers, COMMON_RANDOM_NUMBERS
        ),
    }


def _fitness(options: Train, preset: Preset, task: TaskSpec) -> str:
    """What is maximised in a task."""
    known = "regret" in task.entry.metrics
    if options.fitness is None:
        return preset.fitness if known else "reward"
    if choose("fitness", options.fitness, FITNESSES) == "regret" and not known:
        raise ValueError(f"`--fitness regret` is for bandits, but a task is {task.text}.")
    return options.fitness


def _common(values: list):
    """The value that all have, `None` if they differ."""
    return values[0] if len(set(values)) == 1 else None


def _refuse(options: Train, names, because: str) -> None:
    given = [_option(name) for name in names if getattr(options, name) != _default(name)]
    if given:
        raise ValueError(f"{because}; leave out {', '.join(given)}.")


def _default(name: str) -> object:
    return next(field.default for field in dataclasses.fields(Train) if field.name == name)


def _option(name: str) -> str:
    special = {"json_output": "json", "start": "from"}
    return f"--{special.get(name, name).replace('_', '-')}"
