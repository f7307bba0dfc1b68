"""RL2 on the bandits and tabular MDPs of Duan et al. 2016, and on bandits of Wang et al. 2016."""

from pathlib import Path
from typing import TYPE_CHECKING

import rl
from rl import envs

from . import _results, _rl2_study, _style
from ._rl2_study import LEARNED, Budget, Case, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DESCRIPTION = "RL2 on the bandits and tabular MDPs of Duan et al., and on bandits of Wang et al."
PRESETS = ("laptop", "gpu", "paper")

CASES = ("duan-10", "duan-100", "wang-independent", "wang-uniform", "duan-mdp-10")
SEEDS = {"laptop": 1, "gpu": 3, "paper": 3}
LIVES = 4000  # of each player with each seed
EPISODES, EPISODE_STEPS = 10, 10  # of a life in a tabular MDP
_MDPS_KNOWN = 20_000  # drawn for the level of those who know the process
_BANDIT_PLAYERS = {
    "random": rl.classic.RandomPlayer(),
    "UCB1": rl.classic.UCB1(),
    "Thompson": rl.classic.ThompsonSampling(),
    "greedy": rl.classic.GreedyPosteriorMean(),
}
_COLUMNS = 3  # of the picture
_LEARNED, _OTHERS = _style.RED, _style.BLUE
_PUBLISHED: dict = {"marker": "D", "ms": 7, "mfc": "none", "color": _style.SOFT}


def cases() -> list[Case]:
    """The columns of the tables, with what the papers report of them.

    The published numbers are those of tables 1 and 2 of Duan et al. 2016 (arXiv:1611.02779); Wang
    et al. 2016 (arXiv:1611.05763) print none.
    """
    few, many = (
        {"random": 5.0, "UCB1": 6.7, "Thompson": 5.7, "greedy": 6.6, "Gittins": 6.6, LEARNED: 6.7},
        {
            "random": 49.9,
            "UCB1": 78.0,
            "Thompson": 74.7,
            "greedy": 74.8,
            "Gittins": 78.3,
            LEARNED: 78.7,
        },
    )
    processes = envs.TabularMDPs(episode_steps=EPISODE_STEPS)
    known = _rl2_study.known_total(processes, EPISODES, seed=0, count=_MDPS_KNOWN)
    return [
        Case(
            "duan-10",
            "5 arms, 10 pulls",
            envs.BernoulliBandits(5),
            10,
            _BANDIT_PLAYERS,
            {"Bayes-optimal": _rl2_study.best_total(5, 10)},
            few,
        ),
        Case(
            "duan-100",
            "5 arms, 100 pulls",
            envs.BernoulliBandits(5),
            100,
            _BANDIT_PLAYERS,
            {},
            many,
        ),
        _wang("independent", 2 / 3),
        _wang("uniform", 3 / 4),
        Case(
            "duan-mdp-10",
            "tabular MDPs, 10 episodes",
            processes,
            EPISODES * EPISODE_STEPS,
            {
                "random": rl.classic.RandomPlayer(),
                "PSRL": rl.classic.PSRL(EPISODE_STEPS),
                "PSRL, prior mean 0": rl.classic.PSRL(EPISODE_STEPS, prior_mean=0.0),
            },
            {"best for those who know it": known},
            {
                "random": 100.1,
                "PSRL": 138.1,
                "OPSRL": 144.1,
                "UCRL2": 146.6,
                "BEB": 150.2,
                LEARNED: 156.2,
            },
        ),
    ]


def _wang(kind: envs.BanditKind, best_mean: float) -> Case:
    """Two arms for a hundred pulls, and how well they can be played."""
    least = rl.classic.bayes_optimal_regret(kind, 100)
    players = {**_BANDIT_PLAYERS, "Bayes-optimal": rl.classic.BayesOptimal(kind, 100)}
    level = {"Bayes-optimal": 100 * best_mean - least}
    tasks = envs.BernoulliBandits(2, kind)
    return Case(f"wang-{kind}", f"2 arms ({kind}), 100 pulls", tasks, 100, players, level)


def budgets(preset: str) -> dict[str, Budget]:
    """What a preset spends on each meta-training.

    `paper` follows the paper's batches of 240,000 environment steps; the optimiser is that of a
    public reimplementation, proximal policy optimisation, where the paper has trust regions.
    """
    if preset == "paper":
        few, many = (
            Budget(1000, lives, 8, 5, 2e-4, 1.0, 0.01, 0.99, 0.3, 256, 0.01, 0.1)
            for lives in (24_000, 2_400)
        )
        return {case: few if case == "duan-10" else many for case in CASES}
    times, wider = (1, 1) if preset == "laptop" else (4, 4)
    two_arms = Budget(120 * times, 256 * wider, 4, 4, 5e-3, 0.05, 0.03, 1.0, 0.95, 48)
    return {
        "duan-10": Budget(250 * times, 1024 * wider, 4, 4, 5e-3, 0.05, 0.02, 1.0, 0.9, 48),
        "duan-100": Budget(600 * times, 1024 * wider, 4, 8, 5e-3, 0.05, 0.03, 1.0, 0.95, 48),
        "wang-independent": two_arms,
        "wang-uniform": two_arms,
        "duan-mdp-10": Budget(300 * times, 512 * wider, 4, 4, 3e-3, 0.1, 0.01, 0.99, 0.3, 64),
    }


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce the tables.

    **Arguments:**

    - `preset`: `"laptop"` (two cores, one meta-training), `"gpu"`, or `"paper"` (the batches and
        sizes of Duan et al.).
    - `seed`: the first of the meta-training seeds.
    - `out`: a folder; trainings in it are resumed, results written to it.
    - `progress`: show progress on the terminal.

    **Returns:**

    The result, as written to `PRESET.json`.

    **Raises:** `ValueError` for an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {preset!r}.")
    columns, spent = cases(), budgets(preset)
    seeds = range(seed, seed + SEEDS[preset])
    outcome = _rl2_study.run(columns, spent, seeds=seeds, lives=LIVES, out=out, progress=progress)
    result = {
        "figure": "rl2-bandits",
        "preset": preset,
        "seeds": list(seeds),
        "lives": LIVES,
        **_rl2_study.tell(outcome, columns, spent),
        "claims": claims(outcome, columns),
    }
    _results.write_json(out / f"{preset}.json", result)
    _results.write_csv(out / f"{preset}.csv", _rl2_study.table(result))
    draw(result, columns, out / f"{preset}.png")
    return result


