"""Which outer loop makes a learner of CartPole? An ablation, with what each loop costs."""

from pathlib import Path
from typing import TYPE_CHECKING

import rl

from . import _curricula, _life_figure, _life_study, _results
from ._bandit_study import LearnerFactory
from ._life_study import Outcome, Probe, Row

if TYPE_CHECKING:
    import meta

DESCRIPTION = "outer loops that bring SymLA to CartPole, with the costs of each (an ablation)"
PRESETS = ("laptop", "gpu")

ROOT = "contextual"
LOOPS = {
    "evolution": "whole lives of 500 steps, after contextual bandits",
    "from-scratch": "the same, without contextual bandits before or beside it",
    "short-lives-first": "lives of 100 steps, then 200, then 500",
    "persistent": "persistent evolution strategies, five parts of each life",
    "actor-critic": "gradients through the whole life",
}
PROBE = "cartpole"
# Environment steps of all members together: as many for all, but for the gradient, each of whose
# steps takes about ten times as long; it has a tenth of them.
_STEPS = {"laptop": 120_000_000, "gpu": 2_000_000_000}
_SEEDS = {"laptop": 1, "gpu": 3}
_SHORTER = ((0.2, 0.25), (0.4, 0.25), (1.0, 0.5))  # share of a whole life, share of all steps


def rows(preset: str) -> list[Row]:
    """The contextual learner, and what each outer loop makes of it."""
    make = LearnerFactory(rl.SymLA, reduction=_curricula.REDUCTION)
    root = Row(ROOT, make, _curricula.warm_up(preset))
    scratch = Row("from-scratch", make, _whole_lives(preset, contextual=False))
    others = {
        "evolution": _whole_lives(preset),
        "short-lives-first": _short_lives_first(preset),
        "persistent": _persistent(preset),
        "actor-critic": _actor_critic(preset),
    }
    return [root, scratch, *(Row(name, make, one, after=ROOT) for name, one in others.items())]


def reproduce(preset: str, *, seed: int = 0, out: Path, progress: bool = False) -> dict:
    """Run the ablation; see `experiments.reproduce`."""
    compared = rows(preset)
    seen = Probe(PROBE, _curricula.family("cartpole", preset), _curricula.STEPS)
    outcome, told = _life_study.report(
        compared,
        {row.name: [seen] for row in compared},
        _life_figure.PLAYERS,
        seeds=range(seed, seed + _SEEDS[preset]),
        lives=_life_figure.LIVES,
        out=out,
        progress=progress,
    )
    costs = {row.name: environment_steps(row.curriculum) for row in compared}
    result = {
        "figure": "outer-loops",
        "preset": preset,
        "loops": LOOPS,
        "environment_steps": costs,
        **told,
        "claims": claims(outcome),
    }
    _life_figure.write(
        result,
        outcome,
        out,
        preset,
        title="Outer loops that bring SymLA to CartPole",
        panels={"CartPole": {(name, ""): (name, PROBE) for name in LOOPS}},
        levels={"CartPole": {"random": ("random", PROBE), "contextual": (ROOT, PROBE)}},
    )
    return result


def claims(outcome: Outcome) -> list[_results.Claim]:
    """What the project says of outer loops, decided by what was measured."""
    upright = {name: outcome.without(name, PROBE, "falls") for name in LOOPS}
    best = max(upright, key=lambda name: upright[name])
    return [
        {
            "claim": "Contextual bandits first: evolution from scratch finds no learner of "
            "CartPole at this budget.",
            "measured": {name: upright[name] for name in ("evolution", "from-scratch")},
            "criterion": "share of lives without a fall in their last fifth above 0.3 after "
            "contextual bandits, below 0.1 from scratch",
            "holds": upright["evolution"] > 0.3 and upright["from-scratch"] < 0.1,
        },
        {
            "claim": "No other outer loop does better than evolution over whole lives.",
            "measured": upright,
            "criterion": "no share of lives without a fall above that of evolution",
            "holds": upright[best] <= upright["evolution"],
        },
    ]


def environment_steps(curriculum: "meta.Curriculum") -> int:
    """The environment steps of all members in all generations, at most."""
    total = 0
    for stage in curriculum.stages:
        parts = getattr(stage.strategy, "parts", 1)
        members = getattr(stage.strategy, "population", 1)
        lived = sum(one.steps * one.lives for one in stage.lessons)
        total += stage.generations * members * lived // parts
    return total


def _lessons(preset: str, steps: int, lives: int, contextual: bool = True) -> "list[meta.Lesson]":
    """CartPole for so many steps of a life, and contextual bandits beside it."""
    import meta

    tasks = _curricula.family("cartpole", preset)
    cartpole = meta.Lesson(tasks, steps, lives, 2.0, _curricula.fewer_falls, "cartpole")
    return [_curricula.contextual(lives), cartpole] if contextual else [cartpole]


def _stage(
    preset: str, share: float, lessons: "list[meta.Lesson]", name: str, parts: int | None = None
) -> "meta.Stage":
    """A stage that spends a share of all environment steps."""
    import meta

    members = _curricula.MEMBERS[preset]
    lived = sum(one.steps * one.lives for one in lessons) // (parts or 1)
    generations = max(1, round(share * _STEPS[preset] / (members * lived)))
    strategy = _curricula.strategy(generations, preset, parts=parts)
    return meta.Stage(lessons, generations, strategy, name=name)


def _whole_lives(preset: str, contextual: bool = True) -> "meta.Curriculum":
    import meta

    lessons = _lessons(preset, _curricula.STEPS, _curricula.LIVES[preset], contextual)
    return meta.Curriculum([_stage(preset, 1.0, lessons, "cartpole")])


def _short_lives_first(preset: str) -> "meta.Curriculum":
    import meta

    lives, stages = _curricula.LIVES[preset], []
    for length, share in _SHORTER:
        steps = round(length * _curricula.STEPS)
        stages.append(_stage(preset, share, _lessons(preset, steps, lives), f"{steps}-steps"))
    return meta.Curriculum(stages)


def _persistent(preset: str) -> "meta.Curriculum":
    import meta

    lessons = _lessons(preset, _curricula.STEPS, _curricula.LIVES[preset])
    return meta.Curriculum([_stage(preset, 1.0, lessons, "cartpole", parts=5)])


def _actor_critic(preset: str) -> "meta.Curriculum":
    """Lives that a gradient goes back through; the total reward, as it has no ranks."""
    import optax

    import meta

    lives = 32
    lessons = [
        meta.Lesson(one.tasks, one.steps, lives, one.weight, name=one.name)
        for one in _lessons(preset, _curricula.STEPS, lives)
    ]
    lived = lives * sum(one.steps for one in lessons)
    generations = max(1, round(0.1 * _STEPS[preset] / lived))
    rate = optax.exponential_decay(3e-3, generations, 0.2)
    strategy = meta.ActorCritic(optax.adam(rate))
    return meta.Curriculum([meta.Stage(lessons, generations, strategy, name="cartpole")])
