"""Ready-made curricula: from a preset to stages of tasks.

JAX is imported in the functions only, so that names are known without it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Array

    import meta
    import rl

SENSORS = 4  # of the contextual bandits that come first
STEPS = 500
REDUCTION = "scaled"  # of messages: logits keep their scale when sensors are added
# Evolution learns most from many members that share one life, of which each generation has others.
MEMBERS = {"laptop": 256, "gpu": 2048, "paper": 512}
LIVES = {"laptop": 1, "gpu": 2, "paper": 10}
Scale = tuple[float, float]  # a standard deviation of perturbations, and a learning rate
# At the start and the end of a training, and between.
_HIGH, _MIDDLE, _LOW = (0.04, 0.016), (0.028, 0.008), (0.02, 0.004)
# Generations on each family, after the contextual bandits.
_GENERATIONS = {
    "cartpole": {"laptop": 800, "gpu": 2000, "paper": 20000},
    "acrobot": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "mountain-car": {"laptop": 300, "gpu": 2000, "paper": 20000},
    "heart-trap": {"laptop": 400, "gpu": 2000, "paper": 20000},
    "goal-world": {"laptop": 300, "gpu": 2000, "paper": 20000},
}


def fewer_falls(life: "rl.Life") -> "Array":
    """The total reward, and 10 less for each fall.

    An episode after a fall begins in the middle, where rewards are high, so that the total reward
    hardly tells a rare fall from none. Learners see the reward only.
    """
    return life.total_reward - 10.0 * life.totals["falls"]


def hardly_a_fall(life: "rl.Life") -> "Array":
    """The total reward, and 100 less for each fall: falls alone decide.

    For learners that fall once in hundreds of steps. Their lives differ by more than 10 in total
    reward, by where the cart stands.
    """
    return life.total_reward - 100.0 * life.totals["falls"]


def family(name: str, preset: str = "laptop") -> "rl.TaskDistribution":
    """The tasks of a family, as training and tests have them.

    **Arguments:**

    - `name`: of the family.
    - `preset`: small machines see grids through a compass, and not as images.
    """
    from rl import envs

    seen = _seen(preset)
    makers: dict[str, Callable[[], rl.TaskDistribution]] = {
        "cartpole": lambda: envs.Vary(envs.CartPole("dense")),
        "acrobot": lambda: envs.Vary(envs.Acrobot("dense")),
        "mountain-car": lambda: envs.Vary(envs.MountainCar("dense")),
        "heart-trap": lambda: envs.Vary(envs.HeartTrap(observation=seen)),
        "goal-world": lambda: envs.Project(envs.Vary(envs.GoalWorld(observation=seen))),
    }
    return makers[name]()


def _seen(preset: str) -> "Literal['image', 'compass']":
    return "compass" if preset == "laptop" else "image"


def warm_up(preset: str) -> "meta.Curriculum":
    """Contextual bandits: which of 1 to 4 sensors matters, and with which sign? Then of 2 to 12.

    Evolution that begins with control finds reflexes, and no learner; after this, it finds one.
    With one sensor there is only a sign to find out: that is where the search begins to climb. It
    is the same in all presets.
    """
    import meta
    from rl import envs

    del preset
    few, all_four = envs.ContextualBandits((1, SENSORS)), envs.ContextualBandits(SENSORS)
    first = meta.Stage(
        meta.Lesson(few, steps=100, lives=4, name="contextual"),
        1500,
        strategy(600, "laptop", (0.1, 0.03), (0.05, 0.015)),
        until=meta.Reached("right", all_four, steps=100, lives=200, at_least=0.96),
        test_every=25,
    )
    second = meta.Stage(
        meta.Lesson(many_sensors(), steps=100, lives=4, name="contextual-sizes"),
        100,
        strategy(100, "laptop", (0.05, 0.02), _HIGH),
    )
    return meta.Curriculum([first, second])


def control(name: str, preset: str) -> "meta.Curriculum":
    """One family, for a learner that has been through the `warm_up`.

    It goes on with contextual bandits beside it. Else evolution finds rules that tell the sensors
    apart without looking at rewards, and the learner forgets how to learn.
    """
    import meta

    generations = _GENERATIONS[name][preset]
    lessons = (contextual(LIVES[preset]), _lesson(name, preset, weight=2.0))
    if name == "heart-trap":
        return _rare_rewards(lessons, generations, preset)
    return meta.Curriculum([meta.Stage(lessons, generations, strategy(generations, preset))])


def _rare_rewards(
    lessons: "tuple[meta.Lesson, ...]", generations: int, preset: str
) -> "meta.Curriculum":
    """Hearts and traps, where rewards are rare, after worlds in which they are not.

    In the goal world every step pays; in a small world of hearts and traps things are near. Of the
    generations, a sixth has the goal world, a third all of these, and the rest no goal world.
    """
    import meta

    goal, near = _small("goal-world", preset), _small("heart-trap", preset)
    parts = (
        (lessons[:1] + (goal,), max(1, generations // 6)),
        (lessons + (goal, near), max(1, generations // 3)),
        (lessons + (near,), max(1, generations // 2)),
    )
    return meta.Curriculum(
        [meta.Stage(part, count, strategy(count, preset)) for part, count in parts]
    )


def _small(name: str, preset: str, weight: float = 1.0) -> "meta.Lesson":
    """Lives in a grid so small that things are near."""
    import meta
    from rl import envs

    seen = _seen(preset)
    world = envs.HeartTrap(3, observation=seen)
    if name == "goal-world":
        world = envs.GoalWorld(4, 1, observation=seen)
    return meta.Lesson(envs.Vary(world), 200, LIVES[preset], weight, name=f"{name}-small")


def plain(name: str, preset: str) -> "meta.Curriculum":
    """One family from scratch: what a MetaRNN gets, and everybody in the paper's preset."""
    import meta

    generations = _GENERATIONS[name][preset]
    std, rate = (0.035, 0.01) if preset == "paper" else (0.1, 0.03)
    evolution = meta.EvolutionStrategy(MEMBERS[preset], std, _adam(rate, generations, 0.2))
    return meta.Curriculum([meta.Stage(_lesson(name, preset), generations, evolution)])


