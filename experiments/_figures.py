"""The figures and studies that can be reproduced, each a module of its own."""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._names import choose

FIGURES: dict[str, str] = {
    "comparison": "experiments.comparison",
    "figure-3": "experiments.figure_3",
    "figure-4": "experiments.figure_4",
    "figure-5": "experiments.figure_5",
    "figure-6": "experiments.figure_6",
    "figure-7": "experiments.figure_7",
    "outer-loops": "experiments.outer_loops",
    **{
        f"metagenrl-{name}": f"experiments.metagenrl:{name}"
        for name in (
            *("table-1", "table-2", "figure-3", "figure-4", "figure-5", "figure-6"),
            *("figure-10", "figure-12", "figure-13"),
        )
    },
    "rl2-bandits": "experiments.rl2_bandits",
    "rl2-study": "experiments.rl2_study",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """What can be reproduced.

    - `description`: what it shows.
    - `presets`: how much can be spent on it.
    - `reproduce`: does it; see `experiments.reproduce`.
    """

    description: str
    presets: tuple[str, ...]
    reproduce: Callable[..., dict[str, Any]]


def reproduce(
    figure: str, preset: str = "laptop", *, seed: int = 0, out: Path, progress: bool = False
) -> dict:
    """Reproduce a figure.

    **Arguments:**

    - `figure`: one of `FIGURES`.
    - `preset`: how much is spent on it; each figure has its own.
    - `seed`: the first seed of the meta-trainings.
    - `out`: a folder. Results are written to it, and what is finished in it is not repeated.
    - `progress`: whether to show progress on the terminal.

    **Returns:**

    The result, with the paper's `claims` and whether they hold; JSON can hold all of it.

    **Raises:** `ValueError` for an unknown figure or preset.
    """
    found = load(figure)
    choose(f"preset of {figure}", preset, found.presets)
    return found.reproduce(preset, seed=seed, out=Path(out), progress=progress)


def load(figure: str) -> Figure:
    """A figure by its name: a module with `DESCRIPTION`, `PRESETS` and `reproduce`, or one of the
    `EXPERIMENTS` of a module.

    **Raises:** `ValueError` for an unknown figure.
    """
    module, _, name = FIGURES[choose("figure", figure, FIGURES)].partition(":")
    found = importlib.import_module(module)
    if name:
        return found.EXPERIMENTS[name]
    return Figure(found.DESCRIPTION, tuple(found.PRESETS), found.reproduce)


def describe(figure: str) -> tuple[str, tuple[str, ...]]:
    """What a figure shows, and its presets."""
    found = load(figure)
    return found.description, found.presets
