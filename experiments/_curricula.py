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
# Evolution learns most from many members that share one life, of which each generation has others.
_MEMBERS = {"laptop": 256, "gpu": 2048, "paper": 512}
_LIVES = {"laptop": 1, "gpu": 2, "paper": 10}
# Generations on each family, after the contextual bandits.
_GENERATIONS = {
    "cartpole": {"laptop": 1600, "gpu": 2000, "paper": 20000},
    "acrobot": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "mountain-car": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "heart-trap": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "goal-world": {"laptop": 300, "gpu": 2000, "paper": 20000},
}


def fewer_falls(life: "rl.Life") -> "Array":
    """The total reward, and 10 less for each fall.

    An episode after a fall begins in the middle, where rewards are high, so that the total reward
    hardly tells a rare fall from none. Learners see the reward only.
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
    It is the same in all presets.
    """
    import meta
    from rl import envs

    del preset
    few, many = envs.ContextualBandits(SENSORS), _many_sensors()
    first = meta.Stage(
        meta.Lesson(few, steps=100, lives=16, name="contextual"),
        1500,
        meta.EvolutionStrategy(64, 0.1, _adam(0.03)),
        until=meta.Reached("right", few, steps=100, lives=200, at_least=0.96),
        test_every=50,
    )
    second = meta.Stage(
        meta.Lesson(many, steps=100, lives=16, name="contextual-sizes"),
        100,
        meta.EvolutionStrategy(64, 0.05, _adam(0.02)),
    )
    return meta.Curriculum([first, second])


def control(name: str, preset: str) -> "meta.Curriculum":
    """One family, for a learner that has been through the `warm_up`.

    It goes on with contextual bandits beside it. Else evolution finds rules that tell the sensors
    apart without looking at rewards, and the learner forgets how to learn.
    """
    import meta

    generations = _GENERATIONS[name][preset]
    lessons = (_contextual(preset), _lesson(name, preset, weight=2.0))
    return meta.Curriculum([meta.Stage(lessons, generations, _strategy(generations, preset))])


def plain(name: str, preset: str) -> "meta.Curriculum":
    """One family from scratch: what a MetaRNN gets, and everybody in the paper's preset."""
    import meta

    generations = _GENERATIONS[name][preset]
    std, rate = (0.035, 0.01) if preset == "paper" else (0.1, 0.03)
    strategy = meta.EvolutionStrategy(_MEMBERS[preset], std, _adam(rate, generations, 0.2))
    return meta.Curriculum([meta.Stage(_lesson(name, preset), generations, strategy)])


def _lesson(name: str, preset: str, weight: float = 1.0) -> "meta.Lesson":
    """The lives on a family; what is maximised is the paper's in its preset."""
    import meta

    steady = name == "cartpole" and preset != "paper"
    return meta.Lesson(
        family(name, preset),
        steps=STEPS,
        lives=_LIVES[preset],
        weight=weight,
        fitness=fewer_falls if steady else meta.total_reward,
        name=name,
    )


def general(preset: str) -> "meta.Curriculum":
    """Contextual bandits first, then a mixture of families and sizes: one learner for all.

    Sensors that tell nothing are 1 to 3 of them first, then 5 to 8, too, and at last 5 to 11: never
    4 or 12. Bandits of few arms, rare among those of 2 to 16, come for themselves at last.
    """
    import meta
    from rl import envs

    lives = _LIVES[preset]
    cartpole = _lesson("cartpole", preset, weight=2.0)

    def arms(least: int, most: int, lives: int, name: str) -> meta.Lesson:
        tasks = envs.BernoulliBandits((least, most))
        return meta.Lesson(tasks, 100, lives, fitness=meta.negative_regret, name=name)

    def distracted(least: int, most: int, noisy: float = 0.5) -> meta.Lesson:
        tasks = envs.Distract(cartpole.tasks, (least, most), noisy)
        return meta.Lesson(tasks, STEPS, lives, 1.0, fewer_falls, f"distracted-{least}-{most}")

    first = (arms(2, 16, lives, "arms"), _contextual(preset), cartpole, distracted(1, 3))
    last = (
        arms(2, 4, 8 * lives, "few-arms"),
        arms(2, 16, 2 * lives, "arms"),
        *first[1:],
        distracted(5, 11, noisy=0.75),
    )
    parts = {
        "few-sensors": (first, _HIGH, _MIDDLE),
        "many-sensors": ((*first, distracted(5, 8)), _MIDDLE, _LOW),
        "more-of-both": (last, (0.024, 0.006), (0.014, 0.0015)),
    }
    generations = {"laptop": (1000, 600, 600), "gpu": (4000,) * 3, "paper": (10000,) * 3}[preset]
    stages = [
        meta.Stage(lessons, count, _strategy(count, preset, start, end), name=name)
        for (name, (lessons, start, end)), count in zip(parts.items(), generations, strict=True)
    ]
    return meta.Curriculum([*warm_up(preset).stages, *stages])


def _contextual(preset: str) -> "meta.Lesson":
    """What stays beside other families, so that the learner goes on learning from rewards."""
    import meta

    return meta.Lesson(_many_sensors(), 100, _LIVES[preset], name="contextual")


def _many_sensors() -> "rl.TaskDistribution":
    from rl import envs

    return envs.ContextualBandits((2, 3 * SENSORS))


# Standard deviation and learning rate at the start and the end of a training, and between.
_HIGH, _MIDDLE, _LOW = (0.04, 0.016), (0.028, 0.008), (0.02, 0.004)


def _strategy(
    generations: int,
    preset: str,
    start: tuple[float, float] = _HIGH,
    end: tuple[float, float] = _LOW,
) -> "meta.EvolutionStrategy":
    """Perturbations and steps that become smaller: first the way, then the skill."""
    import optax

    import meta

    (std, rate), (last_std, last_rate) = start, end
    return meta.EvolutionStrategy(
        _MEMBERS[preset],
        optax.exponential_decay(std, generations, last_std / std),
        _adam(rate, generations, last_rate / rate),
    )


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
