"""Players of Bernoulli bandits, as learners without meta-variables."""

import abc

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep
from ._optimal import BanditKind, check, position, solve_independent


class PlayerState(eqx.Module):
    """What a player of bandits remembers.

    - `pulls`: how often it has pulled each arm.
    - `wins`: the sum of the rewards of each arm.
    - `action_mask`: which arms exist; `None` where all do.
    """

    pulls: Int[Array, " B"]
    wins: Float[Array, " B"]
    action_mask: Bool[Array, " B"] | None


class BanditPlayer(Learner[PlayerState]):
    """A player that counts pulls and wins, and pulls the existing arm with the highest score.

    Equal scores are told apart at random. The regrets that the players state are expectations
    over lives of 100 pulls of independent arms, `p ~ U[0, 1]`: exact for two arms, by the
    recursion of `bayes_optimal_regret` with the player's own choices, and sampled for eight.
    """

    @abc.abstractmethod
    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """How promising each arm is. Those that do not exist are left out later.

        **Arguments:**

        - `state`: the counts.
        - `key`: for scores that are drawn at random.
        """

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> PlayerState:
        """Nothing pulled yet; see `Learner.init`.

        **Raises:** `ValueError` if actions are continuous.
        """
        del key
        spaces.check_discrete(self)
        shape = (spaces.num_actions,)
        return PlayerState(jnp.zeros(shape, jnp.int32), jnp.zeros(shape), spaces.action_mask)

    def step(
        self, state: PlayerState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[PlayerState, Action]:
        """Count the last pull, then make the next; see `Learner.step`."""
        pulled = jnp.arange(state.pulls.shape[0], dtype=timestep.action.dtype) == timestep.action
        reward = timestep.reward.astype(state.wins.dtype)
        state = PlayerState(
            state.pulls + pulled.astype(jnp.int32),
            state.wins + jnp.where(pulled, reward, 0.0),
            state.action_mask,
        )
        scores_key, choice_key = jr.split(key)
        scores = self.scores(state, key=scores_key)
        return state, _highest(scores, state.action_mask, key=choice_key)


class RandomPlayer(BanditPlayer):
    """Pulls each arm with the same probability, whatever happens.

    Its expected regret in 100 pulls of `B` arms is `100 (B / (B + 1) - 1 / 2)`: 16.67 on two arms
    and 38.89 on eight. Each number of a continuous action is uniform from -1 to 1.
    """

    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """All the same; see `BanditPlayer.scores`."""
        del key
        return jnp.zeros_like(state.wins)

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> PlayerState:
        """Nothing done yet; see `Learner.init`."""
        discrete = Spaces(spaces.observation_size, spaces.num_actions, None, spaces.action_mask)
        return super().init(discrete, key=key)

    def step(
        self, state: PlayerState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[PlayerState, Action]:
        """Do anything; see `Learner.step`."""
        if timestep.action.ndim == 0:
            return super().step(state, timestep, key=key)
        action = timestep.action
        return state, jr.uniform(key, action.shape, action.dtype, minval=-1.0, maxval=1.0)


class ThompsonSampling(BanditPlayer):
    """Pulls an arm with the probability that it is the best (Thompson 1933).

    Each arm's score is a sample of its posterior under a uniform prior,
    `Beta(1 + wins, 1 + losses)` (algorithm 1 of Agrawal and Goyal 2012, arXiv:1111.1797).

    Its expected regret is 2.786 on two arms and 11.88 on eight.
    """

    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """A sample of each arm's posterior; see `BanditPlayer.scores`."""
        losses = state.pulls.astype(state.wins.dtype) - state.wins
        return jr.beta(key, 1.0 + state.wins, 1.0 + losses)


class UCB1(BanditPlayer):
    """Optimism in the face of uncertainty (figure 1 of Auer, Cesa-Bianchi and Fischer 2002).

    Each arm is pulled once; then its score is `wins / n + sqrt(2 ln t / n)` after `n` pulls of it
    and `t` of all arms.

    Its expected regret is 5.581 on two arms and 24.29 on eight.
    """

    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """The upper confidence bounds, infinite for untried arms; see `BanditPlayer.scores`."""
        del key
        pulls = jnp.maximum(state.pulls, 1).astype(state.wins.dtype)
        bonus = jnp.sqrt(2.0 * jnp.log(pulls.sum()) / pulls)
        return jnp.where(state.pulls > 0, state.wins / pulls + bonus, jnp.inf)


class GreedyPosteriorMean(BanditPlayer):
    """Pulls the arm with the best posterior mean under a uniform prior, and never explores.

    The score is `(wins + 1) / (pulls + 2)`, Laplace's rule of succession. It is Bayes-optimal with
    one pull left, so it is the myopic counterpart of `BayesOptimal`.

    Its expected regret is 2.691 on two arms and 10.31 on eight.
    """

    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """The posterior means; see `BanditPlayer.scores`."""
        del key
        return (state.wins + 1.0) / (state.pulls.astype(state.wins.dtype) + 2.0)


class BayesOptimal(BanditPlayer):
    """The best play there is of two arms, for those who know how they are drawn and how long a
    life is: dynamic programming over the exact posterior (Bradt, Johnson and Karlin 1956).

    Arms that depend on each other need no table: a win of one tells as much as a loss of the
    other, so exploring gains nothing, and the arm with more signs in its favour is the best at
    every horizon.

    Its expected regret is `rl.classic.bayes_optimal_regret(kind, horizon)`, for 100 pulls 1.748
    (independent), 1.221 (uniform), 0.625 (easy), 1.000 (medium) and 2.312 (hard).
    """

    kind: BanditKind = eqx.field(static=True)
    horizon: int = eqx.field(static=True)

    def __init__(self, kind: BanditKind = "independent", horizon: int = 100):
        """**Arguments:**

        - `kind`: how the probabilities are drawn; see `rl.envs.BernoulliBandits`.
        - `horizon`: pulls in a life. Independent arms cannot be played for longer, and shorter
            lives are explored too much.

        **Raises:** `ValueError` for an unknown kind, no pulls, or more than 150 pulls of
        independent arms, whose states are too many.
        """
        check(kind, horizon)
        self.kind, self.horizon = kind, horizon

    def scores(self, state: PlayerState, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """1 for the best arm and 0 for the other, or the signs in favour of each.

        **Raises:** `ValueError` for other than two arms.
        """
        del key
        if state.pulls.shape != (2,):
            raise ValueError(
                f"Bayes-optimal play is available for 2 arms, got {state.pulls.shape[0]}: more "
                f"have too many states for a table. Compare with ThompsonSampling or "
                f"GreedyPosteriorMean."
            )
        dtype = state.wins.dtype
        if self.kind != "independent":
            losses = state.pulls.astype(dtype) - state.wins
            return state.wins + losses[::-1]
        pulls = eqx.error_if(
            state.pulls,
            state.pulls.sum() >= self.horizon,
            f"This BayesOptimal knows how to play {self.horizon} pulls, and this life is longer: "
            f"make it with a greater `horizon`.",
        )
        wins = jnp.round(state.wins).astype(jnp.int32)
        table = jnp.asarray(solve_independent(self.horizon)[1])
        decision = table[position(pulls[0], wins[0], pulls[1], wins[1])]
        return (decision != jnp.asarray([1, 0], jnp.int8)).astype(dtype)


def _highest(
    scores: Float[Array, " B"], mask: Bool[Array, " B"] | None, *, key: PRNGKeyArray
) -> Int[Array, ""]:
    """One of the existing arms with the highest score, each as likely as the others."""
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    noise = jr.uniform(key, scores.shape)
    return jnp.argmax(jnp.where(scores == scores.max(), noise, -1.0)).astype(jnp.int32)
