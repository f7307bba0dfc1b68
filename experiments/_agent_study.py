"""Train plain and meta-learned actor-critics on the same tasks, with as many environment steps."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

import meta
import rl

from . import _results
from ._bandit_study import spent, test_key

SESSIONS = ("instance", "distribution")
INSTANCE = 0  # the one instance of an environment is the task that this key draws
META = "Meta"
UNTRAINED = "untrained"
COURSE = 20  # parts of a training, whose means are kept


@dataclasses.dataclass(frozen=True)
class Method:
    """An actor-critic, in a life or across lives.

    - `agent`: the plain one.
    - `gae_lambda`: the decay of generalised advantage estimation; 1 for Monte Carlo.
    - `entropy_weight`: of the bonus for undecided choices.
    """

    agent: type[rl.classic.A2C]
    gae_lambda: float
    entropy_weight: float


METHODS = {
    "A2C": Method(rl.classic.A2C, 1.0, 0.0),
    "A3C": Method(rl.classic.A3C, 0.95, 0.01),
}
PLAYERS = (*METHODS, *(META + name for name in METHODS))


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is spent on one training, plain or meta.

    - `steps`: environment steps of a life.
    - `lives`: lives of a generation, and environments of a plain agent, side by side.
    - `generations`: of meta-training, in each session.
    - `rate`, `meta_rate`: learning rates of RMSProp, of a plain agent and of meta-training.
    - `discount`: per environment step.
    - `rollout`: environment steps from one update of a plain agent to the next.
    - `hidden_sizes`: of a plain agent's networks.
    - `hidden_size`: units of a MetaRNN and of its critic.
    """

    steps: int
    lives: int
    generations: Mapping[str, int]
    rate: float
    meta_rate: float
    discount: float
    rollout: int = 25
    hidden_sizes: tuple[int, ...] = (64, 64)
    hidden_size: int = 48

    def environment_steps(self, session: str) -> int:
        """Of one training: as many for a plain agent as for a meta-trained learner."""
        return self.generations[session] * self.lives * self.steps


@dataclasses.dataclass(frozen=True)
class Arena:
    """An environment of the study.

    - `name`, `title`: how files and people call it.
    - `tasks`: its distribution.
    - `varies`: what differs from task to task, in words.
    - `budget`: of each of its trainings.
    """

    name: str
    title: str
    tasks: rl.TaskDistribution
    varies: str
    budget: Budget

    def session(self, name: str) -> rl.TaskDistribution:
        """The tasks of a session: one instance for all lives, or the distribution."""
        if name == "distribution":
            return self.tasks
        return rl.FixedTask(self.tasks.sample(key=jr.key(INSTANCE)))


@dataclasses.dataclass(frozen=True)
class Run:
    """One player in one arena, session and seed.

    - `course`: the mean total reward of a life in equal parts of the training.
    - `total_rewards`: of test lives. Plain agents do not learn in them any more.
    - `learning_on`: of test lives in which a plain agent goes on learning, each for itself.
    - `environment_steps`, `seconds`: of the training, compiling included.
    """

    course: list[float]
    total_rewards: list[float]
    learning_on: list[float]
    environment_steps: int
    seconds: float


