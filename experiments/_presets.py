"""Presets: how much a meta-training spends, in numbers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """The defaults of `symla train`.

    - `description`: what it is for.
    - `learner`: what is meta-trained.
    - `generations`, `population`, `lives`: generations, members of each, lives of each member.
    - `std`: the standard deviation of the perturbations.
    - `learning_rate`: of Adam.
    - `hidden_size`: units of each cell of a SymLA.
    - `fitness`: what of a life is maximised.
    """

    description: str
    learner: str
    generations: int
    population: int
    lives: int
    std: float
    learning_rate: float
    hidden_size: int
    fitness: str


PRESETS: dict[str, Preset] = {
    "laptop": Preset(
        "minutes on two cores",
        learner="symla",
        generations=400,
        population=64,
        lives=16,
        std=0.1,
        learning_rate=0.03,
        hidden_size=16,
        fitness="regret",
    ),
    "gpu": Preset(
        "the same learner with a larger population, for one accelerator",
        learner="symla",
        generations=1000,
        population=512,
        lives=64,
        std=0.1,
        learning_rate=0.03,
        hidden_size=16,
        fitness="regret",
    ),
    "paper": Preset(
        "the bandits of the SymLA paper: its learner, its budget",
        learner="symla-paper",
        generations=4000,
        population=512,
        lives=100,
        std=0.2,
        learning_rate=0.2,
        hidden_size=64,
        fitness="reward",
    ),
}
