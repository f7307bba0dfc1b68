"""Makes the learners that ship in `pretrained/`: `python -m experiments.pretrain NAME`."""

import dataclasses
from pathlib import Path

import meta
import rl
from rl import envs

from . import _cards, _results, figure_5
from ._bandit_study import Budget, LearnerFactory, Training, play, run

STEPS = 100
LIVES = 1000
SIZES = (2, 4, 8, 10, 12, 16)
PLAYERS = {
    "random": rl.classic.RandomPlayer(),
    "Thompson": rl.classic.ThompsonSampling(),
    "greedy": rl.classic.GreedyPosteriorMean(),
}
_BUDGET = Budget(
    population=64,
    lives=128,  # rare lives go badly, and few lives do not show them
    generations=500,
    std=0.1,
    learning_rate=0.03,
    last_rate=0.1,
    fitness=meta.negative_regret,
    meta_seeds=1,
    test_lives=LIVES,
)
RECIPES = {
    "symla-bandit-2": Training(
        "symla-bandit-2", envs.BernoulliBandits(2), _BUDGET, LearnerFactory(rl.SymLA)
    ),
    "symla-bandit-8": Training(
        "symla-bandit-8",
        envs.BernoulliBandits(8),
        dataclasses.replace(_BUDGET, lives=16),
        LearnerFactory(rl.SymLA),
    ),
}
_BANDIT_TESTS = tuple(
    (f"bandit-independent:arms={arms}", "yes", (_cards.Rival("thompson"),))
    for arms in (2, 4, 8, 16)
)
_SENSORS_TESTS = tuple(
    (f"cartpole+permute+distract={count}:noisy={noisy}", seen, ())
    for count, seen in ((2, "yes"), (4, "no"), (12, "no"))
    for noisy in (0, 1)
)
_OBJECTIVE = "../metagenrl-laptop/MetaGenRL on point-1+point-2/seed-{seed}"
_CARTPOLE_TESTS = (("cartpole", "yes", ()), ("cartpole+permute", "order no", ()))
_PPO = (_cards.Rival("ppo"), _cards.Rival("ppo", 5000, 100))
_MIXTURE_TESTS = (
    *_BANDIT_TESTS,
    ("contextual-bandit:sensors=2", "yes", ()),
    ("contextual-bandit:sensors=12", "yes", ()),
    ("contextual-bandit:sensors=32", "no", ()),
    ("cartpole", "yes", ()),
    ("cartpole+permute", "order no", _PPO),
    *_SENSORS_TESTS,
    ("cartpole:length=1", "no", ()),
    ("cartpole:force_mag=5", "no", ()),
)
MADE = {
    "symla-general": _cards.Recipe(
        command="symla train --curriculum general --seed {seed}",
        file="stage-4-more-of-both/learner.symla",
        folders=(".",),
        told="One learner for bandits of 2 to 16 arms, contextual bandits of 2 to 12 sensors, and "
        "CartPole with 0 to 3 and\n5 to 11 sensors that tell nothing: the curriculum `general` up "
        "to its fifth stage.",
        tests=(
            *_MIXTURE_TESTS,
            ("acrobot", "no", ()),
            ("mountain-car", "no", ()),
            ("heart-trap:observation=compass", "no", ()),
        ),
        limits="Lives of 100 steps in bandits, and of 500 in CartPole; rewards from -2 to 1. It "
        "does nothing useful in\nAcrobot, MountainCar and grids, which it never met, and little "
        "with more than about 8 sensors that tell nothing.",
    ),
    "symla-families": _cards.Recipe(
        command="symla train --curriculum general --seed {seed}",
        file="learner.symla",
        folders=(".",),
        told="One learner for bandits of 2 to 16 arms, contextual bandits of 2 to 12 sensors, "
        "CartPole with 0 to 3 and 5 to 11\nsensors that tell nothing, Acrobot, MountainCar, hearts "
        "and traps, and the goal world: the curriculum `general`.",
        tests=(
            *_MIXTURE_TESTS,
            ("acrobot", "yes", ()),
            ("acrobot+permute", "order no", ()),
            ("mountain-car", "yes", ()),
            ("mountain-car+permute", "order no", ()),
            ("heart-trap:observation=compass,size=3", "yes", ()),
            ("heart-trap:observation=compass", "yes", ()),
            ("heart-trap:observation=compass+swap", "no", ()),
            ("goal-world:observation=compass,size=4,obstacles=1", "yes", ()),
            ("goal-world:observation=compass+project", "yes", ()),
            ("pendulum", "no", ()),
        ),
        limits="Lives of 100 steps in bandits, and of up to 500 elsewhere; rewards from -2 to 1. "
        "`symla-general`, the same\ntraining before its last two stages, is better in bandits of "
        "two arms, in contextual bandits and in CartPole, above all\nwith sensors that tell "
        "nothing.",
    ),
    "symla-sensors": _cards.Recipe(
        command="symla train --curriculum sensors --normalise running --seed {seed}",
        file="learner.symla",
        folders=(".",),
        told="CartPole with 0 to 3, 5 to 11 and 13 to 16 sensors more, which tell nothing: idle "
        "ones, and noisy ones with a\nstandard deviation of 1. The curriculum `sensors`.",
        tests=(
            *_CARTPOLE_TESTS,
            *_SENSORS_TESTS,
            ("contextual-bandit:sensors=12", "yes", ()),
        ),
        limits="Lives of 500 steps of CartPole as `symla list tasks` describes it.",
    ),
    "symla-heart-trap": _cards.Recipe(
        command="symla reproduce figure-6 --seed {seed}",
        file="runs/SymLA-heart-trap/seed-{seed}/"
        "stage-2-contextual+heart-trap+heart-trap-small/learner.symla",
        folders=("runs/SymLA-contextual/seed-{seed}", "runs/SymLA-heart-trap/seed-{seed}"),
        told="One learner of figure 6: contextual bandits, the goal world, and then hearts and "
        "traps seen through a compass.",
        tests=(
            ("heart-trap:observation=compass", "yes", ()),
            ("heart-trap:observation=compass+swap", "no", ()),
            ("heart-trap:observation=compass+permute", "order no", ()),
            ("heart-trap:observation=compass,size=7", "no", ()),
            ("heart-trap:observation=compass,hearts=2,traps=2", "no", ()),
            ("goal-world:observation=compass", "no", ()),
        ),
        limits="Lives of 500 steps in small grids, seen through a compass.",
    ),
    "metagenrl-light": _cards.Recipe(
        command="symla reproduce metagenrl-figure-3 --seed {seed}",
        file=f"{_OBJECTIVE}/learner.symla",
        folders=(_OBJECTIVE,),
        told="An objective that trains newborn policies, from `metagenrl-figure-3`: agents in "
        "points of one and of two dimensions\nfollowed it, and their critics judged it. It has no "
        "size of an observation or an action.",
        tests=tuple(
            (f"point:dimensions={n},steps_in_episode=25", "yes" if n < 3 else "no", ())
            for n in (1, 2, 3, 4)
        ),
        limits="Continuous actions, lives of 16,000 steps in which a policy learns every fourth "
        "one, and rewards that come soon (a\ndiscount of 0.9). Beside TD3 and REINFORCE with the "
        "same networks and as many updates: the results of `metagenrl-figure-3`.",
        steps=16_000,
        lives=20,
    ),
    **{
        f"symla-{task}": _cards.Recipe(
            command="symla reproduce figure-5 --seed {seed}",
            file=f"runs/SymLA-{task}/seed-{{seed}}/stage-0-contextual+{task}/learner.symla",
            folders=("runs/SymLA-contextual/seed-{seed}", f"runs/SymLA-{task}/seed-{{seed}}"),
            told=f"One learner of figure 5: contextual bandits, and then {title} beside them.",
            tests=((task, "yes", ()), (f"{task}+permute", "order no", ())),
            limits=f"Lives of 500 steps of {title} as `symla list tasks` describes it.",
        )
        for task, title in figure_5.TASKS.items()
    },
}


