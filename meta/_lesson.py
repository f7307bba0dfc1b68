"""What members live in a generation, and what a life is worth."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from jaxtyping import Array, Float

import rl

Fitness = Callable[[rl.Life], Float[Array, ""]]


def total_reward(life: rl.Life) -> Float[Array, ""]:
    """The undiscounted sum of the rewards of a life, the objective of SymLA."""
    return life.total_reward


def negative_regret(life: rl.Life) -> Float[Array, ""]:
    """Minus the expected regret of the actions taken, for tasks that have the metric.

    Up to a constant of the task it has the mean of the total reward and less noise: the luck of
    the draws is left out.
    """
    return -life.totals["regret"]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """Some lives that every member lives in each generation.

    With several lessons, the fitness of members is shaped (ranked, as a rule) within each one, and
    the search follows the mean of the shaped fitness by the weights of the lessons. So no
    lesson's scale of rewards drowns another's.

    - `tasks`: where the task of each life is drawn from. Lessons may have different sizes.
    - `steps`: environment steps of a life.
    - `lives`: lives of each member in each generation.
    - `weight`: how much the lesson counts, beside the weights of the others.
    - `fitness`: of a life, higher is better; a member's is the mean over its lives.
    - `name`: what the lesson is called in records; that of the class of `tasks` by default.

    **Raises:** `ValueError` for a number below one, a weight that is not above 0, or an empty
    name.
    """

    tasks: rl.TaskDistribution
    steps: int
    lives: int
    weight: float = 1.0
    fitness: Fitness = total_reward
    name: str | None = None

    def __post_init__(self):
        for name in ("steps", "lives"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"`weight` must be above 0 and finite, got {self.weight}.")
        if self.name is not None and not self.name.strip():
            raise ValueError("`name` must not be empty; leave it out for the name of the tasks.")


def lessons_of(
    tasks: rl.TaskDistribution | Lesson | Sequence[Lesson],
    steps: int | None = None,
    lives: int | None = None,
    fitness: Fitness | None = None,
) -> tuple[Lesson, ...]:
    """Lessons, each with a name of its own, from all that stands for them.

    **Arguments:**

    - `tasks`: the tasks of the only lesson, or all lessons.
    - `steps`, `lives`, `fitness`: of the only lesson, where `tasks` are tasks.

    **Raises:** `ValueError` for no lessons, two of one name, tasks without `steps` or `lives`, or
    lessons with any of the three beside them.
    """
    beside = {"steps": steps, "lives": lives, "fitness": fitness}
    if isinstance(tasks, rl.TaskDistribution):
        if steps is None or lives is None:
            missing = " and ".join(f"`{n}`" for n in ("steps", "lives") if beside[n] is None)
            raise ValueError(f"{missing} must be given with tasks; only lessons have their own.")
        lesson = Lesson(tasks, steps, lives, fitness=fitness or total_reward)
        return (dataclasses.replace(lesson, name=type(tasks).__name__),)
    given = [f"`{name}`" for name, value in beside.items() if value is not None]
    if given:
        raise ValueError(
            f"Lessons have their own steps, lives and fitness; leave out {', '.join(given)}."
        )
    lessons = (tasks,) if isinstance(tasks, Lesson) else tuple(tasks)
    if not lessons:
        raise ValueError("There must be at least one lesson, got none.")
    names = [lesson.name for lesson in lessons if lesson.name is not None]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Two lessons are called {twice[0]!r}; give each a `name` of its own.")
    named = []
    for lesson in lessons:
        name = plain = lesson.name or type(lesson.tasks).__name__
        number = 1
        while lesson.name is None and name in names:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
        named.append(dataclasses.replace(lesson, name=name))
    return tuple(named)
