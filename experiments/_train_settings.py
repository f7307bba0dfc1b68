"""The options of `symla train`, filled in from a preset and checked before JAX is imported."""

import dataclasses
import re
import shlex
from pathlib import Path

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
    "task arms steps generations population lives std learning_rate fitness shaping "
    "common_random_numbers test_every"
).split()


def settings(options: Train) -> dict:
    """What will be trained and how: the options, and the preset's numbers where they are silent.

    Everything that can be wrong is refused here, before JAX is imported.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    preset = PRESETS[choose("preset", options.preset, PRESETS)]
    if options.curriculum is None:
        budget = _budget(options, preset)
    else:
        from ._curricula import CURRICULA

        budget = {"curriculum": choose("curriculum", options.curriculum, CURRICULA)}
        _refuse(options, _OF_TASKS, "`--curriculum` has its own tasks and budgets")
    check_at_least_one(chunk=options.chunk)
    return {
        **_learner(options, preset),
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


def _budget(options: Train, preset: Preset) -> dict:
    def given(name: str):
        value = getattr(options, name)
        return getattr(preset, name) if value is None else value

    specs = task_specs(options)
    numbers = {name: given(name) for name in ("generations", "population", "lives")}
    steps = [spec.entry.steps if options.steps is None else options.steps for spec in specs]
    check_at_least_one(steps=min(steps), **numbers)
    if numbers["population"] % 2:
        raise ValueError(
            f"`--population` must be even, because members come in antithetic pairs; got "
            f"{numbers['population']}. Try {numbers['population'] + 1}."
        )
    if options.test_every < 0:
        raise ValueError(f"`--test-every` must be at least 0 (never), got {options.test_every}.")
    rates = {"std": given("std"), "learning_rate": given("learning_rate")}
    for name, value in rates.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"`{_option(name)}` must be above 0, got {value}.")
    fitness = [_fitness(options, preset, spec) for spec in specs]
    arms = specs[0].arms if len(specs) == 1 else None
    return {
        "task": " ".join(spec.text for spec in specs),
        **({} if arms is None else {"arms": show_arms(arms)}),
        "steps": _common(steps),
        **numbers,
        **rates,
        "fitness": _common(fitness),
        "shaping": choose("shaping", options.shaping, SHAPINGS),
        "common_random_numbers": choose(
            "kind of common random numbers", options.common_random_numbers, COMMON_RANDOM_NUMBERS
        ),
        "lessons": [
            {"task": spec.text, "steps": n, "fitness": kind}
            for spec, n, kind in zip(specs, steps, fitness, strict=True)
        ],
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
