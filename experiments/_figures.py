"""The figures and studies that can be reproduced, each a module of its own."""

import importlib
from pathlib import Path

from ._names import choose

FIGURES: dict[str, str] = {
    "figure-3": "experiments.figure_3",
    "figure-4": "experiments.figure_4",
    "figure-5": "experiments.figure_5",
    "figure-6": "experiments.figure_6",
    "figure-7": "experiments.figure_7",
    "outer-loops": "experiments.outer_loops",
    "rl2-bandits": "experiments.rl2_bandits",
    "rl2-study": "experiments.rl2_study",
}


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
    module = importlib.import_module(FIGURES[choose("figure", figure, FIGURES)])
    choose(f"preset of {figure}", preset, module.PRESETS)
    return module.reproduce(preset, seed=seed, out=Path(out), progress=progress)


def describe(figure: str) -> tuple[str, tuple[str, ...]]:
    """What a figure shows, and its presets."""
    module = importlib.import_module(FIGURES[figure])
    return module.DESCRIPTION, tuple(module.PRESETS)
