"""`symla bench`: how fast whole generations are, beside a rival and beside the machine's floor."""

import sys
from typing import Any

from ._commands import say, table
from ._names import BENCH_CASES, BENCH_PRESETS, check_at_least_one, choose
from ._options import Bench

_DIGITS = 4  # significant
_COLUMNS = ["case AxBxN", "ours", "rival", "ratio (range)", "1 device", "floor"]


def bench(options: Bench) -> dict:
    """Carry out `symla bench`.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    check_at_least_one(rounds=options.rounds)
    preset = choose("preset", options.preset, BENCH_PRESETS)
    names = BENCH_CASES if options.cases == "all" else options.cases.split(",")
    names = [choose("case", name.strip(), BENCH_CASES) for name in names]
    if options.growth and (options.preset, options.cases) != (Bench.preset, Bench.cases):
        raise ValueError("`--growth` has sizes of its own; leave out `--preset` and `--cases`.")
    from . import _scale

    _scale.use_all_cores()
    from benchmarks import growth, machine, suite

    from . import _builders, _results

    if options.growth:
        result = {"machine": machine.describe(), "growth": growth.run(options.rounds, _tell)}
    else:
        result = suite.run(preset, names, options.rounds, _tell)
    result = {**_rounded(result), "versions": _builders.versions()}
    if options.out is not None:
        _results.write_json(options.out, result)
    return result


def show_bench(result: dict) -> None:
    """The cases, or the growth, as tables."""
    machine = result["machine"]
    what = machine["processor"] if machine["platform"] == "cpu" else machine["device_kind"]
    say(f"{what}, {machine['cores']} cores, {machine['devices']} {machine['platform']} device(s)")
    if "growth" in result:
        _show_growth(result["growth"])
        return
    table(
        "Whole generations, in environment steps per second",
        _COLUMNS,
        [_case_row(case) for case in result["cases"]],
        whole=_COLUMNS,
    )
    table(
        "Compilation and peak memory",
        ["case", "compile", "rival's", "memory", "rival's"],
        [
            [
                case["name"],
                f"{case['compile_seconds']:.1f} s",
                f"{case['rival_compile_seconds']:.1f} s",
                _megabytes(case["peak_bytes"]),
                _megabytes(case["rival_peak_bytes"]),
            ]
            for case in result["cases"]
        ],
    )
    table(
        "Other pieces, in environment steps per second",
        ["case", "what", "speed"],
        [[row["case"], row["what"], _many(row["steps_per_second"])] for row in result["others"]],
    )
    say(
        "ratio: ours over the rival's, the median of interleaved rounds; the rival is Equinox's "
        "LSTM cell under nested vmap with gymnax and evosax, and computes the same numbers. "
        "1 device: the same ratio with one device of JAX. floor: the least time that the machine's "
        "arithmetic and copies allow, over ours."
    )


def _show_growth(sweeps: list[dict]) -> None:
    for sweep in sweeps:
        rows = [
            [str(size), f"{1e3 * seconds:.1f} ms", _megabytes(peak)]
            for size, seconds, peak in zip(
                sweep["sizes"], sweep["seconds"], sweep["peak_bytes"], strict=True
            )
        ]
        slopes = [f"{sweep['seconds_slope']:.2f}", f"{sweep['peak_bytes_slope']:.2f}"]
        rows.append(["slope", *slopes])
        table(f"Growth with {sweep['label']}", ["size", "generation", "memory of a device"], rows)


def _case_row(case: dict) -> list[str]:
    sizes = case["sizes"]
    return [
        f"{case['name']} {sizes['inputs']}x{sizes['outputs']}x{sizes['hidden_size']}",
        _many(case["steps_per_second"]),
        _many(case["rival_steps_per_second"]),
        f"{case['ratio']:.2f} ({case['ratio_low']:.2f}-{case['ratio_high']:.2f})",
        f"{case['ratio_one_device']:.2f}",
        f"{100 * case['floor_fraction']:.0f} %",
    ]


def _many(number: int | float) -> str:
    return f"{round(number):,}"


def _megabytes(number: int | float) -> str:
    return f"{number / 1e6:.1f} MB"


def _rounded(value: Any) -> Any:
    """The same with floats of a few significant digits: more are noise."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _tell(text: str) -> None:
    """Say what is under way, where it is not in the way of results."""
    sys.stderr.write(f"{text} ...\n")
    sys.stderr.flush()
