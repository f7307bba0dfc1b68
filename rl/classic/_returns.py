"""Returns and advantages, as pure functions of one stretch of experience of `T` steps.

The value after a step is that of where the action led, before any reset. It counts after a step
that was truncated, for the task would have gone on, and not after one that was terminated.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def lambda_returns(
    rewards: Float[Array, " T"],
    next_values: Float[Array, " T"],
    terminated: Bool[Array, " T"],
    truncated: Bool[Array, " T"],
    *,
    discount: float | Float[Array, ""],
    trace_decay: float | Float[Array, ""],
) -> Float[Array, " T"]:
    """What each step is worth: rewards that were seen, mixed with values (equation 12.2 of
    Sutton and Barto 2018).

    `G_t = r_t + discount ((1 - trace_decay) V(o'_t) + trace_decay G_{t+1})` within an episode. A
    truncated step and the last one have `G_t = r_t + discount V(o'_t)`, a terminated one has
    `G_t = r_t`.

    **Arguments:**

    - `rewards`: `r_t`, the reward of the action of step `t`.
    - `next_values`: `V(o'_t)`, the value of the observation that this action led to, before any
        reset.
    - `terminated`, `truncated`: whether this action ended the episode by the rules of the task,
        and by its time limit.
    - `discount`: per environment step, from 0 to 1.
    - `trace_decay`: lambda; 0 for one-step targets, 1 for Monte Carlo returns.

    **Returns:**

    `G_t`, shape `(T,)`.
    """
    next_values = jnp.where(terminated, 0.0, next_values)
    decays = jnp.where(terminated | truncated, 0.0, trace_decay).astype(rewards.dtype)

    def back(later: Array, now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, value, decay = now
        worth = reward + discount * ((1.0 - decay) * value + decay * later)
        return worth, worth

    return jax.lax.scan(back, next_values[-1], (rewards, next_values, decays), reverse=True)[1]


def discounted_returns(
    rewards: Float[Array, " T"],
    next_values: Float[Array, " T"],
    terminated: Bool[Array, " T"],
    truncated: Bool[Array, " T"],
    *,
    discount: float | Float[Array, ""],
) -> Float[Array, " T"]:
    """The discounted sum of the rewards from each step to the end of its episode.

    After a truncated step, and after the last one, the value of where it led stands in for the
    rewards that were not seen. Arguments and result are those of `lambda_returns`.
    """
    return lambda_returns(
        rewards, next_values, terminated, truncated, discount=discount, trace_decay=1.0
    )


def generalised_advantages(
    rewards: Float[Array, " T"],
    values: Float[Array, " T"],
    next_values: Float[Array, " T"],
    terminated: Bool[Array, " T"],
    truncated: Bool[Array, " T"],
    *,
    discount: float | Float[Array, ""],
    trace_decay: float | Float[Array, ""],
) -> Float[Array, " T"]:
    """How much better each action was than expected: generalised advantage estimation (equation
    16 of Schulman et al. 2016, arXiv:1506.02438).

    The discounted sum of temporal differences `r_t + discount V(o'_t) - V(o_t)` is the same as
    `lambda_returns` less `values`.

    **Arguments:**

    - `values`: `V(o_t)`, the value of the observation that the action was taken on. Unless an
        episode ended, it is the entry of `next_values` before it.
    - the others: as in `lambda_returns`.

    **Returns:**

    `A_t`, shape `(T,)`.
    """
    returns = lambda_returns(
        rewards, next_values, terminated, truncated, discount=discount, trace_decay=trace_decay
    )
    return returns - values


def normalised_advantages(advantages: Float[Array, "*T"]) -> Float[Array, "*T"]:
    """Advantages with zero mean and unit deviation (divided by the deviation plus 1e-8)."""
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)
