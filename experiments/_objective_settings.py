"""Worlds, budgets and meta-trainings of MetaGenRL's experiments, for each preset."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optax

import meta
import rl
from rl import classic, envs

from ._bandit_study import LearnerFactory
from ._life_study import Probe
from ._objective_study import (
    SHORT_LIVED,
    Plan,
    Search,
    fixed_sizes,
    largest,
    objective_optimizer,
)

PRESETS = ("laptop", "gpu", "paper")
STAGES = 5  # of a meta-training of MetaGenRL, after each of which its objective is kept
PUBLISHED, NORMALISED = "off-policy REINFORCE", "off-policy REINFORCE, normalised"
META = ("MetaGenRL", "EPG", "RL2")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is spent on one meta-training of each kind, and on one agent.

    - `agents`, `steps`: of MetaGenRL: agents in all, and environment steps of each.
    - `generation`: environment steps of each between two looks at a meta-training.
    - `test_steps`: environment steps of a newborn agent that learns.
    - `agent`: options that MetaGenRL, TD3 and off-policy REINFORCE have in common.
    - `objective`: options of MetaGenRL's objective.
    - `inner`: options of `meta.CriticGradient`.
    - `restarts`: the option of that name where agents begin anew, in figure 10; or `None`.
    - `rate`, `last_rate`: of Adam, for the objective, at first and at last.
    - `populations`: numbers of agents, for the experiment on these.
    - `epg`: options of `meta.EPG`.
    - `epg_search`: members, generations and environment steps of a life, to evolve it.
    - `rl2_search`: lives, generations and environment steps of a life, to meta-train RL2.
    - `seeds`, `lives`: meta-trainings of each kind, and lives with each.
    """

    agents: int
    steps: int
    generation: int
    test_steps: int
    agent: Mapping[str, Any]
    objective: Mapping[str, Any]
    inner: Mapping[str, Any]
    restarts: tuple[int, int] | None
    rate: float
    last_rate: float
    populations: tuple[int, ...]
    epg: Mapping[str, Any]
    epg_search: tuple[int, int, int]
    rl2_search: tuple[int, int, int]
    seeds: int
    lives: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """A preset.

    - `worlds`: tasks by name.
    - `titles`: how figures call them.
    - `tested`: in which newborn agents are tested, of all of these.
    - `pairs`: what is meta-trained on for table 1.
    - `splits`: and for table 2.
    - `main`: and for figures 3 to 6, 12.
    - `seen`, `unseen`: a world of `main`, and one that is not.
    - `single`: the world of figure 10.
    - `crowd`: what is meta-trained on for figure 13, tested in `unseen`.
    - `budget`: what is spent.
    """

    worlds: Mapping[str, rl.TaskDistribution]
    titles: Mapping[str, str]
    tested: tuple[str, ...]
    pairs: tuple[tuple[str, ...], ...]
    splits: tuple[tuple[str, ...], ...]
    main: tuple[str, ...]
    seen: str
    unseen: str
    single: str
    crowd: tuple[str, ...]
    budget: Budget

    def probe(self, world: str, *, padded: bool = False) -> Probe:
        """Lives of newborn agents in a world; padded for learners of fixed size."""
        tasks = self.padded(world) if padded else self.worlds[world]
        return Probe(world, tasks, self.budget.test_steps)

    def padded(self, world: str) -> rl.TaskDistribution:
        """A world with observations and actions as many as the largest has."""
        return envs.Pad(self.worlds[world], *self.largest)

    @property
    def largest(self) -> tuple[int, int]:
        """The most sensors, and the most actions, of all worlds that anything is tested in."""
        return largest(self.worlds[world] for world in self.tested)

    def padded_lessons(
        self, trained_on: Sequence[str], steps: int, lives: int
    ) -> tuple[meta.Lesson, ...]:
        """What such a learner is meta-trained on: lives of some environment steps in each world."""
        return tuple(
            meta.Lesson(self.padded(world), steps, lives, name=world) for world in trained_on
        )

    def named(self, worlds: Sequence[str]) -> str:
        """What worlds together are called in figures."""
        return " & ".join(self.titles[world] for world in worlds)

    def metagenrl(
        self,
        trained_on: Sequence[str],
        suffix: str = "",
        *,
        agents: int | None = None,
        objective: Mapping[str, Any] | None = None,
        inner: Mapping[str, Any] | None = None,
    ) -> Search:
        """A meta-training of MetaGenRL, of which the learner of each stage is kept.

        **Arguments:**

        - `trained_on`: the worlds that agents are shared out to.
        - `suffix`: tells it from others on the same worlds.
        - `agents`: in all; those of the budget by default.
        - `objective`, `inner`: options of `meta.NeuralObjective` and of `meta.CriticGradient` that
            differ from those of the budget.
        """
        budget = self.budget
        agents = budget.agents if agents is None else agents
        worlds = len(trained_on)
        lessons = tuple(
            meta.Lesson(
                self.worlds[world], budget.generation, len(range(k, agents, worlds)), name=world
            )
            for k, world in enumerate(trained_on)
        )
        end = budget.steps // budget.generation
        times = budget.steps // budget.agent.get("every", 1)  # that critics learn
        optimizer = objective_optimizer(budget.rate, budget.last_rate, times)
        return Search(
            _called("MetaGenRL", trained_on, suffix),
            LearnerFactory(
                meta.MetaGenRL, **budget.agent, **{**budget.objective, **(objective or {})}
            ),
            lessons,
            meta.CriticGradient(optimizer, **{**budget.inner, **(inner or {})}),
            tuple(sorted({max(1, end * (k + 1) // STAGES) for k in range(STAGES)})),
        )

    def epg(self, trained_on: Sequence[str]) -> Search:
        """A meta-training of EPG: evolution, whose members train an agent in each world."""
        members, generations, steps = self.budget.epg_search
        strategy = meta.EvolutionStrategy(
            members, 0.1, optax.adam(optax.exponential_decay(0.03, generations, 0.3))
        )
        make = LearnerFactory(
            meta.EPG, **fixed_sizes(self.largest, continuous=True), **self.budget.epg
        )
        lessons = self.padded_lessons(trained_on, steps, 1)
        return Search(_called("EPG", trained_on), make, lessons, strategy, (generations,))

    def rl2(self, trained_on: Sequence[str]) -> Search:
        """A meta-training of RL2: a MetaRNN by proximal policy optimisation over whole lives."""
        lives, generations, steps = self.budget.rl2_search
        make = LearnerFactory(
            rl.MetaRNN, **fixed_sizes(self.largest, continuous=True), hidden_size=64
        )
        lessons = self.padded_lessons(trained_on, steps, lives)
        rate = optax.adam(1e-3, eps=1e-5)
        strategy = meta.ActorCritic(
            rate,
            critic_optimizer=rate,
            critic_size=64,
            discount=0.98,
            gae_lambda=0.9,
            clip=0.2,
            epochs=4,
            minibatches=4,
            rematerialise=False,
        )
        return Search(_called("RL2", trained_on), make, lessons, strategy, (generations,))

    def players(self) -> dict[str, rl.Learner]:
        """Learners made by hand: agents like MetaGenRL's, and those that learn on-policy."""
        agent = self.budget.agent
        return {
            "TD3": classic.TD3(
                **{name: value for name, value in agent.items() if name not in _STRETCHES},
                batch_size=math.prod(agent[name] for name in _STRETCHES),
                layer_norm=True,
            ),
            PUBLISHED: classic.OffPolicyREINFORCE(
                **agent, layer_norm=True, normalise_advantages=False
            ),
            NORMALISED: classic.OffPolicyREINFORCE(**agent, layer_norm=True),
            "on-policy REINFORCE": classic.REINFORCE(),
            "PPO": classic.PPO(rollout=512, minibatches=16),
            "random": classic.RandomPlayer(),
        }

    def plan(
        self,
        searches: Sequence[Search],
        worlds: Sequence[str],
        *,
        by_hand: bool = True,
        stages: bool = False,
    ) -> Plan:
        """Meta-trainings, whose learners are tested in some worlds.

        **Arguments:**

        - `searches`: the meta-trainings.
        - `worlds`: of the tests.
        - `by_hand`: whether players made by hand live there, too; random actions always do.
        - `stages`: whether learners are tested that were kept on the way, too.
        """
        players = self.players()
        if not by_hand:
            players = {"random": players["random"]}
        probes = {
            name: [self.probe(w, padded=not search.name.startswith("MetaGenRL")) for w in worlds]
            for search in searches
            for name in (search.learners if stages else (search.name,))
        }
        probes |= {name: [self.probe(world) for world in worlds] for name in players}
        return Plan(searches, players, probes, self.budget.seeds, self.budget.lives)


def _called(learner: str, trained_on: Sequence[str], suffix: str = "") -> str:
    return f"{learner} on {'+'.join(trained_on)}{f', {suffix}' if suffix else ''}"


_STRETCHES = ("batch_size", "segment_length")  # TD3 learns from single steps, but from as many


def setting(preset: str) -> Setting:
    """The setting of a preset.

    **Raises:** `ImportError` if brax is missing for one that needs it.
    """
    return _light() if preset == "laptop" else _bodies(preset)


def _light() -> Setting:
    """Continuous tasks that two cores can afford.

    Credit is near for points, and less so for the arm, whose motors are eight times as strong as
    usual. Agents learn every fourth step, as steps are cheap here and updates are not, and their
    critics before their policies: critics that know nothing yet lead astray, policies as well as
    the objective that they judge.
    """
    worlds = {
        f"point-{n}": envs.Vary(envs.PointRobot(dimensions=n), steps_in_episode=25)
        for n in (1, 2, 3)
    }
    worlds["arm"] = envs.Vary(envs.Reacher("dense"), torque_scale=(8.0, 8.0))
    worlds["pendulum"] = envs.Vary(envs.Pendulum("dense"))
    titles = {
        **{f"point-{n}": f"Point, {n}D" for n in (1, 2, 3)},
        "arm": "Arm",
        "pendulum": "Pendulum",
    }
    budget = Budget(
        agents=32,
        steps=96_000,
        generation=400,
        test_steps=16_000,
        agent={
            **{"hidden_sizes": (32, 32), "batch_size": 4, "segment_length": 10},
            **{"every": 4, "warm_up": 1600, "critic_warm_up": 400, "capacity": 12_000},
            **{"discount": 0.9, "exploration_noise": 0.3},
        },
        objective=SHORT_LIVED,
        inner={"annealing": 8_000},
        restarts=(2_800, 12_000),
        rate=1e-3,
        last_rate=1e-4,
        populations=(4, 8, 16, 32),
        epg={"hidden_sizes": (32, 32), "buffer": 256},
        epg_search=(32, 40, 2048),
        rl2_search=(32, 120, 400),
        seeds=3,
        lives=4,
    )
    return Setting(
        worlds,
        titles,
        tested=("point-2", "point-3", "arm"),
        pairs=(("point-1", "point-2"), ("point-1", "arm")),
        splits=(
            *(("point-1", "point-2"), ("point-1", "arm"), ("point-2", "arm")),
            *(("point-2",), ("arm",)),
        ),
        main=("point-1", "point-2"),
        seen="point-2",
        unseen="point-3",
        single="point-2",
        crowd=("point-1", "point-2", "arm", "pendulum"),
        budget=budget,
    )


def _bodies(preset: str) -> Setting:
    """Bodies of brax and the lander, in the paper's splits."""
    bodies = {"cheetah": "halfcheetah", "hopper": "hopper", "walker": "walker2d", "ant": "ant"}
    backend = "generalized" if preset == "paper" else "spring"
    worlds: dict[str, rl.TaskDistribution] = {
        name: envs.Vary(envs.Brax(body, backend=backend)) for name, body in bodies.items()
    }
    worlds["lunar"] = envs.Vary(envs.LunarLander("gym", continuous=True))
    titles = {name: name.capitalize() for name in worlds}
    agent: dict[str, Any] = {"warm_up": 10_000, "discount": 0.99, "segment_length": 20}
    inner: dict[str, Any] = {"annealing": 10_000}
    if preset == "paper":
        inner["inner_reduction"] = "sum"
        agent |= {"hidden_sizes": (350, 350), "batch_size": 100, "capacity": 1_000_000}
    else:
        agent |= {"hidden_sizes": (128, 128), "batch_size": 32, "capacity": 200_000}
    budget = Budget(
        agents=20,
        steps=600_000 if preset == "paper" else 300_000,
        generation=100,
        test_steps=1_000_000 if preset == "paper" else 200_000,
        agent=agent,
        objective={} if preset == "paper" else {"mirrored": True},
        inner=inner,
        restarts=None if preset == "paper" else (100_000, 200_000),
        rate=1e-3,
        last_rate=1e-3 if preset == "paper" else 1e-4,
        populations=(5, 10, 20, 40),
        epg={"hidden_sizes": (64, 64)},
        epg_search=(64, 1000, 8192) if preset == "paper" else (64, 200, 8192),
        rl2_search=(64, 2000, 2000) if preset == "paper" else (64, 400, 2000),
        seeds=6 if preset == "paper" else 3,
        lives=2,
    )
    return Setting(
        worlds,
        titles,
        tested=("cheetah", "hopper", "lunar"),
        pairs=(("cheetah", "hopper"), ("lunar", "cheetah")),
        splits=(
            *(("cheetah", "hopper"), ("cheetah", "lunar"), ("hopper", "lunar")),
            *(("hopper",), ("lunar",)),
        ),
        main=("lunar", "cheetah"),
        seen="cheetah",
        unseen="hopper",
        single="lunar",
        crowd=("cheetah", "lunar", "walker", "ant"),
        budget=budget,
    )
