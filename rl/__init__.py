"""Reinforcement learning: what connects learners, learned or hand-made, to environments.

One idea: every algorithm is a `Learner`, which lives in a `Task` for a `lifetime`.
Time: micro tick < environment step < episode < lifetime < generation.
"""

from typing import TYPE_CHECKING

from ._controls import (
    Frozen as Frozen,
    FrozenState as FrozenState,
    ShuffledRewards as ShuffledRewards,
    ShuffledRewardsState as ShuffledRewardsState,
)
from ._learner import (
    Differentiable as Differentiable,
    Learner as Learner,
    Spaces as Spaces,
    TimeStep as TimeStep,
)
from ._lifetime import (
    Life as Life,
    LifeState as LifeState,
    Record as Record,
    begin as begin,
    lifetime as lifetime,
)
from ._metarnn import MetaRNN as MetaRNN, MetaRNNState as MetaRNNState
from ._readout import (
    Categorical as Categorical,
    Deterministic as Deterministic,
    Gaussian as Gaussian,
    Readout as Readout,
)
from ._symla import SymLA as SymLA, SymLANoise as SymLANoise, SymLAState as SymLAState
from ._task import (
    Environment as Environment,
    FixedTask as FixedTask,
    Task as Task,
    TaskDistribution as TaskDistribution,
)

if TYPE_CHECKING:
    from . import classic as classic, envs as envs


def __getattr__(name: str):
    """Import `rl.classic`, and `rl.envs`, which needs gymnax, when they are first used."""
    if name in ("classic", "envs"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