class StillLearning(rl.Learner[rl.classic.AgentState]):
    """An agent that begins its life with the knowledge of a training, and goes on learning.

    - `agent`: whose knowledge it is.
    - `knowledge`: as `rl.classic.train` returns it.
    """

    agent: rl.classic.A2C
    knowledge: eqx.Module

    def init(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> rl.classic.AgentState:
        """What is known, and nothing lived yet; see `Learner.init`."""
        del key
        return rl.classic.AgentState(
            self.knowledge, self.agent.begin(spaces), jnp.asarray(0, jnp.int32)
        )

    def step(
        self, state: rl.classic.AgentState, timestep: rl.TimeStep, *, key: PRNGKeyArray
    ) -> tuple[rl.classic.AgentState, Array]:
        """As the agent does; see `Learner.step`."""
        return self.agent.step(state, timestep, key=key)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study measured.

    - `runs`: for each session, arena and player, those of all seeds.
    - `untrained`: for each session and arena, total rewards of lives by a newborn policy.
    - `wall_seconds`: of this run.
    """

    runs: dict[tuple[str, str, str], list[Run]]
    untrained: dict[tuple[str, str], Float[np.ndarray, "seeds lives"]]
    wall_seconds: float

    def totals(self, session: str, arena: str, player: str) -> Float[np.ndarray, "seeds lives"]:
        """The total reward of each test life."""
        return np.asarray([run.total_rewards for run in self.runs[session, arena, player]])

    def training(self, session: str, arena: str, player: str) -> Float[np.ndarray, " seeds"]:
        """The mean total reward of a life at the end of the training."""
        return np.asarray([run.course[-1] for run in self.runs[session, arena, player]])

    def learning_on(self, session: str, arena: str, player: str) -> np.ndarray:
        """The total reward of each life in which a plain agent goes on learning."""
        return np.asarray([run.learning_on for run in self.runs[session, arena, player]])

    def advantage(self, session: str, arena: str, method: str) -> Float[np.ndarray, " seeds"]:
        """By how much the meta-trained learner earns more than the plain agent, with each seed."""
        learned = self.totals(session, arena, META + method).mean(1)
        return learned - self.totals(session, arena, method).mean(1)

    def scale(self, session: str, arena: str) -> float:
        """From what a newborn policy earns to what the best of the players does."""
        best = max(self.totals(session, arena, player).mean() for player in PLAYERS)
        return max(float(best - self.untrained[session, arena].mean()), 1e-6)

    def relative_advantage(self, session: str, method: str) -> Float[np.ndarray, " seeds"]:
        """The mean advantage over all arenas, each on its own scale."""
        arenas = dict.fromkeys(arena for where, arena in self.untrained if where == session)
        shares = [
            self.advantage(session, arena, method) / self.scale(session, arena) for arena in arenas
        ]
        return np.mean(shares, axis=0)


def run(
    arenas: Sequence[Arena], *, seeds: Sequence[int], lives: int, out: Path, progress: bool
) -> Outcome:
    """Train and test all players in all arenas and sessions.

    Resumable: what is finished in `out` is not repeated, a meta-training that was cut off goes on.

    **Arguments:**

    - `arenas`: the environments.
    - `seeds`: of the trainings, and of the test lives.
    - `lives`: test lives with each seed.
    - `out`: the folder of the trainings.
    - `progress`: show progress on the terminal.

    **Raises:** `KeyboardInterrupt` if it was interrupted; all that is done is kept. `ValueError`
    if a training in `out` was made with other settings.
    """
    began = time.perf_counter()
    runs: dict[tuple[str, str, str], list[Run]] = {}
    untrained = {}
    for arena in arenas:
        for session in SESSIONS:
            for player in PLAYERS:
                for seed in seeds:
                    if progress:
                        _results.say(f"{arena.name}, {session}: {player}, seed {seed}")
                    folder = out / "runs" / arena.name / session / player / f"seed-{seed}"
                    one = finished(
                        arena, session, player, seed=seed, lives=lives, out=folder, bar=progress
                    )
                    runs.setdefault((session, arena.name, player), []).append(one)
            newborn = [_newborn(arena, session, seed=seed, lives=lives) for seed in seeds]
            untrained[session, arena.name] = np.asarray(newborn)
    return Outcome(runs, untrained, time.perf_counter() - began)


def finished(
    arena: Arena, session: str, player: str, *, seed: int, lives: int, out: Path, bar: bool
) -> Run:
    """One training and its test; as `out` has it, if it was finished there before."""
    path = out / "result.json"
    settings = {
        **json.loads(json.dumps(dataclasses.asdict(arena.budget))),
        "varies": arena.varies,
        "test_lives": lives,
        "seed": seed,
    }
    if path.exists():
        kept = json.loads(path.read_text())
        changed = [name for name in settings if kept["settings"].get(name) != settings[name]]
        if changed:
            raise ValueError(
                f"{path} is of other settings ({', '.join(changed)}); give another folder for "
                "`out`, or remove that one."
            )
        return Run(**kept["run"])
    teach = _meta_trained if player.startswith(META) else _trained
    one = teach(arena, session, player.removeprefix(META), seed=seed, lives=lives, out=out, bar=bar)
    # That it is there tells that the training is finished.
    _results.write_json(path, {"settings": settings, "run": dataclasses.asdict(one)})
    return one


def plain_agent(method: Method, budget: Budget) -> rl.classic.A2C:
    """The plain agent of a method."""
    return method.agent(
        budget.hidden_sizes,
        rollout=budget.rollout,
        learning_rate=budget.rate,
        discount=budget.discount,
        gae_lambda=method.gae_lambda,
        entropy_weight=method.entropy_weight,
    )


def outer_loop(method: Method, budget: Budget) -> meta.ActorCritic:
    """The same method across lives.

    As for plain agents, what an action is worth ends with its episode; the life of a bandit is one.
    RMSProp has its epsilon outside of the root, as gradients through whole lives are small, and
    its first steps are no longer than later ones.
    """
    optimizer = optax.rmsprop(
        budget.meta_rate, decay=0.99, eps=1e-5, eps_in_sqrt=False, bias_correction=True
    )
    return meta.ActorCritic(
        optimizer,
        critic_optimizer=optimizer,
        critic_size=budget.hidden_size,
        discount=budget.discount,
        gae_lambda=method.gae_lambda,
        across_episodes=False,
        entropy_weight=method.entropy_weight,
        max_gradient_norm=0.5,
        rematerialise=False,
    )


def _trained(
    arena: Arena, session: str, name: str, *, seed: int, lives: int, out: Path, bar: bool
) -> Run:
    """A plain agent, trained in many environments at once."""
    del out, bar
    budget, tasks = arena.budget, arena.session(session)
    agent = plain_agent(METHODS[name], budget)
    steps = budget.environment_steps(session) // budget.lives
    steps -= steps % budget.rollout
    began = time.perf_counter()
    trained = jax.block_until_ready(
        rl.classic.train(
            agent,
            tasks,
            environments=budget.lives,
            steps=steps,
            key=jr.split(jr.key(seed))[1],
        )
    )
    seconds = time.perf_counter() - began
    return Run(
        _course(np.asarray(trained.rewards) * budget.steps),
        _lived(rl.classic.Settled(agent, trained.knowledge), tasks, budget, seed, lives),
        _lived(StillLearning(agent, trained.knowledge), tasks, budget, seed, lives),
        steps * budget.lives,
        seconds,
    )


def _meta_trained(
    arena: Arena, session: str, name: str, *, seed: int, lives: int, out: Path, bar: bool
) -> Run:
    """A MetaRNN, meta-trained over whole lives."""
    budget, tasks = arena.budget, arena.session(session)
    init_key, train_key = jr.split(jr.key(seed))
    learner = rl.MetaRNN(
        tasks.spaces.observation_size,
        tasks.spaces.num_actions,
        budget.hidden_size,
        continuous=tasks.spaces.continuous,
        key=init_key,
    )
    result = meta.train(
        learner,
        tasks,
        outer_loop(METHODS[name], budget),
        steps=budget.steps,
        lives=budget.lives,
        generations=budget.generations[session],
        key=train_key,
        out=out,
        chunk=20,
        progress=bar,
    )
    if not result.finished:
        raise KeyboardInterrupt
    means = (line.get("fitness_mean") for line in meta.recorded(out))
    rewards = [mean for mean in means if mean is not None]
    return Run(
        _course(np.asarray(rewards)),
        _lived(result.learner, tasks, budget, seed, lives),
        [],
        budget.environment_steps(session),
        spent(out) + result.compile_seconds,
    )


def _newborn(arena: Arena, session: str, *, seed: int, lives: int) -> list[float]:
    """Lives by the policy that plain agents begin with, nearly all actions alike."""
    tasks = arena.session(session)
    agent = plain_agent(METHODS["A2C"], arena.budget)
    knowledge = agent.newborn(tasks.spaces, key=jr.key(seed))
    return _lived(rl.classic.Settled(agent, knowledge), tasks, arena.budget, seed, lives)


def _lived(
    learner: rl.Learner, tasks: rl.TaskDistribution, budget: Budget, seed: int, lives: int
) -> list[float]:
    """Total rewards of lives that no training saw."""
    found = meta.evaluate(learner, tasks, steps=budget.steps, lives=lives, key=test_key(seed))
    return [float(x) for x in np.asarray(found.total_rewards)]


def _course(rewards: Float[np.ndarray, " updates"]) -> list[float]:
    """The means of equal parts of a training, or all of a short one."""
    parts = np.array_split(np.asarray(rewards, np.float64), min(COURSE, len(rewards)))
    return [float(part.mean()) for part in parts]
