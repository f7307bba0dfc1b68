"""What the meta-trainings of the paper's figures cost here: a few generations, extrapolated.

    python -m benchmarks.cost

A generation of the paper's size would take long on a small machine, so each training is measured
with fewer members, and its environment steps per second are taken for those of the whole. The hours
on a GPU are a model, not a measurement; see `gpu_hours`.
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
# What is assumed of a datacentre GPU (an H200) on the plain path: some 30 launches at 4 µs in each
# environment step, and 30 % of 67 TFLOP/s of float32.
_GPU_STEP_SECONDS, _GPU_OPERATIONS = 120e-6, 20e12
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


def gpu_hours(training: Training, operations: float) -> float:
    """Hours of one run on a datacentre GPU, by a model: launches, and then arithmetic.

    **Arguments:**

    - `training`: the training.
    - `operations`: of all its environment steps.
    """
    launches = training.generations * training.steps * _GPU_STEP_SECONDS
    return (launches + operations / _GPU_OPERATIONS) / 3600


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
        operations = float(total * floor.operations_per_step(case, case.learner))
        hours = (total / speed / 3600, gpu_hours(training, operations))
        rows.append((training, speed, operations / 1e15, hours))
    described = machine.describe()
    print(
        f"{described['processor']}, {described['cores']} cores, "
        f"{rates['operations_per_second'] / 1e9:.0f} GFLOP/s of float32 products of matrices"
    )
    print(
        "| figure | training | runs | PFLOP a run | steps/s here | hours a run here | in all | "
        "hours a run, modelled GPU | in all |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for training, speed, petaflop, (here, gpu) in rows:
        print(
            f"| {training.figure} | {training.text} | {training.runs} | {petaflop:.1f} | "
            f"{speed:,.0f} | {here:,.1f} | {here * training.runs:,.0f} | "
            f"{gpu:.2f} | {gpu * training.runs:.1f} |"
        )


if __name__ == "__main__":
    main()