def _lesson(name: str, preset: str, weight: float = 1.0) -> "meta.Lesson":
    """The lives on a family; what is maximised is the paper's in its preset."""
    import meta

    steady = name == "cartpole" and preset != "paper"
    return meta.Lesson(
        family(name, preset),
        steps=STEPS,
        lives=LIVES[preset],
        weight=weight,
        fitness=fewer_falls if steady else meta.total_reward,
        name=name,
    )


def general(preset: str) -> "meta.Curriculum":
    """Contextual bandits first, then a mixture of families and sizes: one learner for all.

    Sensors that tell nothing are 1 to 3 of them first, then 5 to 8, too, and then 5 to 11: never
    4 or 12. Bandits of few arms, rare among those of 2 to 16, come for themselves in the end. The
    other families of control, and grids, join last: what is learned from bandits and CartPole
    gives them a start. Grids count more in the end: their rewards come rarely, and they are slow.
    """
    import meta
    from rl import envs

    lives = LIVES[preset]
    cartpole = _lesson("cartpole", preset, weight=2.0)
    swings = tuple(_lesson(name, preset) for name in ("acrobot", "mountain-car"))

    def grids(weight: float) -> tuple[meta.Lesson, ...]:
        goals = family("goal-world", preset)
        return (
            _lesson("heart-trap", preset, weight),
            _small("heart-trap", preset, weight),
            meta.Lesson(goals, 200, lives, weight, name="goal-world"),
        )

    def arms(least: int, most: int, lives: int, name: str) -> meta.Lesson:
        tasks = envs.BernoulliBandits((least, most))
        return meta.Lesson(tasks, 100, lives, fitness=meta.negative_regret, name=name)

    def distracted(least: int, most: int, noisy: float = 0.5) -> meta.Lesson:
        tasks = envs.Distract(cartpole.tasks, (least, most), noisy)
        return meta.Lesson(tasks, STEPS, lives, 1.0, fewer_falls, f"distracted-{least}-{most}")

    first = (arms(2, 16, lives, "arms"), contextual(lives), cartpole, distracted(1, 3))
    last = (
        arms(2, 4, 8 * lives, "few-arms"),
        arms(2, 16, 2 * lives, "arms"),
        *first[1:],
        distracted(5, 11, noisy=0.75),
    )
    laptop = (1000, 600, 600, 500, 400)
    counts = {"laptop": laptop, "gpu": (4000,) * 5, "paper": (10000,) * 5}[preset]
    whole = (*last, *swings, *grids(2.0), _small("goal-world", preset, 2.0))
    stages = {
        "few-sensors": (first, counts[0], _HIGH, _MIDDLE),
        "many-sensors": ((*first, distracted(5, 8)), counts[1], _MIDDLE, _LOW),
        "more-of-both": (last, counts[2], (0.024, 0.006), (0.014, 0.0015)),
        "all-families": ((*last, *swings, *grids(1.0)), counts[3], _MIDDLE, (0.014, 0.0015)),
        "more-of-grids": (whole, counts[4], _MIDDLE, (0.014, 0.0015)),
    }
    return _after_warm_up(stages, preset)


