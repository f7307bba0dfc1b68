"""The learners made by hand, which the learned ones are measured against."""

from ._optimal import bayes_optimal_regret as bayes_optimal_regret
from ._players import (
    UCB1 as UCB1,
    BanditPlayer as BanditPlayer,
    BayesOptimal as BayesOptimal,
    GreedyPosteriorMean as GreedyPosteriorMean,
    PlayerState as PlayerState,
    RandomPlayer as RandomPlayer,
    ThompsonSampling as ThompsonSampling,
)