def claims(outcome: Outcome, columns: list[Case]) -> list[_results.Claim]:
    """The statements of the papers, decided by what was measured."""
    short = {name: outcome.mean("duan-10", name) for name in (LEARNED, "UCB1", "greedy")}
    long = {name: outcome.mean("duan-100", name) for name in (LEARNED, "UCB1", "greedy")}
    missed = {
        case.name: case.levels["Bayes-optimal"] - outcome.mean(case.name)
        for case in columns
        if case.name.startswith("wang-")
    }
    processes = {
        name: outcome.mean("duan-mdp-10", name) for name in (LEARNED, "PSRL", "PSRL, prior mean 0")
    }
    return [
        {
            "claim": "On bandits with 5 arms and 10 pulls, RL2 is as good as the best play "
            "(Duan et al.: 6.7).",
            "measured": short,
            "criterion": "mean total reward at least 6.6; the best there is is 6.66",
            "holds": short[LEARNED] >= 6.6,
        },
        {
            "claim": "On bandits with 5 arms and 100 pulls, it is as good as the best players made "
            "by hand (Duan et al.: 78.7, Gittins 78.3, UCB1 with a tuned constant 78.0).",
            "measured": long,
            "criterion": "mean total reward at least 78",
            "holds": long[LEARNED] >= 78.0,
        },
        {
            "claim": "On bandits with two arms, independent or dependent, it comes close to the "
            "best play (Wang et al.).",
            "measured": missed,
            "criterion": "within 2 of the Bayes-optimal total reward on both",
            "holds": all(value <= 2.0 for value in missed.values()),
        },
        {
            "claim": "In ten episodes of a tabular MDP it earns more than posterior sampling (Duan "
            "et al.: 156.2 and 138.1).",
            "measured": processes,
            "criterion": "mean total reward above that of PSRL with either prior by at least 10",
            "holds": processes[LEARNED]
            >= 10.0 + max(value for name, value in processes.items() if name != LEARNED),
        },
    ]


def draw(result: dict, columns: list[Case], path: Path) -> None:
    """A panel for each case: what each player earns, beside what the papers report."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with matplotlib.rc_context(_style.OPEN):
        # A figure of its own, not pyplot's: it needs no display and is drawn by Agg.
        rows = -(-len(columns) // _COLUMNS)
        size = (4.2 * _COLUMNS, 2.6 * rows + 0.7)
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        places = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
        for axes, case in zip(places, columns, strict=False):
            _panel(axes, case, result)
        for axes in places[len(columns) :]:
            axes.set_axis_off()
        kinds = {
            f"{LEARNED} meta-trained by RL2": {"marker": "o", "color": _LEARNED},
            "made by hand": {"marker": "o", "color": _OTHERS},
            "as published": _PUBLISHED,
        }
        handles = [Line2D([], [], ls="", **style) for style in kinds.values()]
        figure.legend(handles, list(kinds), loc="lower right", frameon=False)
        seeds = len(result["seeds"])
        several = f"{seeds} meta-trainings" if seeds > 1 else "one meta-training"
        figure.suptitle(
            f"Total reward of a life ({result['preset']} preset, {several} x {result['lives']} "
            "lives; bars: two standard errors)",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _panel(axes: "Axes", case: Case, result: dict) -> None:
    players = list(dict.fromkeys((LEARNED, *case.players, *case.published)))
    for height, player in enumerate(reversed(players)):
        numbers = result["total_reward"].get(f"{player}->{case.name}")
        if numbers is not None:
            axes.errorbar(
                numbers["mean"],
                height,
                xerr=2 * numbers["sem"],
                fmt="o",
                capsize=3,
                color=_LEARNED if player == LEARNED else _OTHERS,
            )
        if player in case.published:
            axes.plot(case.published[player], height, ls="", **_PUBLISHED)
    for name, level in case.levels.items():
        axes.axvline(level, color=_style.SOFT, lw=1.2, ls=(0, (4, 2)))
        axes.text(level, len(players) - 0.4, f"{name} ", ha="right", color=_style.SOFT, fontsize=8)
    axes.set_yticks(range(len(players)), [*reversed(players)])
    axes.set_ylim(-0.6, len(players) - 0.1)
    axes.set_title(case.title, loc="left", fontsize=10, color=_style.INK)