def sensors(preset: str) -> "meta.Curriculum":
    """Contextual bandits first, then CartPole with sensors that tell nothing: 0 to 3, 5 to 11,
    and at last 13 to 16. Never are there 4 or 12.

    How many of them are noisy is drawn for each life, and later there are lives where all are idle
    or all noisy. First the learner has to stand up in most lives, then to fall in none, and at
    last in none of 800 steps: falls come late in a life.
    """
    import meta
    from rl import envs

    lives, cartpoles = LIVES[preset], family("cartpole", preset)

    def cartpole(
        fitness: "meta.Fitness",
        numbers: tuple[int, int],
        name: str,
        noisy: float | tuple[float, float] = (0.0, 1.0),
        weight: float = 1.0,
        steps: int = STEPS,
    ) -> meta.Lesson:
        tasks = envs.Distract(cartpoles, numbers, noisy)
        return meta.Lesson(tasks, steps, lives, weight, fitness, name)

    def most(idle: float, noisy: float, steps: int) -> tuple[meta.Lesson, ...]:
        return (
            cartpole(hardly_a_fall, (13, 16), "most-idle", 0.0, idle, steps),
            cartpole(hardly_a_fall, (13, 16), "most-noisy", 1.0, noisy, steps),
        )

    few, many = (0, 3), (5, 11)
    stand = (
        contextual(lives),
        cartpole(fewer_falls, few, "few"),
        cartpole(fewer_falls, many, "many"),
    )
    steady = (contextual(lives, weight=0.4), cartpole(hardly_a_fall, few, "few"))
    mixed = cartpole(hardly_a_fall, many, "many")
    idle = cartpole(hardly_a_fall, many, "many-idle", noisy=0.0, weight=0.7)
    noisy = cartpole(hardly_a_fall, many, "many-noisy", noisy=1.0, weight=1.5)
    longer = cartpole(hardly_a_fall, many, "many-noisy", noisy=1.0, weight=1.5, steps=800)
    high, low = (0.022, 0.006), (0.011, 0.001)
    late, last = (0.012, 0.003), (0.008, 0.0006)
    first, then = {"laptop": (1600, 800), "gpu": (4000, 4000), "paper": (20000, 20000)}[preset]
    stages = {
        "sensors": (stand, first, _HIGH, _LOW),
        "steady": ((*steady, mixed, idle), then, high, low),
        "steady-in-noise": ((*steady, idle, noisy), then, high, low),
        "steadier": ((*steady, idle, noisy), then * 7 // 8, (0.016, 0.004), last),
        "most": ((*steady, idle, noisy, *most(1.5, 1.2, STEPS)), then * 3 // 8, late, last),
        "longer": ((*steady, longer, *most(1.0, 2.0, 800)), then // 3, late, (0.007, 0.0005)),
        "longest": ((*steady, longer, *most(1.0, 3.0, 800)), then // 4, late, (0.006, 0.0004)),
    }
    return _after_warm_up(stages, preset)


def _after_warm_up(
    stages: "Mapping[str, tuple[tuple[meta.Lesson, ...], int, Scale, Scale]]", preset: str
) -> "meta.Curriculum":
    """Contextual bandits, and then stages: lessons, generations, and how `strategy` starts and
    ends.
    """
    import meta

    later = [
        meta.Stage(lessons, count, strategy(count, preset, start, end), name=name)
        for name, (lessons, count, start, end) in stages.items()
    ]
    return meta.Curriculum([*warm_up(preset).stages, *later])


def contextual(lives: int, weight: float = 1.0) -> "meta.Lesson":
    """What stays beside other families, so that the learner goes on learning from rewards."""
    import meta

    return meta.Lesson(many_sensors(), 100, lives, weight, name="contextual")


def many_sensors() -> "rl.TaskDistribution":
    from rl import envs

    return envs.ContextualBandits((2, 3 * SENSORS))


def strategy(
    generations: int,
    preset: str,
    start: Scale = _HIGH,
    end: Scale = _LOW,
    *,
    parts: int | None = None,
) -> "meta.EvolutionStrategy":
    """Perturbations and steps that become smaller: first the way, then the skill.

    **Arguments:**

    - `generations`: over which they do.
    - `preset`: gives the number of members.
    - `start`, `end`: standard deviation and learning rate at both.
    - `parts`: cut lives into so many, and search by persistent evolution strategies.
    """
    import optax

    import meta

    (std, rate), (last_std, last_rate) = start, end
    schedule = optax.exponential_decay(std, generations, last_std / std)
    optimizer = _adam(rate, generations, last_rate / rate)
    if parts is None:
        return meta.EvolutionStrategy(MEMBERS[preset], schedule, optimizer)
    return meta.PersistentES(MEMBERS[preset], schedule, optimizer, parts=parts)


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
    "sensors": sensors,
    **{name: _whole(name) for name in _GENERATIONS},
}
