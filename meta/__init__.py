"""Meta-learning: what makes learners better.

`train` evolves the arrays of any `rl.Learner` so that its lives go well; `evaluate` meta-tests it;
`save`, `load` and `pretrained` keep the results.
Time: micro tick < environment step < episode < lifetime < generation.
"""

from ._actor_critic import ActorCritic as ActorCritic
from ._archive import ArchiveError as ArchiveError, read_header as read_header
from ._compile import compiler_options as compiler_options
from ._criterion import Reached as Reached
from ._critic_gradient import CriticGradient as CriticGradient
from ._curriculum import (
    Curriculum as Curriculum,
    CurriculumResult as CurriculumResult,
    NotReachedError as NotReachedError,
    Stage as Stage,
    train_curriculum as train_curriculum,
)
from ._es import (
    CommonRandomNumbers as CommonRandomNumbers,
    EvolutionStrategy as EvolutionStrategy,
    Schedule as Schedule,
    Shaping as Shaping,
    StrategyState as StrategyState,
    shape_fitness as shape_fitness,
)
from ._evaluate import Evaluation as Evaluation, evaluate as evaluate, live as live
from ._generation import (
    Generations as Generations,
    TrainState as TrainState,
)
from ._gradient_program import ActorCriticState as ActorCriticState
from ._hosts import LostProcessError as LostProcessError
from ._lesson import (
    Fitness as Fitness,
    Lesson as Lesson,
    negative_regret as negative_regret,
    total_reward as total_reward,
)
from ._persistent import PersistentES as PersistentES
from ._population import CriticGradientState as CriticGradientState, Population as Population
from ._program import Portion as Portion
from ._report import recorded as recorded
from ._store import (
    hyperparameters as hyperparameters,
    load as load,
    pretrained as pretrained,
    pretrained_names as pretrained_names,
    save as save,
)
from ._strategy import Strategy as Strategy
from ._train import TrainResult as TrainResult, train as train
from .objectives import (
    EPG as EPG,
    LPG as LPG,
    MetaGenRL as MetaGenRL,
    NeuralObjective as NeuralObjective,
    TemporalLoss as TemporalLoss,
    UpdateRule as UpdateRule,
)
