"""Figure 3 of SymLA: SymLA beside a MetaRNN on the five two-armed bandits of Wang et al."""

import functools
from pathlib import Path

import numpy as np

import meta
import rl
from rl import envs

from . import _results
from ._bandit_study import Budget, LearnerFactory, Outcome, Training, report

DESCRIPTION = "SymLA beside a MetaRNN on the five two-armed bandits of Wang et al. (figure 3)"
PRESETS = ("laptop", "gpu", "paper")

KINDS = ("independent", "uniform", "easy", "medium", "hard")
LEARNERS = ("SymLA", "MetaRNN")
STEPS = 100
PLAYERS = {
    "random": rl.classic.RandomPlayer(),
    "Thompson": rl.classic.ThompsonSampling(),
}


@functools.cache
def optimal() -> dict[str, float]:
    """The Bayes-optimal regret of each kind, by dynamic programming over the posterior."""
    return {kind: round(rl.classic.bayes_optimal_regret(kind, STEPS), 4) for kind in KINDS}


def budget(preset: str, learner: str) -> Budget:
    """What a preset spends on each meta-training.

    A MetaRNN has four times the parameters and needs four times the generations; its lives cost
    less, so both take about as long.
    """
    if preset == "paper":
        return Budget(512, 100, 4000, std=0.2, learning_rate=0.2)
    laptop = preset == "laptop"
    return Budget(
        population=64 if laptop else 512,
        lives=16 if laptop else 64,
        generations=(250 if laptop else 1000) * (1 if learner == "SymLA" else 4),
        std=0.1,
        learning_rate=0.03,
        last_rate=0.3 if learner == "SymLA" else 0.1,
        fitness=meta.negative_regret,
    )


def trainings(preset: str) -> list[Training]:
    """The rows: both learners on each kind of bandit."""
    if preset == "paper":
        makers = {
            "SymLA": LearnerFactory(rl.SymLA.paper, hidden_size=64),
            "MetaRNN": LearnerFactory(rl.MetaRNN, observation_size=1, num_actions=2),
        }
    else:
        makers = {
            "SymLA": LearnerFactory(rl.SymLA),
            "MetaRNN": LearnerFactory(rl.MetaRNN, observation_size=1, num_actions=2),
        }
    spent = {name: budget(preset, name) for name in LEARNERS}
    return [
        Training(f"{name}-{kind}", envs.BernoulliBandits(2, kind), spent[name], makers[name])
        for kind in KINDS
        for name in LEARNERS
    ]


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce figure 3.

    **Arguments:**

    - `preset`: `"laptop"` (two cores, within two hours), `"gpu"`, or `"paper"` (the learners and
        the budget as the paper prints them).
    - `seed`: the first of the meta-training seeds.
    - `out`: a folder; trainings in it are resumed, results written to it.
    - `progress`: show progress on the terminal.

    **Returns:**

    The result, as written to `PRESET.json`.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {preset!r}.")
    rows = trainings(preset)
    tests = {kind: envs.BernoulliBandits(2, kind) for kind in KINDS}
    outcome, told = report(rows, tests, PLAYERS, steps=STEPS, seed=seed, out=out, progress=progress)
    result = {
        "figure": "figure-3",
        "preset": preset,
        **told,
        "optimal": optimal(),
        "claims": claims(outcome),
    }
    write(result, out, preset)
    return result


def claims(outcome: Outcome) -> list[_results.Claim]:
    """The statements of the paper on figure 3, decided by what was measured."""
    table = {
        name: np.array([[outcome.regrets[f"{name}-{a}", b].mean() for b in KINDS] for a in KINDS])
        for name in LEARNERS
    }
    same = {name: float(np.diag(values).mean()) for name, values in table.items()}
    all_pairs = {name: float(values.mean()) for name, values in table.items()}
    excess = {
        f"MetaRNN, {kind}": float(table["MetaRNN"][i, i]) - optimal()[kind]
        for i, kind in enumerate(KINDS)
    }
    chance = {"independent": 50 / 3, "uniform": 25.0, "easy": 40.0, "medium": 25.0, "hard": 10.0}
    learned = {
        f"{name}, {kind}": float(table[name][i, i]) / chance[kind]
        for name in LEARNERS
        for i, kind in enumerate(KINDS)
    }
    return [
        {
            "claim": "With symmetries (SymLA) the performance is similar to the MetaRNN's on the "
            "bandits they were meta-trained on.",
            "measured": same,
            "criterion": "mean regret over the five matching pairs at most 1.2 times the MetaRNN's",
            "holds": same["SymLA"] <= 1.2 * same["MetaRNN"],
        },
        {
            "claim": "So it is over all pairs of meta-training and meta-test bandits.",
            "measured": all_pairs,
            "criterion": "mean regret over the 25 pairs at most 1.2 times the MetaRNN's",
            "holds": all_pairs["SymLA"] <= 1.2 * all_pairs["MetaRNN"],
        },
        {
            "claim": "Both learn to learn on the bandits they were meta-trained on.",
            "measured": learned,
            "criterion": "regret less than half of a random player's on each of the five",
            "holds": all(value < 0.5 for value in learned.values()),
        },
        {
            "claim": "The MetaRNN reaches what is known to be possible (the paper: the average "
            "performance of Wang et al.).",
            "measured": excess,
            "criterion": "within 2 of the Bayes-optimal regret on each of the five",
            "holds": all(value <= 2.0 for value in excess.values()),
        },
    ]


def write(result: dict, out: Path, preset: str) -> None:
    """The result as JSON, CSV and a figure."""
    _results.write_json(out / f"{preset}.json", result)
    rows = []
    for pair, numbers in result["regret"].items():
        row, test = pair.split("->")
        learner, train = row.split("-")
        rows.append(
            {
                "learner": learner,
                "train": train,
                "test": test,
                "regret_mean": round(numbers["mean"], 4),
                "regret_sem_over_seeds": round(numbers["sem"], 4),
                "regret_std_over_lives": round(numbers["std"], 4),
                "seeds": numbers["seeds"],
                "lives_per_seed": numbers["lives"],
                "optimal": optimal()[test],
            }
        )
    _results.write_csv(out / f"{preset}.csv", rows)
    _plot(result, out / f"{preset}.png")


def _plot(result: dict, path: Path) -> None:
    from . import _heatmap

    def cells(learner: str, field: str) -> list[list[float]]:
        return [[result["regret"][f"{learner}-{a}->{b}"][field] for b in KINDS] for a in KINDS]

    lives = result["regret"][f"SymLA-{KINDS[0]}->{KINDS[0]}"]["lives"]
    _heatmap.side_by_side(
        path,
        title=f"Expected cumulative regret after 100 pulls ({result['preset']} preset, "
        f"{len(result['seeds'])} meta-trainings x {lives} lives)",
        panels=[
            _heatmap.Panel(name, KINDS, KINDS, cells(name, "mean"), cells(name, "sem"))
            for name in LEARNERS
        ],
        note="Two arms. Bayes-optimal where training and test are the same: "
        + ", ".join(f"{kind} {optimal()[kind]:.3g}" for kind in KINDS)
        + ".",
    )
