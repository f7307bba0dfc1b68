"""Experiments: the demo, the figures of the papers, and the command line `symla`.

Importing this package loads nothing heavy: what needs JAX is imported when it is first used.
"""

from typing import TYPE_CHECKING

from ._figures import FIGURES as FIGURES, reproduce as reproduce
from ._presets import PRESETS as PRESETS, Preset as Preset
from ._scale import usable_cores as usable_cores, use_all_cores as use_all_cores

if TYPE_CHECKING:
    from .demo import run_demo as run_demo


def __getattr__(name: str):
    """Import `experiments.run_demo`, which needs JAX, when it is first used."""
    if name == "run_demo":
        from .demo import run_demo

        return run_demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
