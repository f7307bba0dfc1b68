"""Figure 7 of SymLA: meta-trained in a grid world, it meets CartPole."""

from pathlib import Path

from rl import envs

from . import _curricula, _life_figure, _results
from ._life_study import Outcome, Probe

DESCRIPTION = "SymLA beside a MetaRNN, from a grid world to CartPole (figure 7)"
PRESETS = ("laptop", "gpu", "paper")

FAMILY = "goal-world"
LEARNERS = ("SymLA", "MetaRNN")
WORLDS = {"goal-world": "grid world (trained on)", "cartpole": "CartPole (never seen)"}


def probes(preset: str) -> dict[str, list[Probe]]:
    """Where each is looked at: the grid world, and CartPole through the same kind of map.

    SymLA meets CartPole's two actions; to the MetaRNN, whose size is fixed, the others are masked.
    """
    grid = _curricula.family(FAMILY, preset)
    cartpole = envs.Project(envs.Vary(envs.CartPole("upright")))
    sizes = grid.spaces
    padded = envs.Pad(cartpole, sizes.observation_size, sizes.num_actions)
    here = Probe("goal-world", grid, _curricula.STEPS)
    return {
        f"SymLA-{FAMILY}": [here, Probe("cartpole", cartpole, _curricula.STEPS)],
        f"MetaRNN-{FAMILY}": [here, Probe("cartpole, padded", padded, _curricula.STEPS)],
    }


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce figure 7; see `experiments.reproduce`."""
    return _life_figure.reproduce(
        "figure-7",
        preset,
        families=(FAMILY,),
        probes=probes(preset),
        claims=claims,
        title=_trained_on(preset),
        panels={
            title: {
                (learner, "projected"): (f"{learner}-{FAMILY}", _probe(learner, world))
                for learner in LEARNERS
            }
            for world, title in WORLDS.items()
        },
        levels={title: {"random": ("random", world)} for world, title in WORLDS.items()},
        seed=seed,
        out=out,
        progress=progress,
    )


def claims(outcome: Outcome) -> list[_results.Claim]:
    """The statements of the paper on figure 7, decided by what was measured."""
    above = {
        f"{learner}, {world}": outcome.part(f"{learner}-{FAMILY}", _probe(learner, world), 0.8, 1.0)
        - outcome.part("random", world, 0.8, 1.0)
        for learner in LEARNERS
        for world in WORLDS
    }
    change = {
        f"{learner}, {world}": outcome.improvement(
            f"{learner}-{FAMILY}", _probe(learner, world), than=("random", world)
        )
        for learner in LEARNERS
        for world in WORLDS
    }
    better = {name: mean > 2 * error for name, (mean, error) in change.items()}
    return [
        {
            "claim": "SymLA learns in the grid world of its meta-training.",
            "measured": {"above random": above["SymLA, goal-world"]},
            "criterion": "reward per step in the last fifth above random, and from the first tenth "
            "of the life to the last a better change than random by more than two standard errors",
            "holds": above["SymLA, goal-world"] > 0 and better["SymLA, goal-world"],
        },
        {
            "claim": "Never meta-trained on control, SymLA improves over its life on CartPole, "
            "above a random policy.",
            "measured": {
                "above random": above["SymLA, cartpole"],
                "improvement": change["SymLA, cartpole"][0],
                "its standard error": change["SymLA, cartpole"][1],
            },
            "criterion": "as above",
            "holds": above["SymLA, cartpole"] > 0 and better["SymLA, cartpole"],
        },
        {
            "claim": "The MetaRNN does not.",
            "measured": {
                "above random": above["MetaRNN, cartpole"],
                "improvement": change["MetaRNN, cartpole"][0],
                "its standard error": change["MetaRNN, cartpole"][1],
            },
            "criterion": "not above random in the last fifth, or not improving",
            "holds": not (above["MetaRNN, cartpole"] > 0 and better["MetaRNN, cartpole"]),
        },
    ]


def _trained_on(preset: str) -> str:
    if preset == "paper":
        return "Meta-trained in a grid world only"
    return "Meta-trained in a grid world (SymLA: and on contextual bandits)"


def _probe(learner: str, world: str) -> str:
    return f"{world}, padded" if (learner, world) == ("MetaRNN", "cartpole") else world
