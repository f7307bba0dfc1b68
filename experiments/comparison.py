"""What the learned algorithms and those made by hand come to on the same tasks, and what they cost:
seen tasks and unseen ones, permuted and resized.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import optax

import meta
import rl
from rl import envs

from . import _builders, _results
from ._bandit_study import LearnerFactory
from ._life_study import Probe
from ._objective_claims import claim, difference, no_better, progress_of
from ._objective_figure import heat_map
from ._objective_study import (
    SHORT_LIVED,
    ObjectiveOutcome,
    Plan,
    Search,
    fixed_sizes,
    largest,
    objective_optimizer,
    run,
    table,
    tell,
)
from ._tasks import parse_task

DESCRIPTION = (
    "SymLA, MetaRNN, MetaGenRL, LPG, EPG and learners made by hand on bandits, CartPole, grids and "
    "points: seen, permuted, resized, unseen"
)
PRESETS = ("laptop", "gpu")
KINDS = ("seen", "permuted", "resized", "unseen")
GENERAL = "SymLA, one for all"
PLAYERS = {
    **{"random": "random", "REINFORCE": "reinforce", "A2C": "a2c", "PPO": "ppo", "TD3": "td3"},
    **{"off-policy REINFORCE": "reinforce-off-policy"},
    **{"UCB1": "ucb1", "Thompson sampling": "thompson"},
}
_TICKS = 100  # environment steps of agents between two looks at a meta-training of MetaGenRL
_EVERY = 2  # such steps of MetaGenRL's agents between two updates


@dataclasses.dataclass(frozen=True)
class Family:
    """Tasks of a kind.

    - `tests`: tasks in the words of the command line, by what they are to a learner that was
        meta-trained on the first of them.
    - `steps`: environment steps of a life, in meta-training and in tests.
    - `lives`: of each member in each generation, where one task is meta-trained on by evolution.
    """

    tests: Mapping[str, str]
    steps: int
    lives: int

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """The most sensors, and the most actions, of all its tasks."""
        return largest(_builders.make_tasks(task) for task in self.tests.values())

    @cached_property
    def continuous(self) -> bool:
        """Whether actions are."""
        return _builders.make_tasks(self.tests["seen"]).spaces.continuous

    def tasks(self, kind: str, *, padded: bool = False) -> rl.TaskDistribution:
        """The tasks of a test; padded to the largest of the family for learners of fixed size."""
        tasks = _builders.make_tasks(self.tests[kind])
        return envs.Pad(tasks, *self.sizes) if padded else tasks


FAMILIES: dict[str, Family] = {
    "bandit": Family(
        {
            "seen": "bandit-independent:arms=5",
            "permuted": "bandit-independent:arms=5+permute",
            "resized": "bandit-independent:arms=10",
            "unseen": "bandit-easy",
        },
        steps=200,
        lives=4,
    ),
    "CartPole": Family(
        {
            "seen": "cartpole",
            "permuted": "cartpole+permute",
            "resized": "cartpole+distract=4",
            "unseen": "acrobot",
        },
        steps=1000,
        lives=1,
    ),
    "grid": Family(
        {
            "seen": "goal-world:observation=compass",
            "permuted": "goal-world:observation=compass+permute",
            "resized": "goal-world:observation=compass+distract=4",
            "unseen": "heart-trap:observation=compass",
        },
        steps=500,
        lives=1,
    ),
    "point": Family(
        {
            "seen": "point:steps_in_episode=25",
            "permuted": "point:steps_in_episode=25+permute",
            "resized": "point:dimensions=3,steps_in_episode=25",
            "unseen": "arm:torque_scale=8",
        },
        steps=2000,
        lives=1,
    ),
}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a preset spends.

    - `members`, `generations`: of evolution.
    - `agents`, `agent_steps`: of MetaGenRL: agents in all, and environment steps of each.
    - `seeds`, `lives`: meta-trainings of each kind, and lives with each.
    """

    members: int
    generations: int
    agents: int
    agent_steps: int
    seeds: int
    lives: int


BUDGETS = {
    "laptop": Budget(256, 300, 32, 16_000, seeds=3, lives=8),
    "gpu": Budget(1024, 1000, 64, 100_000, seeds=3, lives=32),
}


def _evolution(budget: Budget, family: Family) -> tuple[meta.Strategy, int, int]:
    """Evolution by antithetic pairs; environment steps of a life, and its lives."""
    rate = optax.exponential_decay(0.03, budget.generations, 0.2)
    strategy = meta.EvolutionStrategy(budget.members, 0.1, optax.adam(rate))
    return strategy, family.steps, family.lives


