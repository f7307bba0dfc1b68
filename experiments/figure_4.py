"""Figure 4 of SymLA: meta-train on so many arms, meta-test on others, never seen."""

import dataclasses
from pathlib import Path

import meta
import rl
from rl import envs

from . import _results
from ._bandit_study import Budget, LearnerFactory, Outcome, Training, report

DESCRIPTION = "SymLA on numbers of arms that meta-training never saw (figure 4)"
PRESETS = ("laptop", "gpu", "paper")

SIZES = (2, 8, 10, 12)
STEPS = 100
# Expected cumulative regret after 100 pulls as figure 4 prints it; rows: arms at meta-training.
# 100 pulls cannot lose more than 100, so the figures above that are in units we do not know.
PAPER = {
    2: (4.2, 120.0, 130.0, 140.0),
    8: (12.0, 13.0, 15.0, 17.0),
    10: (14.0, 13.0, 15.0, 17.0),
    12: (20.0, 15.0, 16.0, 17.0),
}
PLAYERS = {
    "random": rl.classic.RandomPlayer(),
    "Thompson": rl.classic.ThompsonSampling(),
    "UCB1": rl.classic.UCB1(),
    "greedy": rl.classic.GreedyPosteriorMean(),
}


def budgets(preset: str) -> dict[int, Budget]:
    """What a preset spends on each row."""
    if preset == "paper":
        whole = Budget(512, 100, 4000, std=0.2, learning_rate=0.2)
        return dict.fromkeys(SIZES, whole)
    few, many = (32, 8) if preset == "laptop" else (64, 32)
    plain = Budget(
        population=64 if preset == "laptop" else 512,
        lives=few,
        generations=300 if preset == "laptop" else 1000,
        std=0.1,
        learning_rate=0.03,
        fitness=meta.negative_regret,
        last_rate=0.3,
    )
    large = dataclasses.replace(plain, lives=many)
    return {arms: plain if arms == 2 else large for arms in SIZES}


def trainings(preset: str) -> list[Training]:
    """The rows: each number of arms, and 2 arms once more with messages summed as printed."""
    if preset == "paper":
        learner = LearnerFactory(rl.SymLA.paper, hidden_size=64)
        other, label = LearnerFactory(rl.SymLA, hidden_size=64), "2-mean"
    else:
        learner = LearnerFactory(rl.SymLA)
        other, label = LearnerFactory(rl.SymLA, reduction="sum"), "2-sum"
    budget = budgets(preset)
    rows = [
        Training(str(arms), envs.BernoulliBandits(arms), budget[arms], learner) for arms in SIZES
    ]
    return [*rows, Training(label, envs.BernoulliBandits(2), budget[2], other)]


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce figure 4.

    **Arguments:**

    - `preset`: `"laptop"` (two cores, within two hours), `"gpu"`, or `"paper"` (SymLA and the
        budget as the paper prints them).
    - `seed`: the first of the meta-training seeds.
    - `out`: a folder; trainings in it are resumed, results written to it.
    - `progress`: show progress on the terminal.

    **Returns:**

    The result, as written to `PRESET.json`.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {preset!r}.")
    rows = trainings(preset)
    tests = {str(arms): envs.BernoulliBandits(arms) for arms in SIZES}
    outcome, told = report(rows, tests, PLAYERS, steps=STEPS, seed=seed, out=out, progress=progress)
    result = {
        "figure": "figure-4",
        "preset": preset,
        **told,
        "paper": {f"{a}->{b}": v for a in SIZES for b, v in zip(SIZES, PAPER[a], strict=True)},
        "claims": claims(outcome, rows[-1].name),
    }
    write(result, out, preset)
    return result


