"""Table 1 of the SymLA paper: where the knowledge of each learner sits. One entry for each.

The last two columns, black box and symmetries, are not written here: the program decides them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.random as jr

import meta
import proofs
import rl
from rl import classic


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    - `name`: the learner, as the command line calls it.
    - `make`: makes one.
    - `meta_variables`: what an outer loop may optimise.
    - `learned_variables`: what changes within a life.
    - `algorithm`: how it changes.
    - `continuous`: whether it has continuous actions only.
    """

    name: str
    make: Callable[[], rl.Learner]
    meta_variables: str
    learned_variables: str
    algorithm: str
    continuous: bool = False

    def target(self) -> "rl.Learner | proofs.Claim":
        """What there is to certify of it."""
        learner = self.make()
        return proofs.continuous_actions(learner) if self.continuous else learner


_CELLS = ("one small LSTM", "states of A x B copies", "the copies' dynamics")
_COUNTS = "pulls and wins"
_WEIGHTS = ("none", "network weights", "a fixed loss and backpropagation")
ENTRIES = (
    Entry("symla", lambda: rl.SymLA(key=jr.key(0)), *_CELLS),
    Entry("symla-paper", lambda: rl.SymLA.paper(key=jr.key(0)), *_CELLS),
    Entry("symla-official", lambda: rl.SymLA.official(key=jr.key(0)), *_CELLS),
    Entry(
        "metarnn",
        lambda: rl.MetaRNN(2, 3, key=jr.key(0)),
        "one LSTM",
        "its state",
        "its dynamics",
    ),
    Entry(
        "maml",
        lambda: classic.MAML(2, 3, key=jr.key(0)),
        "initial weights",
        "network weights",
        "a fixed loss and backpropagation",
    ),
    Entry(
        "metagenrl",
        lambda: meta.MetaGenRL(key=jr.key(0)),
        "an objective",
        "network weights",
        "a learned loss and backpropagation",
        continuous=True,
    ),
    Entry(
        "epg",
        lambda: meta.EPG(2, 2, key=jr.key(0)),
        "a loss",
        "network weights",
        "a learned loss and backpropagation",
    ),
    Entry(
        "lpg",
        lambda: meta.LPG(key=jr.key(0)),
        "an update rule",
        "network weights",
        "a learned rule and backpropagation",
    ),
    Entry("reinforce", classic.REINFORCE, *_WEIGHTS),
    Entry("a2c", classic.A2C, *_WEIGHTS),
    Entry("a3c", classic.A3C, *_WEIGHTS),
    Entry(
        "a2c-meta-gradient",
        classic.MetaGradientA2C,
        "none",
        "network weights, discount, lambda",
        "a loss that tunes itself, and backpropagation",
    ),
    Entry("ppo", classic.PPO, *_WEIGHTS),
    Entry("td3", classic.TD3, *_WEIGHTS, continuous=True),
    Entry("reinforce-off-policy", classic.OffPolicyREINFORCE, *_WEIGHTS, continuous=True),
    Entry("random", classic.RandomPlayer, "none", _COUNTS, "none"),
    Entry("thompson", classic.ThompsonSampling, "none", _COUNTS, "Bayes' rule"),
    Entry("ucb1", classic.UCB1, "none", _COUNTS, "averages"),
    Entry("greedy", classic.GreedyPosteriorMean, "none", _COUNTS, "Bayes' rule"),
    Entry("psrl", classic.PSRL, "none", "counts and sums", "Bayes' rule, planning"),
    Entry("optimal", classic.BayesOptimal, "none", _COUNTS, "Bayes' rule"),
)


def decide(entry: Entry) -> tuple[bool, proofs.Certificate]:
    """Whether a learner is a black box, and what there is to say of its symmetries."""
    return proofs.black_box(entry.make(), continuous=entry.continuous), proofs.certify(
        entry.target()
    )
