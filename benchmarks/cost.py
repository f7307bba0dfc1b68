"""What the meta-trainings of the paper's figures cost here: a few generations, extrapolated.

    python -m benchmarks.cost

A generation of the paper's size would take long on a small machine, so each training is measured
with fewer members, and its environment steps per second are taken for those of the whole.
"""

import dataclasses
import statistics
from typing import TYPE_CHECKING

from experiments import use_all_cores

if TYPE_CHECKING:
    from .cases import Case


@dataclasses.dataclass(frozen=True)
class Training:
    """One meta-training of the paper (appendix of arXiv:2109.10781).

    - `figure`: the figure it is for.
    - `text`: what it is.
    - `case`: the preset's case it resembles.
    - `sizes`: `A`, `B` and `N`.
    - `lives`, `steps`, `generations`: its budget; the population is 512.
    - `runs`: how many of them the figure has, with three seeds each.
    """

    figure: str
    text: str
    case: str
    sizes: tuple[int, int, int]
    lives: int
    steps: int
    generations: int
    runs: int


_POPULATION = 512
_MEMBERS = 32  # measured instead
TRAININGS = (
    Training("3", "SymLA, 2 arms, 5 settings", "bandit", (1, 2, 64), 100, 100, 4_000, 15),
    Training("4", "SymLA, 2 arms", "bandit", (1, 2, 64), 100, 100, 4_000, 3),
    Training("4", "SymLA, 8 arms", "bandit", (1, 8, 64), 100, 100, 4_000, 3),
    Training("4", "SymLA, 10 arms", "bandit", (1, 10, 64), 100, 100, 4_000, 3),
    Training("4", "SymLA, 12 arms", "bandit", (1, 12, 64), 100, 100, 4_000, 3),
    Training("5", "SymLA, CartPole", "control", (4, 2, 16), 10, 500, 20_000, 3),
    Training("5", "SymLA, Acrobot's size", "waves", (6, 3, 16), 10, 500, 20_000, 3),
    Training("5", "SymLA, MountainCar's size", "waves", (2, 3, 16), 10, 500, 20_000, 3),
    Training("6", "SymLA, grid of 5 x 5 x 3", "waves", (75, 4, 16), 10, 500, 20_000, 3),
    Training("7", "SymLA, projected to 16", "waves", (16, 4, 16), 10, 500, 20_000, 3),
)


def case_of(training: Training) -> "Case":
    """The case that is measured."""
    from .cases import Case

    inputs, outputs, units = training.sizes
    steps = min(training.steps, 100)
    lives = 16 if training.lives > 16 else training.lives
    return Case(training.case, inputs, outputs, units, members=_MEMBERS, lives=lives, steps=steps)


def main() -> None:
    """Measure all of them and print a table."""
    use_all_cores()  # before anything below starts JAX
    import jax

    from . import floor, machine, programs, suite

    rates = machine.rates()
    rows = []
    for training in TRAININGS:
        case = case_of(training)
        program = programs.ours(case, case.learner, suite.shares(case, jax.devices()), 1)
        seconds = statistics.median(suite.in_turns({"ours": program}, 5)["ours"])
        speed = program.steps / seconds
        total = _POPULATION * training.lives * training.steps * training.generations
        petaflop = total * floor.operations_per_step(case, case.learner) / 1e15
        hours = total / speed / 3600
        rows.append((training, speed, petaflop, hours))
    described = machine.describe()
    print(
        f"{described['processor']}, {described['cores']} cores, "
        f"{rates['operations_per_second'] / 1e9:.0f} GFLOP/s of float32 products of matrices"
    )
    print("| figure | training | steps/s | PFLOP a run | hours a run | runs | hours in all |")
    print("|---|---|---|---|---|---|---|")
    for training, speed, petaflop, hours in rows:
        print(
            f"| {training.figure} | {training.text} | {speed:,.0f} | {petaflop:.1f} | "
            f"{hours:,.1f} | {training.runs} | {hours * training.runs:,.0f} |"
        )


if __name__ == "__main__":
    main()
