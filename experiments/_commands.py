"""The commands that are short: evaluate, reproduce and list; others have modules of their own."""

import json
from collections.abc import Sequence
from pathlib import Path

from . import _scale
from ._figures import FIGURES, describe, reproduce as reproduce_figure
from ._names import (
    LISTS,
    PLAYERS,
    TASKS,
    TRAINABLE,
    check_arms,
    check_at_least_one,
    choose,
    parse_arms,
    show_arms,
)
from ._options import Demo, Evaluate, List, Reproduce
from ._presets import PRESETS


def demo(options: Demo) -> dict:
    """Carry out `symla demo`."""
    check_at_least_one(generations=options.generations)
    _scale.use_all_cores()
    from .demo import run_demo

    return run_demo(options.out, generations=options.generations, seed=options.seed)


def show_demo(result: dict) -> None:
    """The demo tells its story while it runs."""
    del result


def evaluate(options: Evaluate) -> dict:
    """Carry out `symla evaluate`.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    task, arms = choose("task", options.task, TASKS), parse_arms(options.arms)
    check_arms(task, arms)
    check_at_least_one(lives=options.lives, steps=options.steps)
    from . import _builders

    learner = _builders.find_learner(options.learner, task, arms, options.steps)
    result: dict = {
        "learner": options.learner,
        "task": task,
        "arms": show_arms(arms),
        "lives": options.lives,
        "steps": options.steps,
        "seed": options.seed,
        **_builders.meta_test(
            learner,
            _builders.make_tasks(task, arms),
            steps=options.steps,
            lives=options.lives,
            seed=options.seed,
        ),
    }
    if options.learner == "optimal":
        result["regret_exact"] = _builders.exact_regret(task, options.steps)
    result["versions"] = _builders.versions()
    if options.out is not None:
        write(options.out, result)
    return result


def show_evaluate(result: dict) -> None:
    """The result of `symla evaluate` as a table."""
    arms, steps = result["arms"], result["steps"]
    title = f"{result['task']}, {arms} arms, {result['lives']} lives of {steps} pulls"
    rows = [
        ["regret (lower is better)", _with_error(result["regret_mean"], result["regret_sem"])],
        ["reward", _with_error(result["reward_mean"], result["reward_sem"])],
    ]
    if "regret_exact" in result:
        rows.insert(1, ["regret, exact expectation", f"{result['regret_exact']:.3f}"])
    table(title, [result["learner"], "mean ± s.e."], rows)


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
    return {name: _NAMES[name]() for name in (LISTS if what == "all" else (what,))}


def show_list(result: dict) -> None:
    """One table for each kind of names."""
    for what, entries in result.items():
        rows = [[name, _one_line(value)] for name, value in entries.items()]
        table(what, ["name", "description"], rows or [["none", ""]])


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


_NAMES = {
    "tasks": lambda: dict(TASKS),
    "learners": _learners,
    "figures": _figures,
    "pretrained": _pretrained,
    "presets": _presets,
}


def _one_line(value: str | dict) -> str:
    if isinstance(value, str):
        return value
    rest = {k: v for k, v in value.items() if k not in ("description", "notes")}
    numbers = ", ".join(
        f"{k.replace('_', ' ')} {', '.join(v) if isinstance(v, list) else v}"
        for k, v in rest.items()
    )
    return f"{value['description']}" + (f": {numbers}" if numbers else "")


def _with_error(mean: float, sem: float | None) -> str:
    return f"{mean:.3f}" + ("" if sem is None else f" ± {sem:.3f}")


def table(
    title: str, columns: list[str], rows: list[list[str]], *, whole: Sequence[str] = ()
) -> None:
    """Show a table on standard output; the lines of some columns stay whole in narrow terminals."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column in whole)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(title, style="bold", markup=False, soft_wrap=True)
    console.print(table)


def say(text: str) -> None:
    """Show a line on standard output, as it is."""
    from rich.console import Console

    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def write(path: Path, result: dict) -> None:
    """Write a result as JSON, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