def make(name: str, *, runs: Path, to: Path, seed: int = 0) -> dict:
    """Meta-train one of `RECIPES`, or take one of `MADE`; meta-test it and write it with its card.

    **Arguments:**

    - `name`: of the recipe.
    - `runs`: where the training is kept; it is resumed if it was cut off. For one of `MADE`, the
        folder that its command has filled.
    - `to`: where `NAME.symla` and `NAME.md` go.
    - `seed`: the meta-training seed.

    **Returns:**

    The scores in each test.
    """
    if name in MADE:
        return _cards.make(name, MADE[name], runs=runs, to=to, seed=seed)
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; there are: {', '.join((*RECIPES, *MADE))}.")
    recipe = RECIPES[name]
    tests = {str(arms): envs.BernoulliBandits(arms) for arms in SIZES}
    outcome = run([recipe], tests, steps=STEPS, seed=seed, out=runs, progress=True)
    regrets = {arms: _results.summary(outcome.regrets[name, arms]) for arms in tests}
    players = play(PLAYERS, tests, steps=STEPS, seed=seed, lives=LIVES)
    learner = meta.load(runs / "runs" / name / f"seed-{seed}" / "learner.symla")
    notes = {
        "budget": recipe.budget.describe(),
        "seed": seed,
        "regret": {arms: round(values["mean"], 3) for arms, values in regrets.items()},
    }
    meta.save(to / f"{name}.symla", learner, notes)
    card = _card(name, recipe, seed, regrets, players, outcome.seconds[name])
    (to / f"{name}.md").write_text(card)
    return regrets