def claims(outcome: Outcome, variant: str) -> list[_results.Claim]:
    """The statements of the paper on figure 4, decided by what was measured."""
    mean = {pair: float(values.mean()) for pair, values in outcome.regrets.items()}
    diagonal = {f"{a} arms": mean[str(a), str(a)] for a in SIZES}
    paper = {a: PAPER[a][i] for i, a in enumerate(SIZES)}
    off = [(a, b) for a in SIZES[1:] for b in SIZES if a != b]
    narrow = {f"2->{b}": mean["2", str(b)] for b in SIZES[1:]}
    wide = {b: min(mean[str(a), str(b)] for a in SIZES[1:]) for b in SIZES[1:]}
    varied = {f"{variant}->{b}": mean[variant, str(b)] for b in SIZES[1:]}
    return [
        {
            "claim": "SymLA works well on the numbers of arms it was meta-trained on.",
            "measured": diagonal,
            "criterion": "mean regret at most the paper's on each: "
            + ", ".join(f"{a} arms {v:g}" for a, v in paper.items()),
            "holds": all(diagonal[f"{a} arms"] <= v for a, v in paper.items()),
        },
        {
            "claim": "Meta-trained on 8 arms or more, it generalises to numbers never seen.",
            "measured": {f"{a}->{b}": mean[str(a), str(b)] for a, b in off},
            "criterion": "every such regret at most the paper's for the same pair",
            "holds": all(mean[str(a), str(b)] <= PAPER[a][SIZES.index(b)] for a, b in off),
        },
        {
            "claim": "Meta-trained on 2 arms only, it finds a specialised solution that does not "
            "generalise.",
            "measured": narrow,
            "criterion": "on each of 8, 10 and 12 arms, over twice the regret of the best learner "
            "trained on 8 or more",
            "holds": all(narrow[f"2->{b}"] > 2 * wide[b] for b in SIZES[1:]),
        },
        {
            "claim": f"The same with the other reduction of messages (row {variant}; not in the "
            "paper, which prints a sum).",
            "measured": varied,
            "criterion": "as above",
            "holds": all(varied[f"{variant}->{b}"] > 2 * wide[b] for b in SIZES[1:]),
        },
    ]


def write(result: dict, out: Path, preset: str) -> None:
    """The result as JSON, CSV and a figure."""
    _results.write_json(out / f"{preset}.json", result)
    rows = []
    for pair, numbers in result["regret"].items():
        train, test = pair.split("->")
        rows.append(
            {
                "train_arms": train,
                "test_arms": test,
                "regret_mean": round(numbers["mean"], 4),
                "regret_sem_over_seeds": round(numbers["sem"], 4),
                "regret_std_over_lives": round(numbers["std"], 4),
                "seeds": numbers["seeds"],
                "lives_per_seed": numbers["lives"],
                "paper": result["paper"].get(pair, ""),
            }
        )
    _results.write_csv(out / f"{preset}.csv", rows)
    _plot(result, out / f"{preset}.png")


def _plot(result: dict, path: Path) -> None:
    from . import _heatmap

    trains = [k for k in result["budgets"]]
    ours = [[result["regret"][f"{a}->{b}"] for b in SIZES] for a in trains]
    labels = [f"{a} arms" if a.isdigit() else f"2 arms, {a.split('-')[1]}" for a in trains]
    _heatmap.side_by_side(
        path,
        title="Expected cumulative regret after 100 pulls, SymLA",
        panels=[
            _heatmap.Panel(
                f"measured ({result['preset']} preset, {len(result['seeds'])} meta-trainings "
                f"x {ours[0][0]['lives']} lives)",
                labels,
                [f"{b} arms" for b in SIZES],
                [[cell["mean"] for cell in row] for row in ours],
                [[cell["sem"] for cell in row] for row in ours],
            ),
            _heatmap.Panel(
                "as the paper prints it",
                [f"{a} arms" for a in SIZES],
                [f"{b} arms" for b in SIZES],
                [list(PAPER[a]) for a in SIZES],
            ),
        ],
        note="Meta-trained on the rows, meta-tested on the columns. 100 pulls can lose at most "
        "100; the paper's figures above that are in units of its own.",
    )
