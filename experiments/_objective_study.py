"""Meta-train objectives that train newborn agents: the shape of MetaGenRL's experiments."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Float

import meta
import rl
from rl import classic

from . import _results, _scale
from ._bandit_study import LearnerFactory, spent
from ._life_study import Outcome, Probe, look

SHORT_LIVED = {"mirrored": True, "action_input": "difference", "error_input": True}
"""Options of MetaGenRL's objective, for agents that live for thousands of steps at most."""


@dataclasses.dataclass(frozen=True)
class Search:
    """A meta-training, of which learners are kept on the way.

    - `name`: how files and tables call it.
    - `learner`: makes a new learner from a key.
    - `lessons`, `strategy`: what it is meta-trained on, and by what.
    - `marks`: after how many generations learners are kept; the last of them ends it.
    """

    name: str
    learner: LearnerFactory
    lessons: tuple[meta.Lesson, ...]
    strategy: meta.Strategy
    marks: tuple[int, ...]

    def at(self, mark: int) -> str:
        """What the learner after so many generations is called; the last has the search's name."""
        return self.name if mark == self.marks[-1] else f"{self.name} at {mark}"

    @property
    def learners(self) -> tuple[str, ...]:
        """The names of all learners that are kept."""
        return tuple(map(self.at, self.marks))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study does.

    - `searches`: the meta-trainings.
    - `players`: learners made by hand.
    - `probes`: the lives of each learner and player, by its name: of newborn agents in a world.
    - `seeds`: how many meta-trainings of each kind, and how many seeds of all lives.
    - `lives`: with each seed.
    """

    searches: Sequence[Search]
    players: Mapping[str, rl.Learner]
    probes: Mapping[str, Sequence[Probe]]
    seeds: int
    lives: int


@dataclasses.dataclass(frozen=True)
class ObjectiveOutcome(Outcome):
    """What a study measured; `courses` has a row for each learner and player.

    - `history`: for each search and seed, what was recorded of each generation.
    """

    history: dict[str, list[list[dict]]] = dataclasses.field(default_factory=dict)

    def level(
        self, row: str, probe: str, start: float, end: float
    ) -> Float[np.ndarray, "seeds lives"]:
        """The mean reward per step in a part of each life, from and to a share of it."""
        course = self.courses[row, probe]["reward"]
        parts = course.shape[-1]
        return course[..., round(start * parts) : round(end * parts)].mean(-1)

    def ends(self, row: str, probe: str) -> Float[np.ndarray, "seeds lives"]:
        """The mean reward per step in the last fifth of each life."""
        return self.level(row, probe, 0.8, 1.0)

    def while_training(
        self, search: Search, lesson: meta.Lesson
    ) -> Float[np.ndarray, "seeds generations"]:
        """The mean reward per step of all agents of a lesson, in each generation."""
        name = "fitness_mean" if len(search.lessons) == 1 else f"fitness_mean/{lesson.name}"
        rewards = [[line[name] for line in one] for one in self.history[search.name]]
        return np.asarray(rewards, np.float64) / lesson.steps


def run(plan: Plan, *, seed: int, out: Path, progress: bool) -> ObjectiveOutcome:
    """Carry out a plan.

    Resumable: a meta-training that was cut off goes on, and neither trainings nor lives are
    repeated that are finished in `out`.

    **Arguments:**

    - `plan`: what to do.
    - `seed`: the first of its seeds.
    - `out`: the folder of trainings and lives.
    - `progress`: show progress on the terminal.

    **Raises:** `KeyboardInterrupt` if it was interrupted; all that is done is kept. `ValueError`
    if a training in `out` was made with other settings.
    """
    began = time.perf_counter()
    seeds = range(seed, seed + plan.seeds)
    seconds = {search.name: 0.0 for search in plan.searches}
    history: dict[str, list[list[dict]]] = {}
    learners: dict[str, list[rl.Learner]] = {}
    for search in plan.searches:
        for one in seeds:
            if progress:
                _results.say(f"{search.name}, meta-training seed {one}")
            folder = out / search.name / f"seed-{one}"
            for name, learner in train(search, seed=one, out=folder, progress=progress).items():
                learners.setdefault(name, []).append(learner)
            lines = [line for line in meta.recorded(folder) if "fitness_mean" in line]
            history.setdefault(search.name, []).append(lines)
            seconds[search.name] += spent(folder)
    learners |= {name: [player] * len(seeds) for name, player in plan.players.items()}
    courses: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    steps: dict[str, int] = {}
    for name, probes in plan.probes.items():
        for probe in probes:
            steps[probe.name] = probe.steps
            if progress:
                _results.say(f"{name} in {probe.name}")
            found = [
                looked(learner, probe, seed=one, lives=plan.lives, out=out / "lives" / name)
                for one, learner in zip(seeds, learners[name], strict=True)
            ]
            courses[name, probe.name] = {"reward": np.stack(found)}
    return ObjectiveOutcome(courses, steps, seconds, time.perf_counter() - began, history)


def train(search: Search, *, seed: int, out: Path, progress: bool) -> dict[str, rl.Learner]:
    """The learners of a search, by their names; meta-trained as far as `out` has none."""
    init_key, train_key = jr.split(jr.key(seed))
    paths = {mark: out / f"generation-{mark}.symla" for mark in search.marks}

    def keep(_: object, learner: rl.Learner, row: dict) -> None:
        if row["generation"] in paths:
            meta.save(paths[row["generation"]], learner)

    def go_on(generations: int) -> meta.TrainResult:
        return meta.train(
            search.learner(init_key),
            search.lessons,
            search.strategy,
            generations=generations,
            key=train_key,
            devices=_devices(search),
            out=out,
            chunk=_chunk(search.marks),
            callback=keep,
            progress=progress,
        )

    done = max((row["generation"] for row in meta.recorded(out)), default=0)
    if done in paths and not paths[done].exists():  # it was stopped between checkpoint and learner
        meta.save(paths[done], go_on(done).learner)
    if not go_on(search.marks[-1]).finished:
        raise KeyboardInterrupt
    return {search.at(mark): meta.load(path) for mark, path in paths.items()}


def largest(worlds: Iterable[rl.TaskDistribution]) -> tuple[int, int]:
    """The most sensors, and the most actions, of some worlds."""
    spaces = [world.spaces for world in worlds]
    return max(s.observation_size for s in spaces), max(s.num_actions for s in spaces)


def fixed_sizes(sizes: tuple[int, int], *, continuous: bool) -> dict[str, Any]:
    """Arguments of a learner that has the sizes of a task, and one kind of actions."""
    observation_size, num_actions = sizes
    return {
        "observation_size": observation_size,
        "num_actions": num_actions,
        "continuous": continuous,
    }


def objective_optimizer(first: float, last: float, times: int) -> optax.GradientTransformation:
    """Adam for MetaGenRL's objective, whose rate falls while critics learn so many times."""
    updates = times // classic.TD3().policy_delay
    return optax.adam(optax.exponential_decay(first, updates, last / first))


