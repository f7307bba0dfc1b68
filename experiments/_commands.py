"""The commands that are short: evaluate, reproduce and list; others have modules of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import _scale
from ._figures import FIGURES, describe, reproduce as reproduce_figure
from ._loops import LOOPS
from ._names import LISTS, PLAYERS, TRAINABLE, check_at_least_one, choose
from ._options import Demo, List, Reproduce
from ._presets import PRESETS
from ._task_entries import Option
from ._task_table import TASKS, WRAPPERS


def demo(options: Demo) -> dict:
    """Carry out `symla demo`."""
    check_at_least_one(generations=options.generations)
    _scale.use_all_cores()
    from .demo import run_demo

    return run_demo(options.out, generations=options.generations, seed=options.seed)


def show_demo(result: dict) -> None:
    """The demo tells its story while it runs."""
    del result


def reproduce(options: Reproduce) -> dict:
    """Carry out `symla reproduce`."""
    choose("figure", options.figure, FIGURES)
    out = options.out or Path("docs/results") / options.figure
    _scale.use_all_cores()
    result = reproduce_figure(
        options.figure, options.preset, seed=options.seed, out=out, progress=True
    )
    return {**result, "out": str(out)}


def show_reproduce(result: dict) -> None:
    """The claims of a figure, and where the rest is."""
    from . import _results

    _results.print_claims(result["claims"])
    say(f"The figure and the numbers are in {result['out']}.")


def list_names(options: List) -> dict:
    """Carry out `symla list`."""
    what = choose("list", options.what, (*LISTS, "all"))
    wanted = {"all": LISTS, "tasks": ("tasks", "wrappers")}.get(what, (what,))
    return {name: _NAMES[name]() for name in wanted}


def show_list(result: dict) -> None:
    """One table for each kind of names."""
    for what, entries in result.items():
        rows = [[name, _in_words(value)] for name, value in entries.items()]
        table(what, ["name", "description"], rows or [["none", ""]], lines=what in _GRAMMAR)
        if what in _GRAMMAR:
            say(_GRAMMAR[what])


_GRAMMAR = {
    "tasks": (
        "Say more of a task after a colon: cartpole:reward=sparse,length=0.25..1. From a range\n"
        "LEAST..MOST each life draws anew. And put wrappers around it: cartpole+permute."
    ),
    "wrappers": "The first is the innermost: cartpole+distract=4..12:noisy=1+permute=actions.",
}


def _tasks() -> dict[str, dict]:
    return {
        name: {
            "description": entry.description,
            "steps": entry.steps,
            "metrics": list(entry.metrics),
            "options": _options(entry.known),
        }
        for name, entry in TASKS.items()
    }


def _wrappers() -> dict[str, dict]:
    return {
        name: {
            "description": entry.description,
            "options": _options({name: entry.value, **entry.options}),
        }
        for name, entry in WRAPPERS.items()
    }


def _options(known: Mapping[str, Option]) -> dict[str, dict[str, str]]:
    return {
        name: {"form": option.form, "default": option.default, "help": option.help}
        for name, option in known.items()
    }


def _curricula() -> dict[str, str]:
    from ._curricula import CURRICULA

    return {name: (make.__doc__ or "").partition("\n")[0] for name, make in CURRICULA.items()}


def _learners() -> dict[str, str]:
    trained = {name: f"{text} (for train)" for name, text in TRAINABLE.items()}
    return {**trained, **{name: f"{text} (for evaluate)" for name, text in PLAYERS.items()}}


def _figures() -> dict[str, dict]:
    entries = {}
    for name in FIGURES:
        description, presets = describe(name)
        entries[name] = {"description": description, "presets": list(presets)}
    return entries


def _pretrained() -> dict[str, dict]:
    import importlib.resources

    import meta

    entries = {}
    for name in meta.pretrained_names():
        file = importlib.resources.files("pretrained") / f"{name}.symla"
        with importlib.resources.as_file(file) as path:
            header = meta.read_header(path)
        entries[name] = {
            "description": f"a {header['class']}; pretrained:{name} for evaluate",
            "notes": header.get("notes", {}),
        }
    return entries


def _presets() -> dict[str, dict]:
    import dataclasses

    return {name: dataclasses.asdict(preset) for name, preset in PRESETS.items()}


def _outer_loops() -> dict[str, dict]:
    return {
        name: {
            "description": loop.description,
            "defaults": {preset: dict(numbers) for preset, numbers in loop.numbers.items()},
        }
        for name, loop in LOOPS.items()
    }


_NAMES = {
    "tasks": _tasks,
    "wrappers": _wrappers,
    "curricula": _curricula,
    "learners": _learners,
    "figures": _figures,
    "pretrained": _pretrained,
    "presets": _presets,
    "outer-loops": _outer_loops,
}


def _numbers(values: Mapping[str, object]) -> str:
    """Numbers and names, each after what it is."""
    return ", ".join(
        f"{name.replace('_', ' ')} {', '.join(v) if isinstance(v, list) else v}"
        for name, v in values.items()
    )


def _in_words(value: str | dict) -> str:
    """A description, and what else there is to say, for people."""
    if isinstance(value, str):
        return value
    if "options" in value:
        options = (
            f"{name}={option['form']} ({option['default']}): {option['help']}"
            for name, option in value["options"].items()
        )
        life = (
            [f"a life has {value['steps']} steps and counts {', '.join(value['metrics'])}"]
            if ("steps" in value)
            else []
        )
        return "\n".join([value["description"], *life, *options])
    if "defaults" in value:
        lines = (f"{preset}: {_numbers(numbers)}" for preset, numbers in value["defaults"].items())
        return "\n".join([value["description"], *lines])
    rest = {k: v for k, v in value.items() if k not in ("description", "notes")}
    numbers = _numbers(rest)
    return f"{value['description']}" + (f": {numbers}" if numbers else "")


def table(
    title: str,
    columns: list[str],
    rows: list[list[str]],
    *,
    whole: Sequence[str] = (),
    lines: bool = False,
) -> None:
    """Show a table on standard output.

    **Arguments:**

    - `title`: above it.
    - `columns`, `rows`: the words over and in its columns.
    - `whole`: columns whose lines stay whole in narrow terminals.
    - `lines`: whether there are lines between rows.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=lines)
    for column in columns:
        table.add_column(column, no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    console.print(title, style="bold", markup=False, soft_wrap=True)
    console.print(table)


def say(text: str) -> None:
    """Show a line on standard output, as it is."""
    from rich.console import Console

    Console(highlight=False).print(text, markup=False, soft_wrap=True)