def _card(
    name: str, recipe: Training, seed: int, regrets: dict, players: dict, seconds: float
) -> str:
    arms, budget, machine = getattr(recipe.tasks, "arms", "?"), recipe.budget, _results.machine()
    rows = [["arms", name, *PLAYERS]]
    for size, values in regrets.items():
        others = [f"{players[f'{player}->{size}']['mean']:.2f}" for player in PLAYERS]
        seen = size if size == str(arms) else f"{size} (never seen)"
        rows.append([seen, f"**{values['mean']:.2f}** ± {values['sem']:.2f}", *others])
    last_rate = budget.learning_rate * budget.last_rate
    return f"""# {name}

A SymLA with the default options of `rl.SymLA` (hidden size 16, messages of 8, mean reduction;
2,576 parameters), meta-trained from scratch on Bernoulli bandits with {arms} independent arms,
`p ~ U[0, 1]`, in lives of {STEPS} pulls.

## Scores

Expected cumulative regret after {STEPS} pulls, mean ± standard error over {LIVES} lives that
meta-training never saw (one meta-training, seed {seed}; all players live the same lives; lower is
better).

{_cards.table(rows)}

On other lives again: `symla evaluate --learner pretrained:{name} --arms {arms} --seed 1`.

## How it was made

`python -m experiments.pretrain {name} --seed {seed}`: an evolution strategy with
{budget.population} members (antithetic, centred ranks, all on the same lives), {budget.lives}
lives each, {budget.generations} generations, standard deviation {budget.std:g}, Adam with a
learning rate that falls exponentially from {budget.learning_rate:g} to {last_rate:g}, fitness
minus the expected regret. The last generation was taken; nothing was chosen by its score.

{seconds:.0f} seconds of generations on {machine["cores"]} shared cores
({machine["processor"]}); {_cards.versions(machine)}.

## Limits

Rewards of 0 and 1, one constant observation, about {STEPS} pulls. It has met nothing else.
"""


def main() -> None:
    """Parse the command line and make one learner."""
    import tyro

    def pretrain(
        name: tyro.conf.Positional[str],
        runs: Path = Path("runs/pretrain"),
        to: Path = Path("pretrained"),
        seed: int = 0,
    ) -> None:
        """Meta-train a learner that ships in pretrained/ and write its card."""
        make(name, runs=runs, to=to, seed=seed)

    tyro.cli(pretrain)


if __name__ == "__main__":
    main()
