"""Figure 6 of SymLA: hearts and traps, and what happens when their rewards are swapped."""

from pathlib import Path

from rl import envs

from . import _curricula, _life_figure, _results
from ._life_study import Outcome, Probe

DESCRIPTION = "SymLA beside a MetaRNN on hearts and traps, and with rewards swapped (figure 6)"
PRESETS = ("laptop", "gpu", "paper")

FAMILY = "heart-trap"
LEARNERS = ("SymLA", "MetaRNN")
VARIANTS = ("original", "swapped")


def probes(preset: str) -> dict[str, list[Probe]]:
    """Where each is looked at: the world of its training, and the one with rewards swapped."""
    original = _curricula.family(FAMILY, preset)
    pair = [
        Probe("original", original, _curricula.STEPS),
        Probe("swapped", envs.SwapRewards(original), _curricula.STEPS),
    ]
    return {f"{learner}-{FAMILY}": pair for learner in LEARNERS}


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce figure 6; see `experiments.reproduce`."""
    return _life_figure.reproduce(
        "figure-6",
        preset,
        families=(FAMILY,),
        probes=probes(preset),
        claims=claims,
        title="Reward in a world of hearts and traps",
        panels={
            variant: {(learner, variant): (f"{learner}-{FAMILY}", variant) for learner in LEARNERS}
            for variant in VARIANTS
        },
        levels={variant: {"random": ("random", variant)} for variant in VARIANTS},
        seed=seed,
        out=out,
        progress=progress,
    )


def claims(outcome: Outcome) -> list[_results.Claim]:
    """The statements of the paper on figure 6, decided by what was measured."""
    parts = {
        f"{learner}, {variant}, {name} tenth": outcome.part(f"{learner}-{FAMILY}", variant, *part)
        for learner in LEARNERS
        for variant in VARIANTS
        for name, part in {"first": (0.0, 0.1), "last": (0.9, 1.0)}.items()
    }
    change = {v: outcome.improvement(f"SymLA-{FAMILY}", v) for v in VARIANTS}
    start = {v: parts[f"SymLA, {v}, first tenth"] for v in VARIANTS}
    end = {v: parts[f"SymLA, {v}, last tenth"] for v in VARIANTS}
    rival = {v: outcome.part(f"MetaRNN-{FAMILY}", v, 0.0, 1.0) for v in VARIANTS}
    return [
        {
            "claim": "SymLA starts near zero reward and learns within its life, in the world of "
            "its training and in the swapped one.",
            "measured": {
                **{f"{v}, first tenth": x for v, x in start.items()},
                **{f"{v}, last tenth": x for v, x in end.items()},
            },
            "criterion": "reward per step in the first tenth less than half of that in the last, "
            "which is above 0, and their difference over two standard errors, in both worlds",
            "holds": all(
                end[v] > 0 and abs(start[v]) < end[v] / 2 and change[v][0] > 2 * change[v][1]
                for v in VARIANTS
            ),
        },
        {
            "claim": "The MetaRNN collects the wrong objects when rewards are swapped.",
            "measured": rival,
            "criterion": "mean reward per step above 0 in the original world, below 0 swapped",
            "holds": rival["original"] > 0 > rival["swapped"],
        },
    ]
