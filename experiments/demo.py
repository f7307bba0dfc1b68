"""The demo: SymLA, meta-trained from scratch in minutes, learns on bandits it never saw."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray

import meta
import rl
from rl import classic, envs

from . import _demo_figure, _results, _scale
from ._bandit_study import test_key

PULLS = 100  # environment steps in a life
SIZES = (2, 8, 12)  # arms of the test bandits; meta-training sees the first only
Lives = Float32[np.ndarray, "lives L"]

_INTRODUCTION = """\
SymLA is a learning algorithm that is itself learned. Here it is meta-trained on bandits with two
arms, from scratch. The numbers are regrets on bandits it never saw: what a life of 100 pulls loses
against always pulling the best arm. Lower is better.
"""
_PLAYERS = {"random": classic.RandomPlayer, "Thompson": classic.ThompsonSampling}
_UNKNOWN = ["-"] * (len(SIZES) - 1)


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much the demo spends.

    - `population`, `lives`: members of a generation, and lives of each.
    - `std`, `learning_rate`: of the perturbations, and of Adam at the start.
    - `halving`: generations in which the learning rate halves.
    - `report_every`: generations between two lines of the report.
    - `report_lives`, `test_lives`: held-out lives for such a line, and for the final table.
    """

    population: int = 64
    lives: int = 32
    std: float = 0.1
    learning_rate: float = 0.04
    halving: int = 120
    report_every: int = 20
    report_lives: int = 300
    test_lives: int = 1000

    def strategy(self) -> meta.EvolutionStrategy:
        """The evolution strategy of this budget."""
        rate = optax.exponential_decay(self.learning_rate, self.halving, 0.5)
        return meta.EvolutionStrategy(self.population, self.std, optax.adam(rate))


class Bandits(rl.TaskDistribution):
    """Independent bandits whose number of arms is data: one program serves all sizes."""

    arms: Int[Array, ""]
    most: int = eqx.field(static=True)

    def sample(self, *, key: PRNGKeyArray) -> rl.Task:
        """A bandit; the actions beyond its arms are masked."""
        full = envs.BernoulliBandits(self.most).sample(key=key)
        mask = jnp.arange(self.most) < self.arms
        params = envs.BanditParams(probs=jnp.where(mask, full.params.probs, 0.0))
        return rl.Task(full.environment, params, action_mask=mask, metrics=full.metrics)


def bandits(arms: int) -> Bandits:
    """Bandits with one of the test sizes."""
    return Bandits(jnp.asarray(arms, jnp.int32), max(SIZES))


@eqx.filter_jit
def regrets(
    learner: rl.Learner, tasks: rl.TaskDistribution, *, lives: int, key: PRNGKeyArray
) -> Float[Array, "lives L"]:
    """The expected regret of every pull of many lives."""

    def one(life_key: PRNGKeyArray) -> Float[Array, " L"]:
        life = meta.live(learner, tasks, steps=PULLS, key=life_key, record=("metrics",))
        assert life.metrics is not None
        return life.metrics["regret"]

    return jax.lax.map(one, jr.split(key, lives), batch_size=min(1024, lives))


