"""Plots of what `symla bench --out FILE` and `symla bench --growth --out FILE` wrote.

    python -m benchmarks.plots FILE

draws beside the file: `cases.png`, the floor, the rival and ours for each case, or
`growth-NAME.png` for each size that grew.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

_COLOURS = {"floor": "#999999", "rival": "#d55e00", "ours": "#0072b2"}


def draw(path: Path) -> list[Path]:
    """Draw all that a file of results holds.

    **Returns:**

    The files written.

    **Raises:** `ValueError` for a file that holds neither cases nor growth.
    """
    result = json.loads(path.read_text())
    figures = {}
    if "cases" in result:
        figures["cases"] = cases_figure(result)
    for sweep in result.get("growth", []):
        figures[f"growth-{sweep['name']}"] = growth_figure(sweep)
    if not figures:
        raise ValueError(f"{path} is not a result of symla bench: it has neither cases nor growth.")
    written = []
    for name, figure in figures.items():
        written.append(path.parent / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
    return written


def cases_figure(result: dict) -> Figure:
    """Environment steps per second for each case: the rival, ours, and what the floor allows."""
    cases = result["cases"]
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    bars = {
        "rival": ("rival_steps_per_second", "Equinox's LSTM cell under vmap"),
        "ours": ("steps_per_second", "ours"),
        "floor": ("floor_steps_per_second", "the most that the machine's arithmetic allows"),
    }
    places = np.arange(len(cases))
    for offset, (name, (key, label)) in zip((-0.27, 0.0, 0.27), bars.items(), strict=True):
        heights = [case[key] for case in cases]
        axes.bar(places + offset, heights, width=0.25, color=_COLOURS[name], label=label)
        if name == "ours":
            for place, height, case in zip(places, heights, cases, strict=True):
                text = f"{case['ratio']:.1f}x"
                axes.annotate(text, (place + offset, height), ha="center", va="bottom", fontsize=9)
    axes.set_xticks(places, [_title(case) for case in cases])
    axes.set_yscale("log")
    axes.set_ylabel("environment steps per second")
    axes.set_title(f"Whole generations on {_machine(result['machine'])}", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(y=0.15)
    axes.legend(fontsize=8, loc="upper right")
    return figure


def growth_figure(sweep: dict) -> Figure:
    """Seconds and peak memory of a generation against one size, both logarithmic."""
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    panels = (
        ("seconds", "seconds of a generation", 1.0, _COLOURS["ours"]),
        ("peak_bytes", "peak memory of a device, MB", 1e-6, _COLOURS["rival"]),
    )
    for axes, (key, label, unit, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        sizes, values = np.array(sweep["sizes"]), unit * np.array(sweep[key])
        exponent = sweep[f"{key}_slope"]
        axes.loglog(sizes, values, "o-", color=colour)
        fitted = sizes[-3:].astype(float)
        line = (
            np.exp(np.log(values[-3:]).mean())
            * (fitted / np.exp(np.log(fitted).mean())) ** exponent
        )
        axes.loglog(fitted, line, "--", color="black", label=f"slope {exponent:.2f}")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_xlabel(sweep["label"])
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    return figure


def _title(case: dict) -> str:
    sizes = case["sizes"]
    return f"{case['name']}\nA={sizes['inputs']}, B={sizes['outputs']}, N={sizes['hidden_size']}"


def _machine(machine: dict) -> str:
    if machine["platform"] == "cpu":
        cores = machine["cores"]
        return f"{machine['processor']}, {cores} core{'s' if cores > 1 else ''}"
    return machine["device_kind"]


def main() -> None:
    """Draw the file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.plots FILE")
    for path in draw(Path(sys.argv[1])):
        print(path)


if __name__ == "__main__":
    main()
