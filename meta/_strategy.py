"""The outer loops that there are, and the program of each."""

from collections.abc import Sequence

from jaxtyping import PRNGKeyArray

import rl

from ._actor_critic import ActorCritic
from ._critic_gradient import CriticGradient
from ._es import EvolutionStrategy
from ._generation import Generations, TrainState
from ._gradient_program import ActorCriticState, GradientGenerations
from ._hosts import Devices
from ._lesson import Lesson
from ._population import CriticGradientState, PopulationGenerations
from ._program import Program

Strategy = EvolutionStrategy | ActorCritic | CriticGradient
State = TrainState | ActorCriticState | CriticGradientState


def program_of(
    learner: rl.Learner,
    lessons: Sequence[Lesson],
    strategy: Strategy,
    *,
    key: PRNGKeyArray,
    devices: Devices,
) -> Program:
    """What every generation of a meta-training computes.

    **Raises:** `ValueError` for a learner, lessons or devices that the strategy cannot use.
    """
    if isinstance(strategy, CriticGradient):
        return PopulationGenerations(learner, lessons, strategy, key=key, devices=devices)
    if isinstance(strategy, ActorCritic):
        return GradientGenerations(learner, lessons, strategy, key=key, devices=devices)
    return Generations(learner, lessons, strategy, key=key, devices=devices)