def run_demo(
    out: Path,
    *,
    generations: int = 300,
    seed: int = 0,
    budget: Budget | None = None,
    say: Callable[[str], None] | None = None,
) -> dict:
    """Meta-train SymLA on two-armed bandits, and test it on bandits and sizes it never saw.

    **Arguments:**

    - `out`: a folder for `demo.png`, `demo.json`, `learner.symla` and the checkpoint. A training
        in it that was stopped goes on; one that is finished is only tested again.
    - `generations`: of meta-training, in all.
    - `seed`: of the meta-training; the test lives come from another stream of it.
    - `budget`: how much is spent, `Budget()` by default.
    - `say`: where the report goes line by line, standard output by default.

    **Returns:**

    What `demo.json` holds: the regrets by size and player with their standard errors, the course
    of the meta-training, and where the figure is.

    **Raises:** `ValueError` if `out` holds another training.
    """
    budget = Budget() if budget is None else budget
    say = _say if say is None else say
    began = time.perf_counter()
    out = Path(out)
    init_key, train_key = jr.split(jr.key(seed))
    unseen = test_key(seed)
    done = _generations_done(out, generations, train_key)
    learner = rl.SymLA(key=init_key)
    tasks = {arms: bandits(arms) for arms in SIZES}

    def lives_of(who: rl.Learner) -> dict[int, Lives]:
        return {
            arms: np.asarray(regrets(who, tasks[arms], lives=budget.test_lives, key=unseen))
            for arms in SIZES
        }

    say(_INTRODUCTION)
    say(_line("", [f"{arms} arms" for arms in SIZES]))
    say(_line("", ["(trained on)", *["(never seen)"] * (len(SIZES) - 1)]))
    results: dict[str, dict[int, Lives]] = {}
    for name, player in _PLAYERS.items():
        results[name] = lives_of(player())
        say(_line(name, _means(results[name])))
    exact = float(classic.bayes_optimal_regret("independent", PULLS))
    say(_line("Bayes-optimal, exact", [f"{exact:.2f}", *_UNKNOWN]))
    untrained = lives_of(learner)
    say(_line("SymLA, untrained", _means(untrained)))
    if done == generations:
        say(f"The meta-training in {out} is finished; it is only tested again.")
    elif done:
        say(f"Going on with the meta-training in {out} after {done} generations:")
    else:
        say(f"Compiling a generation: {budget.population} members, {budget.lives} lives each ...")
    told = 0

    def tell(*_: object) -> None:
        nonlocal told
        for row in course(out)[told:]:
            numbers = [f"{row['regret'][arms]:.2f}" for arms in SIZES]
            # What earlier runs have told already is told again without a time.
            elapsed = f"{time.perf_counter() - began:6.0f} s" if row["generation"] > done else ""
            say(_line(f"SymLA, generation {row['generation']}", numbers) + elapsed)
            told += 1

    tell()
    result = meta.train(
        learner,
        envs.BernoulliBandits(SIZES[0]),
        budget.strategy(),
        steps=PULLS,
        lives=budget.lives,
        generations=generations,
        key=train_key,
        fitness=meta.negative_regret,
        devices=_scale.choose_devices(None, budget.population // 2)[0],
        out=out,
        chunk=budget.report_every,
        tests={str(arms): tasks[arms] for arms in SIZES},
        test_every=budget.report_every,
        test_lives=budget.report_lives,
        callback=tell,
    )
    if not result.finished:
        reached = int(result.state.generation)
        say(f"Stopped after {reached} of {generations} generations; the same command goes on.")
        return {"finished": False, "generations_done": reached, "out": str(out)}
    results["SymLA"] = lives_of(result.learner)
    best, two = classic.BayesOptimal("independent", PULLS), envs.BernoulliBandits(2)
    optimal = regrets(best, two, lives=budget.test_lives, key=unseen)
    results["Bayes-optimal"] = {2: np.asarray(optimal)}
    say("")
    say(f"After {generations} generations, over {budget.test_lives} other lives (mean ± s.e.):")
    for name in (*_PLAYERS, "Bayes-optimal", "SymLA"):
        say(_line(name, [_with_error(results[name].get(arms)) for arms in SIZES]))
    start = {"generation": 0, "regret": {a: float(v.sum(1).mean()) for a, v in untrained.items()}}
    rows = [start, *course(out)]
    _demo_figure.draw(out / "demo.png", course=rows, results=results, exact=exact)
    summary = {
        "finished": True,
        "generations_done": generations,
        "seed": seed,
        "steps": PULLS,
        "lives": budget.test_lives,
        "trained_on_arms": SIZES[0],
        "regret": {
            str(arms): {name: _summary(by[arms]) for name, by in results.items() if arms in by}
            for arms in SIZES
        },
        "bayes_optimal_exact": exact,
        "course": [
            {"generation": r["generation"], "regret": {str(k): v for k, v in r["regret"].items()}}
            for r in rows
        ],
        "seconds": round(time.perf_counter() - began, 1),
        "out": str(out),
    }
    _results.write_json(out / "demo.json", summary)
    file = out / "learner.symla"
    say("")
    say(f"See {out / 'demo.png'}. The learner is {file}. Try it on other bandits:")
    say(f"  symla evaluate --learner {shlex.quote(str(file))} --task bandit-hard")
    return summary


def course(out: Path) -> list[dict]:
    """The meta-tests of a training so far: `generation`, and `regret` by number of arms."""
    return [
        {"generation": r["generation"], "regret": {a: r[f"{a}/regret"] for a in SIZES}}
        for r in meta.recorded(out)
        if r.get("test")
    ]


def _generations_done(out: Path, wanted: int, train_key: PRNGKeyArray) -> int:
    """How many generations a folder holds already.

    **Raises:** `ValueError` if they are of another seed, or more than wanted.
    """
    path = out / "checkpoint.symla"
    if not path.exists():
        return 0
    header = meta.read_header(path)
    if header.get("training", {}).get("key") != jr.key_data(train_key).tolist():
        raise ValueError(
            f"{out} holds another training. Choose another folder (`--out`), or take the same "
            "`--seed` to go on with it."
        )
    done = int(header.get("generation", 0))
    if done > wanted:
        raise ValueError(
            f"{out} holds {done} generations already, more than the {wanted} asked for. Choose "
            f"another folder (`--out`), or at least {done} `--generations`."
        )
    return done


def _means(results: dict[int, Lives]) -> list[str]:
    return [f"{results[arms].sum(1).mean():.2f}" for arms in SIZES]


def _summary(values: Lives) -> dict[str, float]:
    totals = values.sum(1)
    return {
        "mean": float(totals.mean()),
        "sem": float(totals.std(ddof=1) / np.sqrt(len(totals))),
    }


def _with_error(values: Lives | None) -> str:
    if values is None:
        return _UNKNOWN[0]
    numbers = _summary(values)
    return f"{numbers['mean']:.2f} ± {numbers['sem']:.2f}"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
