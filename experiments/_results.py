"""What every reproduction leaves behind: claims, raw figures, and how they came to be."""

import csv
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float


class Claim(TypedDict):
    """A statement of a paper, and whether it holds here.

    - `claim`: the statement.
    - `measured`: the figures that decide it.
    - `criterion`: when it counts as holding.
    - `holds`: whether it does.
    """

    claim: str
    measured: dict[str, float]
    criterion: str
    holds: bool


class Summary(TypedDict):
    """Mean and spread of lives grouped by meta-training seed.

    - `mean`: over all lives.
    - `std`: standard deviation over all lives.
    - `sem`: standard error of the mean; the seeds are the independent units where there are
        several, else the lives.
    - `seed_means`: the mean of each seed.
    - `seeds`, `lives`: how many, and lives of each.
    """

    mean: float
    std: float
    sem: float
    seed_means: list[float]
    seeds: int
    lives: int


def summary(values: Float[np.ndarray, "seeds lives"]) -> Summary:
    """Summarise the results of `lives` lives after each of `seeds` meta-trainings."""
    seeds, lives = values.shape
    units = values.mean(1) if seeds > 1 else values[0]
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)),
        "sem": float(units.std(ddof=1) / np.sqrt(len(units))),
        "seed_means": [float(v) for v in values.mean(1)],
        "seeds": seeds,
        "lives": lives,
    }


def machine() -> dict[str, str | int]:
    """The machine and the versions of what computed."""
    import jax

    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 0,
        "accelerator": "none" if device.platform == "cpu" else device.device_kind,
        "python": platform.python_version(),
        **{
            name: importlib.metadata.version(name) for name in ("symla", "jax", "equinox", "evosax")
        },
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_json(path: Path, result: dict) -> None:
    """Write a result so that people can read it, too: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    part.replace(path)


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows with the same keys as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def say(text: str) -> None:
    """Show a line on the terminal (standard error, beside progress)."""
    from rich.console import Console

    Console(stderr=True).print(text)


def print_claims(claims: Sequence[Claim]) -> None:
    """Show the claims on the terminal (standard error, beside progress)."""
    from rich.console import Console

    console = Console(stderr=True)
    for claim in claims:
        mark = "[green]holds[/]" if claim["holds"] else "[red]does not hold here[/]"
        numbers = ", ".join(f"{k} {v:.3g}" for k, v in claim["measured"].items())
        console.print(
            f"{mark}: {claim['claim']}\n    criterion: {claim['criterion']}\n    {numbers}"
        )
