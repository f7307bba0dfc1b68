"""Environments, with the interface of gymnax, and the distributions of tasks made of them."""

from ._bandits import (
    BanditKind as BanditKind,
    BanditParams as BanditParams,
    BanditState as BanditState,
    BernoulliBandit as BernoulliBandit,
    BernoulliBandits as BernoulliBandits,
)
from ._brax import (
    Brax as Brax,
    BraxBackend as BraxBackend,
    BraxBody as BraxBody,
    BraxParams as BraxParams,
    BraxState as BraxState,
)
from ._contextual import (
    ContextualBandit as ContextualBandit,
    ContextualBandits as ContextualBandits,
    ContextualParams as ContextualParams,
    ContextualState as ContextualState,
)
from ._control import (
    Acrobot as Acrobot,
    CartPole as CartPole,
    CartPoleReward as CartPoleReward,
    ControlReward as ControlReward,
    MountainCar as MountainCar,
)
from ._control_continuous import (
    MountainCarContinuous as MountainCarContinuous,
    Pendulum as Pendulum,
)
from ._grids import (
    GoalWorld as GoalWorld,
    GoalWorldParams as GoalWorldParams,
    GoalWorldState as GoalWorldState,
    GridObservation as GridObservation,
    HeartTrap as HeartTrap,
    HeartTrapParams as HeartTrapParams,
    HeartTrapState as HeartTrapState,
)
from ._gymnasium import (
    Gymnasium as Gymnasium,
    GymnasiumLife as GymnasiumLife,
    gymnasium as gymnasium,
)
from ._lunar import (
    LunarLander as LunarLander,
    LunarLanderParams as LunarLanderParams,
    LunarLanderState as LunarLanderState,
    LunarReward as LunarReward,
)
from ._point import (
    PointRobot as PointRobot,
    PointRobotParams as PointRobotParams,
    PointRobotState as PointRobotState,
)
from ._reacher import Reacher as Reacher
from ._tabular import (
    TabularMDP as TabularMDP,
    TabularMDPs as TabularMDPs,
    TabularParams as TabularParams,
    TabularState as TabularState,
)
from ._vary import Vary as Vary
from ._wrappers import (
    DelayRewards as DelayRewards,
    Distract as Distract,
    Pad as Pad,
    Permute as Permute,
    PermutedPart as PermutedPart,
    Project as Project,
    SwapRewards as SwapRewards,
    WithholdRewards as WithholdRewards,
)
