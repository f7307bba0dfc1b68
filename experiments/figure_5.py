"""Figure 5 of SymLA: classic control with sensors and actions in an order never seen."""

from pathlib import Path

from rl import envs

from . import _curricula, _life_figure, _results
from ._life_study import Outcome, Probe

DESCRIPTION = "SymLA beside a MetaRNN on control with shuffled sensors and actions (figure 5)"
PRESETS = ("laptop", "gpu", "paper")

TASKS = {"cartpole": "CartPole", "acrobot": "Acrobot", "mountain-car": "MountainCar"}
LEARNERS = ("SymLA", "MetaRNN")
VARIANTS = ("original", "shuffled")


def probes(preset: str) -> dict[str, list[Probe]]:
    """Where each is looked at: its own task, in the original order and in others."""
    found = {}
    for task in TASKS:
        original = _curricula.family(task, preset)
        pair = [
            Probe(f"{task}, original", original, _curricula.STEPS),
            Probe(f"{task}, shuffled", envs.Permute(original), _curricula.STEPS),
        ]
        found.update({f"{learner}-{task}": pair for learner in LEARNERS})
    return found


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce figure 5; see `experiments.reproduce`."""
    return _life_figure.reproduce(
        "figure-5",
        preset,
        families=tuple(TASKS),
        probes=probes(preset),
        claims=claims,
        title="Reward in classic control, original and shuffled sensors and actions",
        panels={
            title: {
                (learner, variant): (f"{learner}-{task}", f"{task}, {variant}")
                for learner in LEARNERS
                for variant in VARIANTS
            }
            for task, title in TASKS.items()
        },
        levels={
            title: {"random": ("random", f"{task}, original")} for task, title in TASKS.items()
        },
        seed=seed,
        out=out,
        progress=progress,
    )


def claims(outcome: Outcome) -> list[_results.Claim]:
    """The statements of the paper on figure 5, decided by what was measured."""
    mean, spread = {}, {}
    for learner in (*LEARNERS, "random"):
        for task in TASKS:
            for variant in VARIANTS:
                row = learner if learner == "random" else f"{learner}-{task}"
                totals = outcome.totals(row, f"{task}, {variant}")
                mean[learner, task, variant] = float(totals.mean())
                spread[learner, task, variant] = float(totals.std(ddof=1))
    shuffled = {
        f"{task}, {variant}": mean["SymLA", task, variant] for task in TASKS for variant in VARIANTS
    }
    above = {
        f"{task}, {variant}": mean["SymLA", task, variant] - mean["random", task, variant]
        for task in TASKS
        for variant in VARIANTS
    }
    better = {
        f"{task}, {variant}": outcome.improvement(f"SymLA-{task}", f"{task}, {variant}")
        for task in TASKS
        for variant in VARIANTS
    }
    fallen = {
        f"{task}, {variant}": mean["MetaRNN", task, variant]
        for task in TASKS
        for variant in VARIANTS
    }
    upright, first = {}, {}
    for variant in VARIANTS:
        probe = ("SymLA-cartpole", f"cartpole, {variant}")
        upright[variant] = outcome.without(*probe, "falls")
        first[variant] = outcome.gap(*probe, "falls", 0.0, 0.2)
    return [
        {
            "claim": "SymLA's performance does not degrade in the shuffled setting.",
            "measured": shuffled,
            "criterion": "mean reward of a life with shuffled sensors and actions within one "
            "standard deviation over lives of that in the original order, on each task",
            "holds": all(
                abs(mean["SymLA", t, "original"] - mean["SymLA", t, "shuffled"])
                <= spread["SymLA", t, "original"]
                for t in TASKS
            ),
        },
        {
            "claim": "SymLA is clearly above a random policy on each task, in both orders.",
            "measured": above,
            "criterion": "mean reward of a life above random by more than the standard deviation "
            "of random lives",
            "holds": all(
                above[f"{t}, {v}"] > spread["random", t, v] for t in TASKS for v in VARIANTS
            ),
        },
        {
            "claim": "SymLA learns within its life.",
            "measured": {name: change for name, (change, _) in better.items()},
            "criterion": "reward per step in the last tenth above that in the first by more than "
            "two standard errors, on each task and in both orders",
            "holds": all(change > 2 * error for change, error in better.values()),
        },
        {
            "claim": "The MetaRNN fails on shuffled sensors and actions.",
            "measured": fallen,
            "criterion": "mean reward of a life with shuffled sensors and actions below that in "
            "the original order by more than its standard error times two, on each task",
            "holds": all(_falls(outcome, t) for t in TASKS),
        },
        {
            "claim": "CartPole: at least 90 % of SymLA's lives have no fall in their last fifth.",
            "measured": upright,
            "criterion": "0.9 or more in both orders, over all meta-training seeds",
            "holds": min(upright.values()) >= 0.9,
        },
        {
            "claim": "CartPole: they come from under 100 steps an episode in the first fifth.",
            "measured": first,
            "criterion": "steps per fall in the first fifth below 100, in both orders",
            "holds": max(first.values()) < 100,
        },
    ]


def _falls(outcome: Outcome, task: str) -> bool:
    row = f"MetaRNN-{task}"
    change = outcome.totals(row, f"{task}, original") - outcome.totals(row, f"{task}, shuffled")
    return bool(change.mean() > 2 * change.std(ddof=1) / change.size**0.5)
