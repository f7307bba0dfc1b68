"""The outer loops of `symla train`: what each spends, and the strategy that it is.

What is heavy is imported where it is needed: the numbers below are read by --help.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._presets import PRESETS

if TYPE_CHECKING:
    import meta

Numbers = Mapping[str, int | float]
_EVERY = 4  # steps of MetaGenRL's agents between two updates, on a laptop
_PART = 400  # such steps in a generation, at most
_EPOCHS, _MINIBATCHES = 4, 4
_OF_EVOLUTION = ("generations", "population", "lives", "std", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Loop:
    """An outer loop.

    - `description`: what it does.
    - `numbers`: for each preset, what it spends and at which rates, by option of `symla train`.
    - `options`: of `symla train` that not all outer loops have, and this one does.
    - `strategy`: makes it, from the settings of a training.
    - `parts`: from the settings, of how many equal parts each generation is, which devices can
        share, and what these are.
    - `learner`: the one that it is for; `None` for many.
    - `lived`: environment steps in one generation, from those of a life.
    - `test_lives`: lives of the test at the end.
    """

    description: str
    numbers: Mapping[str, Numbers]
    options: tuple[str, ...]
    strategy: Callable[[Mapping[str, Any]], "meta.Strategy"]
    parts: Callable[[Mapping[str, Any]], tuple[int, str]]
    learner: str | None = None
    lived: Callable[[int], int] = lambda steps: steps
    test_lives: int = 1000


def default(learner: str) -> str:
    """The outer loop of a learner: its own, if it has one, and evolution otherwise."""
    return next((name for name, loop in LOOPS.items() if loop.learner == learner), "evolution")


def agent(how: Mapping[str, Any]) -> dict[str, Any]:
    """Options of MetaGenRL's agents, of which a preset's life is long enough to learn in.

    **Arguments:**

    - `how`: the settings of a training by critics.
    """
    steps = max(lesson["steps"] for lesson in how["lessons"])
    options: dict[str, Any] = {"discount": how["discount"]}
    if how["preset"] == "paper":
        large: dict[str, Any] = {"hidden_sizes": (350, 350), "batch_size": 100}
        return options | large | {"capacity": 1_000_000, "warm_up": 10_000}
    length = 10 if how["preset"] == "laptop" else 20
    options |= {"warm_up": max(length, steps // 10), "critic_warm_up": max(length, steps // 40)}
    options |= {"segment_length": length, "capacity": max(2 * length, 3 * steps // 4)}
    options |= {"mirrored": True}
    if how["preset"] == "laptop":
        options |= {"hidden_sizes": (32, 32), "batch_size": 4, "every": _EVERY}
        options |= {"exploration_noise": 0.3}
        options |= {"action_input": "difference", "error_input": True}
    return options


def _part(steps: int) -> int:
    """Environment steps of each agent of MetaGenRL in a generation, where lives have so many."""
    return max(_EVERY, min(_PART, steps) // _EVERY * _EVERY)


def _evolution(how: Mapping[str, Any]) -> "meta.Strategy":
    import optax

    import meta

    return meta.EvolutionStrategy(
        how["population"],
        how["std"],
        optax.adam(how["learning_rate"]),
        shaping=how["shaping"],
        common_random_numbers=how["common_random_numbers"],
    )


def _actor_critic(clip: float | None, epochs: int, minibatches: int):
    """A policy gradient over whole lives, whose rate and bonus for undecided choices fall."""

    def strategy(how: Mapping[str, Any]) -> "meta.Strategy":
        import optax

        import meta

        updates = how["generations"] * epochs * minibatches
        rate = optax.exponential_decay(how["learning_rate"], updates, 0.05)
        return meta.ActorCritic(
            optax.adam(rate, eps=1e-5),
            critic_optimizer=optax.adam(rate, eps=1e-5),
            critic_size=48,
            discount=how["discount"],
            entropy_weight=optax.linear_schedule(0.03, 0.0, how["generations"]),
            clip=clip,
            epochs=epochs,
            minibatches=minibatches,
        )

    return strategy


def _critics(how: Mapping[str, Any]) -> "meta.Strategy":
    import optax

    import meta

    if how["preset"] == "paper":
        optimizer = optax.adam(how["learning_rate"])
        return meta.CriticGradient(optimizer, inner_reduction="sum", annealing=10_000)
    steps = max(lesson["steps"] for lesson in how["lessons"])
    spent = how["generations"] * _part(steps)
    updates = max(1, spent // (2 * agent(how).get("every", 1)))
    return meta.CriticGradient(
        optax.adam(optax.exponential_decay(how["learning_rate"], updates, 0.1)),
        annealing=spent // 12,
    )


_LIVES = {
    "laptop": {"generations": 300, "lives": 256, "learning_rate": 3e-3, "discount": 0.95},
    "gpu": {"generations": 1200, "lives": 2048, "learning_rate": 3e-3, "discount": 0.95},
    "paper": {"generations": 1000, "lives": 2400, "learning_rate": 2e-4, "discount": 0.99},
}
LOOPS: Mapping[str, Loop] = MappingProxyType(
    {
        "evolution": Loop(
            "an evolution strategy: a population of perturbed learners, and steps towards the "
            "better ones; for any learner",
            {
                name: {field: getattr(preset, field) for field in _OF_EVOLUTION}
                for name, preset in PRESETS.items()
            },
            ("population", "std", "fitness", "shaping", "common_random_numbers", "test_every"),
            _evolution,
            lambda how: (how["population"] // 2, "pairs of members"),
        ),
        "a2c": Loop(
            "policy gradients through whole lives, less what a critic expected (RL2); for "
            "differentiable learners",
            _LIVES,
            ("discount", "test_every"),
            _actor_critic(None, 1, 1),
            lambda how: (how["lives"], "lives"),
        ),
        "ppo": Loop(
            f"proximal policy optimisation over whole lives (RL2), {_EPOCHS} epochs of "
            f"{_MINIBATCHES} minibatches in a generation; likewise",
            _LIVES,
            ("discount", "test_every"),
            _actor_critic(0.2, _EPOCHS, _MINIBATCHES),
            lambda how: (how["lives"] // _MINIBATCHES, "lives of a minibatch"),
        ),
        "critics": Loop(
            "gradients of critics through steps of policies down a learned objective, while "
            "agents live on (MetaGenRL); a generation is a part of their lives",
            {
                "laptop": {
                    **{"generations": 240, "lives": 32, "steps": 16_000},
                    **{"learning_rate": 1e-3, "discount": 0.9},
                },
                "gpu": {
                    **{"generations": 750, "lives": 64, "steps": 100_000},
                    **{"learning_rate": 1e-3, "discount": 0.99},
                },
                "paper": {
                    **{"generations": 1500, "lives": 20, "steps": 1_000_000},
                    **{"learning_rate": 1e-3, "discount": 0.99},
                },
            },
            ("discount",),
            _critics,
            lambda how: (how["lives"], "agents of a task"),
            learner="metagenrl",
            lived=_part,
            test_lives=20,
        ),
    }
)
