"""The study of the RL2 report: plain and meta-learned actor-critics, on one task and on many."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import jax.random as jr
import numpy as np
from jaxtyping import Float

import rl
from rl import envs

from . import _agent_study, _bar_charts, _results
from ._agent_study import META, METHODS, PLAYERS, SESSIONS, UNTRAINED, Arena, Budget, Outcome

DESCRIPTION = "A2C, A3C and their meta-learned forms on one task and on many, as in the RL2 report"
PRESETS = ("laptop", "gpu", "paper")

SEEDS = {"laptop": 3, "gpu": 5, "paper": 3}
LIVES = 100  # test lives with each seed
TITLES = {
    "instance": "One instance of each environment",
    "distribution": "Distributions of environments",
}
STATEMENTS = {
    "distribution": "On distributions, meta learners are above plain agents",
    "instance": "On one instance, plain agents are not below meta learners",
}
_CRITERIA = {
    "distribution": "each difference is above",
    "instance": "no difference is above",
}
CARTPOLE: Mapping[str, tuple[float, float]] = {"length": (0.25, 2.0), "force_mag": (2.5, 20.0)}
LUNAR: Mapping[str, tuple[float, float]] = {
    "wind_power": (1.0, 20.0),
    "turbulence_power": (0.1, 2.0),
}
ANT: Mapping[str, tuple[float, float]] = {"mass": (0.5, 2.0), "friction": (0.25, 4.0)}
NO_QUADRUPED = (
    "The quadruped is left out: it is brax's Ant, and brax is not installed. Install it: pip "
    "install 'symla[brax]'."
)


def has_brax() -> bool:
    """Whether the quadruped can take part."""
    return importlib.util.find_spec("brax") is not None


def arenas(preset: str) -> list[Arena]:
    """The environments of the study, and what a preset spends on them.

    The report's distribution of bandits with ten arms is five fixed ones, and its lander flies in
    one of four winds; here every life has its own. The lander's actions are continuous. The
    report's quadruped walks on other grounds and with other bodies; it is brax's Ant here, whose
    masses and friction vary, and takes part where brax is installed.
    """
    budgets = _budgets(preset)
    distances = {"easy": "0.1 or 0.9", "medium": "0.25 or 0.75", "hard": "0.4 or 0.6"}
    bandits = [
        Arena(
            "bandit-10",
            "10-arm bandit",
            envs.BernoulliBandits(10),
            "the probability of each arm, from 0 to 1",
            budgets["bandit-10"],
        )
    ]
    for kind, probabilities in distances.items():
        bandits.append(
            Arena(
                f"bandit-2-{kind}",
                f"2-arm bandit, {kind}",
                envs.BernoulliBandits(2, kind),  # pyright: ignore[reportArgumentType]
                f"which arm is the better: its probability is {probabilities}, and 1 less that of "
                "the other",
                budgets[f"bandit-2-{kind}"],
            )
        )
    lander = envs.LunarLander(continuous=True)
    found = [
        *bandits,
        _control("cartpole", "CartPole", envs.CartPole(), CARTPOLE, budgets["cartpole"]),
        _control("lunar-lander", "LunarLander", lander, LUNAR, budgets["lunar-lander"]),
    ]
    if has_brax():
        ant = envs.Brax("ant", backend="spring" if preset == "laptop" else "generalized")
        found.append(_control("quadruped", "Ant", ant, ANT, budgets["quadruped"]))
    return found


def _control(
    name: str,
    title: str,
    environment: rl.Environment,
    ranges: Mapping[str, tuple[float, float]],
    budget: Budget,
) -> Arena:
    varies = ", ".join(f"{key} from {low:g} to {high:g}" for key, (low, high) in ranges.items())
    tasks = envs.Vary(environment, **ranges)  # pyright: ignore[reportArgumentType]
    return Arena(name, title, tasks, f"{varies} (log-uniformly)", budget)


def _budgets(preset: str) -> dict[str, Budget]:
    """What each preset spends.

    `paper` has the numbers of the report: those of its table 3 give the environment steps, lives
    are two episodes long as in its tests, 16 are lived side by side, and the learning rate is
    5e-5. Its table has no distribution of CartPoles, which has the trials of the lander's here. So
    small a rate moves little in so few updates; the other presets have rates that learn, and
    discounts that keep the noise of the returns small. On one instance they spend a quarter of
    what they spend on the distribution, where the report spends a tenth.
    """
    if preset == "paper":
        return {
            name: Budget(
                2 * longest,
                16,
                {"instance": 1000 // 32, "distribution": 500 * 20 // 32},
                5e-5,
                5e-5,
                0.99,
            )
            for name, longest in {
                "bandit-10": 100,
                "bandit-2-easy": 100,
                "bandit-2-medium": 100,
                "bandit-2-hard": 100,
                "cartpole": 1000,
                "lunar-lander": 1000,
                "quadruped": 1000,
            }.items()
        }
    wider, longer = (1, 1) if preset == "laptop" else (4, 4)

    def budget(steps: int, generations: int, discount: float) -> Budget:
        number = generations * longer
        each = {"instance": number // 4, "distribution": number}
        return Budget(steps, 64 * wider, each, 3e-3, 3e-3, discount)

    return {
        "bandit-10": budget(100, 1200, 0.8),
        "bandit-2-easy": budget(100, 400, 0.8),
        "bandit-2-medium": budget(100, 600, 0.8),
        "bandit-2-hard": budget(100, 1000, 0.8),
        "cartpole": budget(200, 240, 0.95),
        "lunar-lander": budget(250, 240, 0.98),
        "quadruped": budget(100, 60, 0.98),
    }


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce the study.

    **Arguments:**

    - `preset`: `"laptop"` (two cores, within three hours), `"gpu"`, or `"paper"` (the numbers of
        the report).
    - `seed`: the first of the training seeds.
    - `out`: a folder; what is finished in it is not repeated, results are written to it.
    - `progress`: show progress on the terminal.

    **Returns:**

    The result, as written to `PRESET.json`.

    **Raises:** `ValueError` for an unknown preset, or a folder with trainings of other settings.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}; got {preset!r}.")
    compared = arenas(preset)
    left_out = "" if has_brax() else NO_QUADRUPED
    if progress and left_out:
        _results.say(left_out)
    seeds = range(seed, seed + SEEDS[preset])
    outcome = _agent_study.run(compared, seeds=seeds, lives=LIVES, out=out, progress=progress)
    result = {
        "figure": "rl2-study",
        "preset": preset,
        "unit": "total reward of a life (higher is better)",
        "seeds": list(seeds),
        "lives": LIVES,
        "left_out": left_out,
        "environments": {arena.name: _told(arena) for arena in compared},
        "methods": {
            name: {"gae_lambda": method.gae_lambda, "entropy_weight": method.entropy_weight}
            for name, method in METHODS.items()
        },
        "test": {
            f"{session}: {player}->{name}": _results.summary(outcome.totals(session, name, player))
            for session, name, player in outcome.runs
        },
        "test_still_learning": {
            f"{session}: {player}->{name}": _results.summary(
                outcome.learning_on(session, name, player)
            )
            for session, name, player in outcome.runs
            if player in METHODS
        },
        "training": {
            f"{session}: {player}->{name}": {
                "seed_means": outcome.training(session, name, player).tolist(),
                "course": np.round(np.mean([run.course for run in runs], 0), 3).tolist(),
                "environment_steps": runs[0].environment_steps,
                "seconds": round(sum(run.seconds for run in runs), 1),
            }
            for (session, name, player), runs in outcome.runs.items()
        },
        "untrained": {
            f"{session}: {name}": _results.summary(values)
            for (session, name), values in outcome.untrained.items()
        },
        "claims": claims(outcome, compared),
        "machine": _results.machine(),
        "training_seconds": round(
            sum(run.seconds for runs in outcome.runs.values() for run in runs), 1
        ),
        "wall_seconds_of_this_run": round(outcome.wall_seconds, 1),
    }
    _results.write_json(out / f"{preset}.json", result)
    _results.write_csv(out / f"{preset}.csv", table(outcome, compared))
    draw(outcome, compared, preset, out / f"{preset}.png", left_out)
    return result


def _told(arena: Arena) -> dict:
    """An environment as JSON can hold it, with the parameters of its one instance."""
    params = arena.tasks.sample(key=jr.key(_agent_study.INSTANCE)).params
    names = [name for name, _ in getattr(arena.tasks, "ranges", [("probs", None)])]
    return {
        "title": arena.title,
        "varies": arena.varies,
        "instance": {name: np.asarray(getattr(params, name)).tolist() for name in names},
        "budget": dataclasses.asdict(arena.budget),
    }


def claims(outcome: Outcome, compared: list[Arena]) -> list[_results.Claim]:
    """The statements of the report, decided by what was measured."""
    found = []
    for session, statement in STATEMENTS.items():
        for arena in compared:
            advantages = {name: outcome.advantage(session, arena.name, name) for name in METHODS}
            found.append(_claim(session, f"{statement} ({arena.title}).", advantages))
        in_all = {name: outcome.relative_advantage(session, name) for name in METHODS}
        found.append(_claim(session, f"{statement}, in all environments together.", in_all))
    return found


def _claim(
    session: str, claim: str, advantages: Mapping[str, Float[np.ndarray, " seeds"]]
) -> _results.Claim:
    """Whether meta-trained learners earn more than plain agents, or plain agents no less.

    **Arguments:**

    - `session`: which decides between the two.
    - `claim`: the statement.
    - `advantages`: by how much a meta-trained learner earns more, for each method and seed.
    """
    means = {name: float(values.mean()) for name, values in advantages.items()}
    errors = {
        name: float(values.std(ddof=1) / np.sqrt(len(values)))
        for name, values in advantages.items()
    }
    above = [means[name] > 2.0 * errors[name] for name in METHODS]
    return {
        "claim": claim,
        "measured": {
            **{f"{META}{name} less {name}": means[name] for name in METHODS},
            **{f"error of {META}{name} less {name}": errors[name] for name in METHODS},
        },
        "criterion": f"{_CRITERIA[session]} twice its standard error over the seeds (test lives; "
        "for all together, each environment on a scale from an untrained policy, 0, to the best "
        "player, 1)",
        "holds": all(above) if session == "distribution" else not any(above),
    }


def table(outcome: Outcome, compared: list[Arena]) -> list[dict]:
    """A row for each session, environment and player."""
    rows = []
    for session in SESSIONS:
        for arena in compared:
            for player in (*PLAYERS, UNTRAINED):
                rows.append({"session": session, "environment": arena.name, "player": player})
                rows[-1] |= _row(outcome, session, arena.name, player)
    return rows


def _row(outcome: Outcome, session: str, arena: str, player: str) -> dict:
    if player == UNTRAINED:
        totals, training, on = outcome.untrained[session, arena], None, None
    else:
        totals = outcome.totals(session, arena, player)
        training = outcome.training(session, arena, player)
        on = outcome.learning_on(session, arena, player) if player in METHODS else None
    numbers = _results.summary(totals)
    return {
        "training_mean": "" if training is None else round(float(training.mean()), 4),
        "test_mean": round(numbers["mean"], 4),
        "test_sem": round(numbers["sem"], 4),
        "test_std": round(numbers["std"], 4),
        "still_learning_mean": "" if on is None else round(float(on.mean()), 4),
        "seeds": numbers["seeds"],
        "lives_per_seed": numbers["lives"],
    }


def draw(
    outcome: Outcome, compared: list[Arena], preset: str, path: Path, left_out: str = ""
) -> None:
    """The two figures of the report, one above the other."""

    def panel(session: str, arena: Arena) -> _bar_charts.BarPanel:
        return _bar_charts.BarPanel(
            arena.title,
            {
                "training": {p: outcome.training(session, arena.name, p) for p in PLAYERS},
                "test": {p: outcome.totals(session, arena.name, p).mean(1) for p in PLAYERS},
            },
            {UNTRAINED: float(outcome.untrained[session, arena.name].mean())},
        )

    _bar_charts.bars(
        path,
        f"Plain and meta-learned actor-critics ({preset} preset)",
        {TITLES[name]: [panel(name, arena) for arena in compared] for name in SESSIONS},
        label="total reward of a life",
        note=f"Training: its last twentieth. Test: {LIVES} lives with each seed, whose weights do "
        f"not change. {left_out}".strip(),
    )
