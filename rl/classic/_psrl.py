"""Tabular decision processes: planning in those that are known, learning in those that are not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Action, Learner, Spaces, TimeStep


def backward_induction(
    transitions: Float[Array, "A B A"],
    rewards: Float[Array, "A B"],
    horizon: int,
    *,
    action_mask: Bool[Array, " B"] | None = None,
) -> tuple[Float[Array, " A"], Int[Array, "T A"]]:
    """The best policy for an episode of `T` steps of a known decision process.

    From the last step to the first, `v(s) = max_a r(s, a) + sum_s' p(s' | s, a) v(s')`
    (Bellman 1957); nothing counts after the last.

    **Arguments:**

    - `transitions`: the probability of each next state, for each state and action.
    - `rewards`: the mean reward of each action in each state.
    - `horizon`: `T`.
    - `action_mask`: which actions exist; `None` where all do.

    **Returns:**

    The value of each state at the first step, and the best action of each step and state.

    **Raises:** `ValueError` for a horizon below one.
    """
    _check_horizon(horizon)

    def before(later: Array, _: None) -> tuple[Array, Array]:
        worth = rewards + transitions @ later
        if action_mask is not None:
            worth = jnp.where(action_mask[None], worth, -jnp.inf)
        return worth.max(1), worth.argmax(1).astype(jnp.int32)

    nothing = jnp.zeros_like(rewards[:, 0])
    return jax.lax.scan(before, nothing, None, length=horizon, reverse=True)


def policy_value(
    transitions: Float[Array, "A B A"],
    rewards: Float[Array, "A B"],
    policy: Float[Array, "A B"],
    horizon: int,
) -> Float[Array, " A"]:
    """What an episode of a policy pays in a known decision process, from each state.

    **Arguments:**

    - `transitions`, `rewards`, `horizon`: as of `backward_induction`.
    - `policy`: the probability of each action in each state, the same at every step.

    **Returns:**

    The value of each state at the first step.

    **Raises:** `ValueError` for a horizon below one.
    """
    _check_horizon(horizon)

    def before(later: Array, _: None) -> tuple[Array, None]:
        return (policy * (rewards + transitions @ later)).sum(1), None

    return jax.lax.scan(before, jnp.zeros_like(rewards[:, 0]), None, length=horizon)[0]


class PSRLState(eqx.Module):
    """What posterior sampling remembers.

    - `visits`: how often each action in each state led to each next state.
    - `earned`: the sum of the rewards of each action in each state.
    - `plan`: the action of each step of the episode and state.
    - `time`: environment steps of this episode.
    - `state`: where it acted last.
    - `action_mask`: which actions exist; `None` where all do.
    """

    visits: Float[Array, "A B A"]
    earned: Float[Array, "A B"]
    plan: Int[Array, "T A"]
    time: Int[Array, ""]
    state: Int[Array, ""]
    action_mask: Bool[Array, " B"] | None


class PSRL(Learner[PSRLState]):
    """Posterior sampling for reinforcement learning (Strens 2000; Osband, Russo and Van Roy 2013,
    arXiv:1306.0940), for decision processes whose states are seen as one-hot vectors.

    At the start of each episode it draws a decision process from its posterior, and plays the
    best policy for that one (`backward_induction`) to the end of the episode. So it explores what
    could still turn out to be best, and no further than that.

    The priors are a Dirichlet distribution over next states and a Gaussian over mean rewards, whose
    noise is known; the defaults are those that `rl.envs.TabularMDPs` draws from. All episodes are
    taken to start anew and to end by their time limit.
    """

    horizon: int = eqx.field(static=True)
    concentration: float = eqx.field(static=True)
    prior_mean: float = eqx.field(static=True)
    prior_std: float = eqx.field(static=True)
    reward_std: float = eqx.field(static=True)

    def __init__(
        self,
        horizon: int = 10,
        *,
        concentration: float = 1.0,
        prior_mean: float = 1.0,
        prior_std: float = 1.0,
        reward_std: float = 1.0,
    ):
        """**Arguments:**

        - `horizon`: `T`, environment steps of an episode. In longer ones, the plan of the last
            step goes on.
        - `concentration`: of the Dirichlet prior: 1 is flat.
        - `prior_mean`, `prior_std`: of the mean reward of an action in a state.
        - `reward_std`: the standard deviation of a reward around that mean.

        **Raises:** `ValueError` for a horizon below one, or spreads that are not above zero.
        """
        _check_horizon(horizon)
        spreads = {"concentration": concentration, "prior_std": prior_std, "reward_std": reward_std}
        for name, value in spreads.items():
            if not value > 0.0:
                raise ValueError(f"`{name}` must be above 0, got {value}.")
        self.horizon, self.concentration = horizon, float(concentration)
        self.prior_mean, self.prior_std = float(prior_mean), float(prior_std)
        self.reward_std = float(reward_std)

    def init(self, spaces: Spaces, *, key: PRNGKeyArray) -> PSRLState:
        """Nothing seen yet; see `Learner.init`.

        **Raises:** `ValueError` if actions are continuous.
        """
        del key
        spaces.check_discrete(self)
        states, actions = spaces.observation_size, spaces.num_actions
        return PSRLState(
            visits=jnp.zeros((states, actions, states)),
            earned=jnp.zeros((states, actions)),
            plan=jnp.zeros((self.horizon, states), jnp.int32),
            time=jnp.asarray(0, jnp.int32),
            state=jnp.asarray(0, jnp.int32),
            action_mask=spaces.action_mask,
        )

    def step(
        self, state: PSRLState, timestep: TimeStep, *, key: PRNGKeyArray
    ) -> tuple[PSRLState, Action]:
        """Count what happened, plan where an episode begins, and act; see `Learner.step`."""
        born = timestep.action < 0
        action = jnp.maximum(timestep.action, 0)
        reached = timestep.final_observation.argmax()
        seen = jnp.where(born, 0.0, 1.0)
        visits = state.visits.at[state.state, action, reached].add(seen)
        reward = timestep.reward.astype(state.earned.dtype)
        earned = state.earned.at[state.state, action].add(seen * reward)

        begins = born | timestep.ended

        def planned(_: tuple[Array, Array]) -> tuple[Array, Array]:
            drawn = self.posterior_sample(visits, earned, key=key)
            plan = backward_induction(*drawn, self.horizon, action_mask=state.action_mask)[1]
            return jnp.asarray(False), plan

        # At most one turn. Of lives side by side, all wait for those that plan, and none plans for
        # nothing, as branches of a condition would.
        plan = jax.lax.while_loop(lambda left: left[0], planned, (begins, state.plan))[1]
        time = jnp.where(begins, 0, state.time + 1)
        here = timestep.observation.argmax().astype(jnp.int32)
        chosen = plan[jnp.minimum(time, self.horizon - 1), here]
        return PSRLState(visits, earned, plan, time, here, state.action_mask), chosen

    def posterior_sample(
        self, visits: Float[Array, "A B A"], earned: Float[Array, "A B"], *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "A B A"], Float[Array, "A B"]]:
        """Transitions and mean rewards as they could be, after all that has been seen.

        **Arguments:**

        - `visits`, `earned`: as of `PSRLState`.
        - `key`: the random key of the sample.
        """
        transitions_key, rewards_key = jr.split(key)
        transitions = jr.dirichlet(transitions_key, self.concentration + visits)
        prior, noise = self.prior_std**-2, self.reward_std**-2
        precision = prior + noise * visits.sum(-1)
        mean = (prior * self.prior_mean + noise * earned) / precision
        spread = jr.normal(rewards_key, mean.shape, mean.dtype)
        return transitions, mean + spread / jnp.sqrt(precision)


def _check_horizon(horizon: int) -> None:
    if horizon < 1:
        raise ValueError(f"`horizon` must be at least 1 environment step, got {horizon}.")
