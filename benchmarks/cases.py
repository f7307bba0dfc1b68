"""What is measured: four sizes of grid, and how much of each a machine is given to do."""

import dataclasses
from functools import lru_cache

import jax.random as jr
import optax

import meta
import rl


@dataclasses.dataclass(frozen=True)
class Case:
    """One generation of meta-training, in numbers.

    - `name`: `bandit`, `control`, `image` or `wide`.
    - `inputs`, `outputs`: `A` sensors and `B` actions.
    - `hidden_size`: `N`, units of each of the A x B cells.
    - `members`, `lives`, `steps`: of a generation, of each member, of each life.
    - `ticks`: micro ticks in each environment step.
    - `std`: the standard deviation of the members' perturbations.
    - `hidden_sizes`: sizes of the interfaces between layers; none where `K = 1`.
    """

    name: str
    inputs: int
    outputs: int
    hidden_size: int
    members: int
    lives: int
    steps: int
    ticks: int = 2
    std: float = 0.1
    hidden_sizes: tuple[int, ...] = ()

    @property
    def environment_steps(self) -> int:
        """Environment steps in one generation."""
        return self.members * self.lives * self.steps

    @property
    def tasks(self) -> rl.TaskDistribution:
        """Where its lives are lived."""
        if self.name == "bandit":
            return _bandits(self.outputs)
        if self.name == "control":
            return _cart_pole()
        from .waves import waves

        return waves(self.inputs, self.outputs)

    @property
    def learner(self) -> rl.SymLA:
        """The learner that is evolved."""
        return rl.SymLA(
            self.hidden_size,
            ticks=self.ticks,
            hidden_sizes=self.hidden_sizes,
            key=jr.key(0),
        )

    @property
    def metarnn(self) -> rl.MetaRNN:
        """The black box of the same task, with its default 48 units."""
        return rl.MetaRNN(self.inputs, self.outputs, key=jr.key(0))

    @property
    def strategy(self) -> meta.EvolutionStrategy:
        """The outer loop: antithetic pairs, centred ranks, Adam, common random numbers."""
        return meta.EvolutionStrategy(self.members, self.std, optax.adam(LEARNING_RATE))

    def sizes(self) -> dict[str, int]:
        """The numbers that `symla bench` prints."""
        numbers = dataclasses.asdict(self)
        del numbers["name"], numbers["hidden_sizes"], numbers["std"]
        return {**numbers, "layers": len(self.hidden_sizes) + 1}


LEARNING_RATE = 0.03
CASES = ("bandit", "control", "image", "wide")
PRESETS: dict[str, dict[str, Case]] = {
    "laptop": {
        "bandit": Case("bandit", 1, 2, 64, members=64, lives=16, steps=100),
        "control": Case("control", 4, 2, 16, members=64, lives=16, steps=100),
        "image": Case("image", 75, 4, 16, members=16, lives=4, steps=50),
        "wide": Case("wide", 128, 16, 16, members=8, lives=2, steps=30),
    },
    "gpu": {
        "bandit": Case("bandit", 1, 2, 64, members=512, lives=64, steps=100),
        "control": Case("control", 4, 2, 16, members=512, lives=10, steps=500),
        "image": Case("image", 75, 4, 16, members=256, lives=8, steps=100),
        "wide": Case("wide", 128, 16, 16, members=128, lives=4, steps=50),
    },
}


def small(case: Case) -> Case:
    """The same grid with few short lives of very different members: cheap, and tells errors."""
    return dataclasses.replace(case, members=4, lives=2, steps=12, std=0.3)


@lru_cache(maxsize=16)
def _bandits(arms: int) -> rl.TaskDistribution:
    from rl import envs

    return envs.BernoulliBandits(arms)


@lru_cache(maxsize=1)
def _cart_pole() -> rl.TaskDistribution:
    import gymnax

    environment, params = gymnax.make("CartPole-v1")
    return rl.FixedTask(rl.Task(environment, params))