def _critics(budget: Budget, family: Family) -> tuple[meta.Strategy, int, int]:
    """Critics' gradients; agents begin anew after a part of a life of a test, or more than one."""
    optimizer = objective_optimizer(1e-3, 1e-4, budget.agent_steps // _EVERY)
    restarts = (family.steps // 5, 5 * family.steps // 4)
    annealing = budget.agent_steps // 6
    strategy = meta.CriticGradient(optimizer, annealing=annealing, restarts=restarts)
    return strategy, _TICKS, budget.agents


@dataclasses.dataclass(frozen=True)
class Kind:
    """A learner that is meta-trained on one task of each family.

    - `make`: its class.
    - `options`: for a family.
    - `outer_loop`: what meta-trains it, environment steps of a life, and lives.
    - `fixed`: whether it has the sizes of a task.
    """

    make: Callable[..., rl.Learner]
    options: Callable[[Family], Mapping[str, Any]]
    outer_loop: Callable[[Budget, Family], tuple[meta.Strategy, int, int]] = _evolution
    fixed: bool = False

    def search(self, name: str, of: str, budget: Budget) -> Search:
        """Its meta-training on a family."""
        family = FAMILIES[of]
        options = dict(self.options(family))
        if self.fixed:
            options |= fixed_sizes(family.sizes, continuous=family.continuous)
        strategy, steps, lives = self.outer_loop(budget, family)
        lesson = meta.Lesson(family.tasks("seen", padded=self.fixed), steps, lives, name=of)
        generations = budget.generations
        if isinstance(strategy, meta.CriticGradient):
            generations = budget.agent_steps // steps
        make = LearnerFactory(self.make, **options)
        return Search(f"{name} on {of}", make, (lesson,), strategy, (generations,))


def _agent(family: Family) -> dict[str, Any]:
    """An agent of MetaGenRL: its first tenth of a life is at random."""
    warm_ups = {"warm_up": family.steps // 10, "critic_warm_up": max(10, family.steps // 40)}
    return {
        **{"hidden_sizes": (32, 32), "batch_size": 4, "segment_length": 10, "every": _EVERY},
        **{"discount": 0.9 if family.continuous else 0.98, "capacity": 4 * family.steps},
        **warm_ups,
        **SHORT_LIVED,
    }


LEARNED: dict[str, Kind] = {
    "SymLA": Kind(rl.SymLA, lambda _: {"hidden_size": 16}),
    "MetaRNN": Kind(rl.MetaRNN, lambda _: {"hidden_size": 48}, fixed=True),
    "MetaGenRL": Kind(meta.MetaGenRL, _agent, _critics),
    "LPG": Kind(meta.LPG, lambda _: {"units": 32}),
    "EPG": Kind(meta.EPG, lambda _: {"hidden_sizes": (32, 32), "buffer": 128}, fixed=True),
}


def _column(family: str, kind: str) -> str:
    """What a test is called."""
    return f"{family}, {kind}"


def plan(preset: str) -> tuple[Plan, dict[str, dict[str, str]]]:
    """What is done, and for each row of the picture, the learner of each test."""
    budget = BUDGETS[preset]
    searches, players, probes, rows = [], {}, {}, {}
    for name, kind in LEARNED.items():
        rows[name] = {}
        for of, family in FAMILIES.items():
            search = kind.search(name, of, budget)
            searches.append(search)
            probes[search.name] = [
                Probe(_column(of, test), family.tasks(test, padded=kind.fixed), family.steps)
                for test in KINDS
            ]
            rows[name] |= {_column(of, test): search.name for test in KINDS}
    players[GENERAL] = meta.pretrained("symla-general")
    for name, called in PLAYERS.items():
        players[name] = _builders.find_learner(called, parse_task("bandit-easy"), 200)
    for name in players:
        homes = {of: family for of, family in FAMILIES.items() if _lives_in(name, of)}
        probes[name] = [
            Probe(_column(of, test), family.tasks(test), family.steps)
            for of, family in homes.items()
            for test in KINDS
        ]
        rows[name] = {probe.name: name for probe in probes[name]}
    return Plan(searches, players, probes, budget.seeds, budget.lives), rows


def _lives_in(player: str, family: str) -> bool:
    """Whether a player can."""
    if player in ("UCB1", "Thompson sampling"):
        return family == "bandit"
    if player in ("TD3", "off-policy REINFORCE"):
        return FAMILIES[family].continuous
    return True


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Reproduce the comparison; see `experiments.reproduce`."""
    chosen, rows = plan(preset)
    outcome = run(chosen, seed=seed, out=out / "runs", progress=progress)
    told = tell(chosen, outcome, seed=seed)
    result = {
        "figure": "comparison",
        "preset": preset,
        **told,
        "costs": costs(chosen, told["meta_training"]),
        "claims": claims(outcome),
    }
    _results.write_json(out / f"{preset}.json", result)
    _results.write_csv(out / f"{preset}.csv", table(outcome))
    heat_map(
        out / f"{preset}.png",
        f"Learned algorithms beside those made by hand ({preset} preset)",
        outcome,
        rows,
        {name: name for of in FAMILIES for name in (_column(of, kind) for kind in KINDS)},
        note="Mean reward per step in the last fifth of a life, with its standard error. "
        f"{chosen.seeds} meta-trainings of each kind x {chosen.lives} lives. Colours go from a "
        "random player to the best of a column. Seen: what learners but the last ones were "
        "meta-trained on; empty: it cannot live there.",
    )
    return result


def costs(chosen: Plan, trained: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each learner costs: meta-parameters, meta-training, and the time of a step of a life.

    The last is measured here, in the lives of its first test, side by side, without compilation.

    **Arguments:**

    - `chosen`: the study.
    - `trained`: what is told of its meta-trainings.
    """
    found = {}
    makes: dict[str, Callable[[], rl.Learner]] = {
        **{search.name: partial(search.learner, jr.key(0)) for search in chosen.searches},
        **{name: partial(lambda x: x, player) for name, player in chosen.players.items()},
    }
    for name, make in makes.items():
        spent = trained.get(name, {})
        learned = jax.eval_shape(partial(_parameters, make))
        found[name] = {
            "meta_parameters": sum(x.size for x in learned),
            "environment_steps_of_meta_training": spent.get("environment_steps"),
            "seconds_of_meta_training": spent.get("seconds"),
            "microseconds_per_step": round(_step_time(make, chosen.probes[name][0]), 1),
        }
    return found


def _parameters(make: Callable[[], rl.Learner]) -> list[jax.Array]:
    """The meta-parameters of a learner."""
    return jax.tree.leaves(eqx.filter(make(), eqx.is_inexact_array))


def _step_time(make: Callable[[], rl.Learner], probe: Probe) -> float:
    """Microseconds of an environment step of one life: the best of three, when it is compiled."""
    learner, task = eqx.filter_jit(make)(), probe.tasks.sample(key=jr.key(0))

    def live(key: jax.Array) -> jax.Array:
        return rl.lifetime(learner, task, steps=probe.steps, key=key).total_reward

    program, best = jax.jit(live).lower(jr.key(0)).compile(), math.inf
    for k in range(3):
        began = time.perf_counter()
        program(jr.key(k)).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / probe.steps


def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
    """What the papers say of generality, decided by what was measured."""
    gains = {of: progress_of(outcome, f"SymLA on {of}", _column(of, "permuted")) for of in FAMILIES}
    orders = {
        of: difference(outcome, f"MetaRNN on {of}", "random", _column(of, "permuted"))
        for of in ("CartPole", "grid")
    }
    general = {
        _column(of, kind): difference(outcome, GENERAL, "random", _column(of, kind))
        for of in FAMILIES
        for kind in KINDS
    }
    seen = {
        f"{name} on {of}": difference(outcome, f"{name} on {of}", "random", _column(of, "seen"))
        for name in LEARNED
        for of in FAMILIES
    }
    share = float(np.mean([mean > 2.0 * error for mean, error in seen.values()]))
    return [
        claim("SymLA improves during lives with permuted sensors and actions.", gains),
        claim(
            "With permuted sensors and actions, a MetaRNN is no better than a random player.",
            orders,
            criterion="none is above twice its standard error",
            holds=no_better,
        ),
        claim("One SymLA is above a random player in every test.", general),
        {
            "claim": "Learned algorithms are above a random player where they were meta-trained.",
            "measured": {"share": share, **{name: mean for name, (mean, _) in seen.items()}},
            "criterion": "reward per step in the last fifth: in more than half of the cases by "
            "more than twice its standard error",
            "holds": share > 0.5,
        },
    ]
