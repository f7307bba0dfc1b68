"""Meta-learning: what makes learners better.

`train` evolves the arrays of any `rl.Learner` so that its lives go well; `evaluate` meta-tests it;
`save`, `load` and `pretrained` keep the results.
Time: micro tick < environment step < episode < lifetime < generation.
"""

from ._archive import ArchiveError as ArchiveError, read_header as read_header
from ._es import (
    CommonRandomNumbers as CommonRandomNumbers,
    EvolutionStrategy as EvolutionStrategy,
    Schedule as Schedule,
    Shaping as Shaping,
    StrategyState as StrategyState,
    shape_fitness as shape_fitness,
)
from ._evaluate import Evaluation as Evaluation, evaluate as evaluate, live as live
from ._store import (
    hyperparameters as hyperparameters,
    load as load,
    pretrained as pretrained,
    pretrained_names as pretrained_names,
    save as save,
)
from ._train import (
    Fitness as Fitness,
    TrainResult as TrainResult,
    TrainState as TrainState,
    negative_regret as negative_regret,
    total_reward as total_reward,
    train as train,
)
