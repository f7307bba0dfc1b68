"""How the time and the memory of a generation grow with each of its sizes."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax

from . import programs
from .cases import PRESETS, Case
from .suite import in_turns, median, shares

_LAST = 3  # points that a slope is fitted to: where the fixed costs matter least


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One size that grows while the others stay.

    - `label`: what it is, for people.
    - `sizes`: its values.
    - `case`: the case of one value.
    """

    label: str
    sizes: Sequence[int]
    case: Callable[[int], Case]


_CONTROL = dataclasses.replace(PRESETS["laptop"]["control"], members=16, lives=4, steps=50)
_GRID = dataclasses.replace(PRESETS["laptop"]["wide"], members=8, lives=2, steps=20)


def _grid(cells: int) -> Case:
    """A grid of twice as many inputs as outputs."""
    outputs = math.isqrt(cells // 2)
    return dataclasses.replace(_GRID, inputs=cells // outputs, outputs=outputs)


def _stack(layers: int) -> Case:
    """So many layers of 8 x 8 cells."""
    return dataclasses.replace(_GRID, inputs=8, outputs=8, hidden_sizes=(8,) * (layers - 1))


def _control(field: str) -> Callable[[int], Case]:
    return lambda size: dataclasses.replace(_CONTROL, **{field: size})


SWEEPS: dict[str, Sweep] = {
    "cells": Sweep("cells, A x B", (8, 32, 128, 512, 2048), _grid),
    "layers": Sweep("layers of 8 x 8 cells, K", (1, 2, 4, 8), _stack),
    "members": Sweep("members", (4, 16, 64, 256), _control("members")),
    "lives": Sweep("lives of each member", (1, 4, 16, 64), _control("lives")),
    "steps": Sweep("environment steps of a life", (25, 100, 400, 1600), _control("steps")),
}


def run(rounds: int, say: Callable[[str], None]) -> list[dict]:
    """Measure whole generations of SymLA over several sizes.

    **Arguments:**

    - `rounds`: how often each is timed; the median counts.
    - `say`: told what is under way, a line at a time.

    **Returns:**

    For each, its sizes with the seconds and the peak bytes of a generation, and the slopes of
    their logarithms over the largest sizes: 1 where it grows in proportion.
    """
    results = []
    for name, sweep in SWEEPS.items():
        say(f"growth with {sweep.label}: {', '.join(map(str, sweep.sizes))}")
        timed, peaks = {}, []
        for size in sweep.sizes:
            case = sweep.case(size)
            devices = shares(case, jax.devices())
            timed[str(size)] = programs.ours(case, case.learner, devices, 1)
            peaks.append(timed[str(size)].peak_bytes)
        seconds = [median(found) for found in in_turns(timed, rounds).values()]
        results.append(
            {
                "name": name,
                "label": sweep.label,
                "sizes": list(sweep.sizes),
                "seconds": seconds,
                "peak_bytes": peaks,
                "seconds_slope": slope(sweep.sizes, seconds),
                "peak_bytes_slope": slope(sweep.sizes, peaks),
                "fixed": {k: v for k, v in sweep.case(sweep.sizes[0]).sizes().items() if k != name},
            }
        )
    return results


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent with which values grow, by least squares over the logarithms of the last."""
    x = [math.log(size) for size in sizes[-_LAST:]]
    y = [math.log(value) for value in values[-_LAST:]]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    moments = [(a - x_mean, b - y_mean) for a, b in zip(x, y, strict=True)]
    return sum(a * b for a, b in moments) / sum(a * a for a, _ in moments)
