"""Meta-train a MetaRNN on each of some tasks, beside players made by hand: the tables of RL2."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

import meta
import rl

from . import _results
from ._bandit_study import LearnerFactory, spent, test_key
from ._life_study import Row, train

LEARNED = "MetaRNN"


@dataclasses.dataclass(frozen=True)
class Case:
    """A column of the tables: tasks, and what others reach in them.

    - `name`, `title`: how files and people call it.
    - `tasks`, `steps`: what is lived in, and environment steps of a life.
    - `players`: learners made by hand.
    - `levels`: what no player exceeds on average: the total reward of the best play for those who
        know how tasks are drawn, or for those who know the task itself.
    - `published`: total rewards in the papers.
    """

    name: str
    title: str
    tasks: rl.TaskDistribution
    steps: int
    players: Mapping[str, rl.Learner]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is spent on one meta-training by proximal policy optimisation.

    - `generations`, `lives`: generations, and lives in each.
    - `epochs`, `minibatches`: how often the lives of a generation are learned from, and in how
        many parts.
    - `learning_rate`, `last_rate`: of Adam, and that at the end over that at the start.
    - `entropy_weight`, `last_entropy_weight`: of the bonus for undecided choices, at the start and
        the end.
    - `discount`, `gae_lambda`, `clip`: as of `meta.ActorCritic`.
    - `hidden_size`: units of the learner and of the critic.
    """

    generations: int
    lives: int
    epochs: int
    minibatches: int
    learning_rate: float
    last_rate: float
    entropy_weight: float
    discount: float
    gae_lambda: float
    hidden_size: int
    last_entropy_weight: float = 0.0
    clip: float = 0.2

    def strategy(self) -> meta.ActorCritic:
        """The outer loop of this budget."""
        updates = self.generations * self.epochs * self.minibatches
        rate = optax.exponential_decay(self.learning_rate, updates, self.last_rate)
        weights = (self.entropy_weight, self.last_entropy_weight)
        return meta.ActorCritic(
            optax.adam(rate, eps=1e-5),
            critic_optimizer=optax.adam(rate, eps=1e-5),
            critic_size=self.hidden_size,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
            entropy_weight=optax.linear_schedule(*weights, self.generations),
            clip=self.clip,
            epochs=self.epochs,
            minibatches=self.minibatches,
            rematerialise=False,
        )

    def row(self, case: Case) -> Row:
        """The meta-training of a MetaRNN on the tasks of a case."""
        spaces = case.tasks.spaces
        make = LearnerFactory(
            rl.MetaRNN,
            observation_size=spaces.observation_size,
            num_actions=spaces.num_actions,
            hidden_size=self.hidden_size,
        )
        lesson = meta.Lesson(case.tasks, case.steps, self.lives, name=case.name)
        stage = meta.Stage(lesson, self.generations, self.strategy(), name=case.name)
        return Row(case.name, make, meta.Curriculum([stage]))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study measured.

    - `totals`: for each case and player, the total reward of each life, `[seeds, lives]`.
    - `courses`: likewise, the mean reward at each environment step, `[seeds, L]`.
    - `seconds`: spent in the generations of each case, all seeds and runs, without compiling.
    - `wall_seconds`: of this run.
    """

    totals: dict[tuple[str, str], Float[np.ndarray, "seeds lives"]]
    courses: dict[tuple[str, str], Float[np.ndarray, "seeds L"]]
    seconds: dict[str, float]
    wall_seconds: float

    def mean(self, case: str, player: str = LEARNED) -> float:
        """The mean total reward."""
        return float(self.totals[case, player].mean())


def run(
    cases: Sequence[Case],
    budgets: Mapping[str, Budget],
    *,
    seeds: Sequence[int],
    lives: int,
    out: Path,
    progress: bool,
) -> Outcome:
    """Meta-train a MetaRNN on every case with every seed, and let all players live there.

    Resumable: a training that is finished in `out` is not repeated, one that was cut off goes on.

    **Arguments:**

    - `cases`: the tasks.
    - `budgets`: what is spent on each, by its name.
    - `seeds`: of the meta-trainings, and of the lives of all players.
    - `lives`: of each player with each seed.
    - `out`: the folder of the trainings.
    - `progress`: show progress on the terminal.

    **Raises:** `KeyboardInterrupt` if it was interrupted; all that is done is kept.
    """
    began = time.perf_counter()
    totals: dict[tuple[str, str], list[np.ndarray]] = {}
    courses: dict[tuple[str, str], list[np.ndarray]] = {}
    seconds = dict.fromkeys((case.name for case in cases), 0.0)
    for case in cases:
        row = budgets[case.name].row(case)
        for seed in seeds:
            folder = out / "runs" / case.name / f"seed-{seed}"
            learner = train(row, seed=seed, start=None, out=folder, progress=progress)
            seconds[case.name] += sum(map(spent, sorted(folder.glob("stage-*"))))
            for name, player in {LEARNED: learner, **case.players}.items():
                found = meta.evaluate(
                    player,
                    case.tasks,
                    steps=case.steps,
                    lives=lives,
                    key=test_key(seed),
                )
                totals.setdefault((case.name, name), []).append(np.asarray(found.total_rewards))
                courses.setdefault((case.name, name), []).append(np.asarray(found.rewards))
    return Outcome(
        {pair: np.stack(found) for pair, found in totals.items()},
        {pair: np.stack(found) for pair, found in courses.items()},
        seconds,
        time.perf_counter() - began,
    )


def tell(outcome: Outcome, cases: Sequence[Case], budgets: Mapping[str, Budget]) -> dict:
    """What a study found, as JSON can hold it; the claims are those of whoever asked for it."""
    return {
        "unit": "total reward of a life (higher is better)",
        "steps": {case.name: case.steps for case in cases},
        "budgets": {name: dataclasses.asdict(budget) for name, budget in budgets.items()},
        "total_reward": {
            f"{player}->{case}": _results.summary(values)
            for (case, player), values in outcome.totals.items()
        },
        "courses": {
            f"{player}->{case}": [round(float(x), 4) for x in course.mean(0)]
            for (case, player), course in outcome.courses.items()
        },
        "levels": {case.name: dict(case.levels) for case in cases},
        "published": {case.name: dict(case.published) for case in cases},
        "machine": _results.machine(),
        "training_seconds": {name: round(value, 1) for name, value in outcome.seconds.items()},
        "generation_seconds": round(sum(outcome.seconds.values()), 1),
        "wall_seconds_of_this_run": round(outcome.wall_seconds, 1),
    }


def table(result: dict) -> list[dict]:
    """A row for each case and player, those of the papers among them."""
    rows = []
    for case, steps in result["steps"].items():
        published = result["published"][case]
        found = {
            pair.partition("->")[0]: numbers
            for pair, numbers in result["total_reward"].items()
            if pair.partition("->")[2] == case
        }
        for player in dict.fromkeys((*found, *result["levels"][case], *published)):
            numbers, level = found.get(player), result["levels"][case].get(player)
            rows.append(
                {
                    "case": case,
                    "steps": steps,
                    "player": player,
                    "total_reward_mean": "" if numbers is None else round(numbers["mean"], 4),
                    "total_reward_sem": "" if numbers is None else round(numbers["sem"], 4),
                    "seeds": "" if numbers is None else numbers["seeds"],
                    "lives_per_seed": "" if numbers is None else numbers["lives"],
                    "level": "" if level is None else round(level, 4),
                    "published": published.get(player, ""),
                }
            )
    return rows


@functools.cache
def best_total(arms: int, pulls: int) -> float:
    """The greatest expected number of wins on independent arms, `p ~ U[0, 1]`.

    It is exact: dynamic programming over the wins and pulls of all arms, whose order does not
    matter (Bellman's equation over the posteriors). Five arms have 3519 states in ten pulls, and
    too many in a hundred.

    **Arguments:**

    - `arms`: how many.
    - `pulls`: in a life.
    """

    @functools.cache
    def value(counts: tuple[tuple[int, int], ...], left: int) -> float:
        if not left:
            return 0.0
        return max(pull(counts, arm, left) for arm in set(counts))

    def pull(counts: tuple[tuple[int, int], ...], arm: tuple[int, int], left: int) -> float:
        others, (wins, made) = list(counts), arm
        others.remove(arm)
        won = value(tuple(sorted([*others, (wins + 1, made + 1)])), left - 1)
        lost = value(tuple(sorted([*others, (wins, made + 1)])), left - 1)
        chance = (wins + 1) / (made + 2)
        return chance * (1.0 + won) + (1.0 - chance) * lost

    return value(((0, 0),) * arms, pulls)


def known_total(tasks: rl.TaskDistribution, episodes: int, *, seed: int, count: int) -> float:
    """What the best policies for the tasks themselves earn, the mean over drawn tabular MDPs.

    **Arguments:**

    - `tasks`: tabular MDPs.
    - `episodes`: of a life.
    - `seed`, `count`: of the tasks that are drawn.
    """
    horizon = int(tasks.sample(key=jr.key(seed)).params.max_steps_in_episode)

    def best(key: Array) -> Array:
        params = tasks.sample(key=key).params
        return rl.classic.backward_induction(params.transitions, params.rewards, horizon)[0][0]

    values = jax.jit(jax.vmap(best))(jr.split(jr.key(seed), count))
    return episodes * float(jnp.mean(values))
