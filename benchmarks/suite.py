"""The measurement: compile first, then interleaved rounds of ours and the rival."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import jax
import jax.random as jr

from . import machine, programs
from .cases import PRESETS, Case, small
from .floor import floor_seconds
from .machine import Devices
from .programs import Program
from .same import compare

_GENERATIONS = {"laptop": 2, "gpu": 3}
Say = Callable[[str], None]


def run(preset: str, names: Sequence[str], rounds: int, say: Say) -> dict:
    """Measure some cases of a preset.

    **Arguments:**

    - `preset`: `laptop` or `gpu`.
    - `names`: which cases.
    - `rounds`: how often ours and the rival take turns.
    - `say`: told what is under way, a line at a time.

    **Returns:**

    What `symla bench --json` prints, but the versions.

    **Raises:** `ValueError` where ours and the rival do not compute the same numbers: a ratio
    of their speeds would then mean nothing.
    """
    chosen = [PRESETS[preset][name] for name in names]
    generations = _GENERATIONS[preset]
    for case in chosen:
        say(f"{case.name}: comparing the numbers of ours and the rival")
        _require_same(case)
    say("measuring the machine's rates of arithmetic and of copies")
    rates = machine.rates()
    cases = [measure_case(case, rates, rounds, generations, say) for case in chosen]
    others = [row for case in chosen for row in measure_others(case, generations, say)]
    return {
        "preset": preset,
        "rounds": rounds,
        "generations": generations,
        "machine": {**machine.describe(), **rates, **machine.peak()},
        "cases": cases,
        "others": others,
    }


def measure_case(
    case: Case, rates: dict[str, float], rounds: int, generations: int, say: Say
) -> dict:
    """One case: ours on all devices, ours on one, and the rival, in turns."""
    say(f"{case.name}: compiling")
    everywhere, alone = shares(case, jax.devices()), jax.devices()[:1]
    timed = {"rival": programs.rival(case, generations)}
    timed["ours"] = programs.ours(case, case.learner, everywhere, generations)
    one_device = "ours"
    if len(everywhere) > 1:
        one_device = "one device"
        timed[one_device] = programs.ours(case, case.learner, alone, generations)
    say(f"{case.name}: {rounds} rounds")
    seconds = in_turns(timed, rounds)
    ratios = [theirs / ours for theirs, ours in zip(seconds["rival"], seconds["ours"], strict=True)]
    one_device_ratios = [
        theirs / ours for theirs, ours in zip(seconds["rival"], seconds[one_device], strict=True)
    ]
    typical = median(seconds["ours"])
    ours, rival = timed["ours"], timed["rival"]
    return {
        "name": case.name,
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "ratio_one_device": median(one_device_ratios),
        "devices": len(everywhere),
        "steps_per_second": ours.steps / typical,
        "rival_steps_per_second": rival.steps / median(seconds["rival"]),
        "floor_steps_per_second": case.environment_steps / floor_seconds(case, rates),
        "floor_fraction": generations * floor_seconds(case, rates) / typical,
        "compile_seconds": ours.compile_seconds,
        "rival_compile_seconds": rival.compile_seconds,
        "peak_bytes": ours.peak_bytes * len(everywhere),
        "rival_peak_bytes": rival.peak_bytes,
        "sizes": case.sizes(),
    }


def measure_others(case: Case, generations: int, say: Say) -> list[dict]:
    """Environment steps per second of lives without evolution, and of MetaRNN."""
    say(f"{case.name}: lives alone, and MetaRNN")
    pieces = {
        "symla lives": programs.lives(case, case.learner),
        "metarnn lives": programs.lives(case, case.metarnn),
        "metarnn generations": programs.ours(
            case, case.metarnn, shares(case, jax.devices()), generations
        ),
    }
    seconds = in_turns(pieces, 3)
    return [
        {
            "case": case.name,
            "what": name,
            "steps_per_second": piece.steps / median(seconds[name]),
            "compile_seconds": piece.compile_seconds,
        }
        for name, piece in pieces.items()
    ]


def in_turns(timed: dict[str, Program], rounds: int) -> dict[str, list[float]]:
    """Seconds of each program in each round; they take turns, every other round in reverse.

    So what slows the machine down for a while meets all of them, and none is always the first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for program in timed.values():
        program.run()
    for turn in range(rounds):
        names = list(timed) if turn % 2 == 0 else list(reversed(timed))
        for name in names:
            tick = time.perf_counter()
            timed[name].run()
            seconds[name].append(time.perf_counter() - tick)
    return seconds


def _require_same(case: Case) -> None:
    found = compare(small(case), key=jr.key(1))
    if not found.same:
        raise ValueError(
            f"At {case.name}, ours and the rival differ, so their speeds are not compared: "
            f"{found.different_actions} of {found.decisions} actions, total rewards by "
            f"{found.reward_error:.1e}, the mean of the search by {found.mean_error:.1e} steps of "
            "Adam. One of the two has a fault; python -m benchmarks.same looks at all cases."
        )


def shares(case: Case, devices: Devices) -> Devices:
    """As many devices as share the members evenly, in whole pairs."""
    pairs = case.members // 2
    return devices[: max(n for n in range(1, len(devices) + 1) if pairs % n == 0)]