def _devices(search: Search) -> list:
    """As many as can share members of a generation, or lives side by side, evenly."""
    shared = math.gcd(*(lesson.lives for lesson in search.lessons))
    if search.strategy.population > 1:
        shared = search.strategy.population // 2
    return _scale.choose_devices(None, shared)[0]


def _chunk(marks: tuple[int, ...]) -> int:
    """Generations of one compiled call: ten at most, and a call ends at each mark."""
    if len(marks) == 1:
        return 10
    common = math.gcd(*marks)
    return max(length for length in range(1, 11) if common % length == 0)


def looked(
    learner: rl.Learner, probe: Probe, *, seed: int, lives: int, out: Path
) -> Float[np.ndarray, "lives parts"]:
    """The mean reward in each part of unseen lives; as `out` has it, if it was found before."""
    path = out / f"{probe.name}-{seed}.json"
    settings = {"steps": probe.steps, "lives": lives, "learner": _digest(learner)}
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["settings"] == settings:
            return np.asarray(kept["rewards"])
    found = look(learner, probe, seed=seed, lives=lives)["reward"]
    rewards = np.asarray(found, np.float64)  # as it will be read again
    _results.write_json(path, {"settings": settings, "rewards": rewards.tolist()})
    return rewards


def _digest(learner: rl.Learner) -> str:
    """What tells a learner from any other: its class, its options and its arrays."""
    arrays, options = eqx.partition(learner, eqx.is_array)
    told = hashlib.sha256(f"{jax.tree.structure(options)}{jax.tree.leaves(options)}".encode())
    for array in jax.tree.leaves(arrays):
        told.update(np.asarray(array).tobytes())
    return told.hexdigest()


def tell(plan: Plan, outcome: ObjectiveOutcome, *, seed: int) -> dict:
    """What a study found, as JSON can hold it; the claims are those of whoever asked for it."""
    return {
        "unit": "reward per environment step",
        "seeds": list(range(seed, seed + plan.seeds)),
        "lives": plan.lives,
        "steps": outcome.steps,
        "meta_training": {
            search.name: {
                "outer_loop": type(search.strategy).__name__,
                "generations": search.marks[-1],
                "lessons": [
                    {"name": one.name, "steps": one.steps, "lives": one.lives}
                    for one in search.lessons
                ],
                "environment_steps": search.marks[-1]
                * search.strategy.population
                * sum(one.lives * search.strategy.steps(one) for one in search.lessons),
                "seconds": round(outcome.seconds[search.name], 1),
            }
            for search in plan.searches
        },
        "lives_of": {
            f"{row}->{probe}": {
                "first_fifth": _results.summary(outcome.level(row, probe, 0.0, 0.2)),
                "last_fifth": _results.summary(outcome.ends(row, probe)),
                "course": [round(float(x), 5) for x in course["reward"].mean((0, 1))],
            }
            for (row, probe), course in outcome.courses.items()
        },
        "machine": _results.machine(),
        "training_seconds": round(sum(outcome.seconds.values()), 1),
        "wall_seconds_of_this_run": round(outcome.wall_seconds, 1),
    }


def table(outcome: ObjectiveOutcome) -> list[dict]:
    """A row for each learner or player in each world."""
    rows = []
    for row, probe in outcome.courses:
        first, last = outcome.level(row, probe, 0.0, 0.2), outcome.ends(row, probe)
        numbers = _results.summary(last)
        rows.append(
            {
                "learner": row,
                "world": probe,
                "first_fifth_mean": round(float(first.mean()), 5),
                "last_fifth_mean": round(numbers["mean"], 5),
                "last_fifth_sem": round(numbers["sem"], 5),
                "last_fifth_std": round(numbers["std"], 5),
                "seeds": numbers["seeds"],
                "lives_per_seed": numbers["lives"],
                "steps": outcome.steps[probe],
            }
        )
    return rows
