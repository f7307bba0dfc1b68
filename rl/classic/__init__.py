"""The learners made by hand, which the learned ones are measured against."""

from ._a2c import A2C as A2C, A3C as A3C
from ._adaptive import Adaptive as Adaptive, AdaptiveState as AdaptiveState
from ._agent import Agent as Agent, AgentState as AgentState
from ._experience import (
    Experience as Experience,
    Transitions as Transitions,
    draw_segments as draw_segments,
)
from ._maml import MAML as MAML, MAMLNetworks as MAMLNetworks
from ._meta_gradient import MetaGradientA2C as MetaGradientA2C
from ._networks import Perceptron as Perceptron
from ._on_policy import OnPolicy as OnPolicy
from ._optimal import bayes_optimal_regret as bayes_optimal_regret
from ._optimisers import descend as descend
from ._players import (
    UCB1 as UCB1,
    BanditPlayer as BanditPlayer,
    BayesOptimal as BayesOptimal,
    GreedyPosteriorMean as GreedyPosteriorMean,
    PlayerState as PlayerState,
    RandomPlayer as RandomPlayer,
    ThompsonSampling as ThompsonSampling,
)
from ._ppo import PPO as PPO, clipped_gain as clipped_gain
from ._psrl import (
    PSRL as PSRL,
    PSRLState as PSRLState,
    backward_induction as backward_induction,
    policy_value as policy_value,
)
from ._reinforce import REINFORCE as REINFORCE
from ._reinforce_off_policy import OffPolicyREINFORCE as OffPolicyREINFORCE
from ._returns import (
    discounted_returns as discounted_returns,
    generalised_advantages as generalised_advantages,
    lambda_returns as lambda_returns,
    normalised_advantages as normalised_advantages,
)
from ._segments import OffPolicyGradient as OffPolicyGradient, Segments as Segments
from ._td3 import TD3 as TD3, Actors as Actors
from ._train import (
    Settled as Settled,
    Training as Training,
    live_on as live_on,
    train as train,
)
from ._twin_critics import Networks as Networks
