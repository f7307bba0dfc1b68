"""Ready-made curricula: from a preset to stages of tasks.

JAX is imported in the functions only, so that names are known without it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Array

    import meta
    import rl

SENSORS = 4  # of the contextual bandits that come first
STEPS = 500
REDUCTION = "scaled"  # of messages: logits keep their scale when sensors are added
_MEMBERS = {"laptop": 64, "gpu": 512, "paper": 512}
_LIVES = {"laptop": 8, "gpu": 32, "paper": 10}
# Generations on each family, after the contextual bandits.
_GENERATIONS = {
    "cartpole": {"laptop": 800, "gpu": 2000, "paper": 20000},
    "acrobot": {"laptop": 150, "gpu": 2000, "paper": 20000},
    "mountain-car": {"laptop": 200, "gpu": 2000, "paper": 20000},
    "heart-trap": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "goal-world": {"laptop": 300, "gpu": 2000, "paper": 20000},
}


def fewer_falls(life: "rl.Life") -> "Array":
    """The total reward, and 10 less for each fall.

    A cart that drifts out of the track begins anew in the middle, where rewards are high, so that
    its total reward hardly tells it from one that stays. Learners see the reward only.
    """
    return life.total_reward - 10.0 * life.totals["falls"]


def family(name: str, preset: str = "laptop") -> "rl.TaskDistribution":
    """The tasks of a family, as training and tests have them.

    **Arguments:**

    - `name`: of the family.
    - `preset`: small machines see grids through a compass, and not as images.
    """
    from rl import envs

    seen = "compass" if preset == "laptop" else "image"
    makers: dict[str, Callable[[], rl.TaskDistribution]] = {
        "cartpole": lambda: envs.Vary(envs.CartPole("dense")),
        "acrobot": lambda: envs.Vary(envs.Acrobot("dense")),
        "mountain-car": lambda: envs.Vary(envs.MountainCar("dense")),
        "heart-trap": lambda: envs.Vary(envs.HeartTrap(observation=seen)),
        "goal-world": lambda: envs.Project(envs.Vary(envs.GoalWorld(observation=seen))),
    }
    return makers[name]()


def warm_up(preset: str) -> "meta.Curriculum":
    """Contextual bandits: which of four sensors matters, and with which sign? Then of 2 to 12.

    Evolution that begins with control finds reflexes, and no learner; after this, it finds one.
    """
    import meta
    from rl import envs

    members = _MEMBERS[preset]
    few, many = envs.ContextualBandits(SENSORS), envs.ContextualBandits((2, 3 * SENSORS))
    first = meta.Stage(
        meta.Lesson(few, steps=100, lives=16, name="contextual"),
        1500,
        meta.EvolutionStrategy(members, 0.1, _adam(0.03)),
        until=meta.Reached("right", few, steps=100, lives=200, at_least=0.96),
        test_every=50,
    )
    second = meta.Stage(
        meta.Lesson(many, steps=100, lives=16, name="contextual-sizes"),
        100,
        meta.EvolutionStrategy(members, 0.05, _adam(0.02)),
    )
    return meta.Curriculum([first, second])


def control(name: str, preset: str) -> "meta.Curriculum":
    """One family, for a learner that has been through the `warm_up`."""
    import meta

    generations = _GENERATIONS[name][preset]
    strategy = meta.EvolutionStrategy(_MEMBERS[preset], 0.05, _adam(0.02, generations, 0.2))
    return meta.Curriculum([meta.Stage(_lesson(name, preset), generations, strategy)])


def plain(name: str, preset: str) -> "meta.Curriculum":
    """One family from scratch: what a MetaRNN gets, and everybody in the paper's preset."""
    import meta

    generations = _GENERATIONS[name][preset]
    std, rate = (0.035, 0.01) if preset == "paper" else (0.1, 0.03)
    strategy = meta.EvolutionStrategy(_MEMBERS[preset], std, _adam(rate, generations, 0.2))
    return meta.Curriculum([meta.Stage(_lesson(name, preset), generations, strategy)])


def _lesson(name: str, preset: str) -> "meta.Lesson":
    """The lives on a family; what is maximised is the paper's in its preset."""
    import meta

    steady = name == "cartpole" and preset != "paper"
    return meta.Lesson(
        family(name, preset),
        steps=STEPS,
        lives=_LIVES[preset],
        fitness=fewer_falls if steady else meta.total_reward,
        name=name,
    )


def general(preset: str) -> "meta.Curriculum":
    """Contextual bandits first, then a mixture of families and sizes: one learner for all."""
    import meta
    from rl import envs

    cartpole, few = envs.Vary(envs.CartPole("dense")), max(2, _LIVES[preset] // 2)
    lessons = (
        meta.Lesson(
            envs.BernoulliBandits((2, 16)), 100, 8, fitness=meta.negative_regret, name="arms"
        ),
        meta.Lesson(envs.ContextualBandits((2, 12)), 100, 8, name="contextual"),
        meta.Lesson(cartpole, STEPS, few, 2.0, fewer_falls, "cartpole"),
        meta.Lesson(envs.Distract(cartpole), STEPS, few + 2, 2.0, fewer_falls, "distracted"),
    )
    generations = {"laptop": 1200, "gpu": 4000, "paper": 20000}[preset]
    strategy = meta.EvolutionStrategy(_MEMBERS[preset], 0.05, _adam(0.02, generations, 0.2))
    return meta.Curriculum([*warm_up(preset).stages, meta.Stage(lessons, generations, strategy)])


def _adam(rate: float, generations: int | None = None, last: float = 1.0):
    """Adam, with a rate that falls exponentially to a share of the first."""
    import optax

    return optax.adam(
        rate if generations is None else optax.exponential_decay(rate, generations, last)
    )


def _whole(name: str) -> "Callable[[str], meta.Curriculum]":
    def make(preset: str) -> "meta.Curriculum":
        import meta

        return meta.Curriculum([*warm_up(preset).stages, *control(name, preset).stages])

    make.__doc__ = f"Contextual bandits first, then {name}."
    return make


CURRICULA: "dict[str, Callable[[str], meta.Curriculum]]" = {
    "contextual": warm_up,
    "general": general,
    **{name: _whole(name) for name in _GENERATIONS},
}
