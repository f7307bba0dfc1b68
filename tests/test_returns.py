"""Returns and advantages against values derived by hand, and against a plain loop."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close
from jaxtyping import Array

from rl.classic import discounted_returns, generalised_advantages, lambda_returns

# Four steps that lead to values 10, 20, 30 and 40.
REWARDS, NEXT = [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]
NEVER = [False] * 4
THIRD = [False, False, True, False]


def arrays(terminated, truncated, *rows) -> list[Array]:
    numbers = [jnp.asarray(row, jnp.float32) for row in rows]
    return [*numbers, jnp.asarray(terminated), jnp.asarray(truncated)]


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # 4 + 40 / 2 = 24; 3 + 24 / 2 = 15; 2 + 15 / 2 = 9.5; 1 + 9.5 / 2 = 5.75
        (NEVER, NEVER, [5.75, 9.5, 15.0, 24.0]),
        # The third step ends all: 3; 2 + 3 / 2 = 3.5; 1 + 3.5 / 2 = 2.75
        (THIRD, NEVER, [2.75, 3.5, 3.0, 24.0]),
        # It was only cut off, and led to 30: 3 + 30 / 2 = 18; 2 + 18 / 2 = 11; 1 + 11 / 2 = 6.5
        (NEVER, THIRD, [6.5, 11.0, 18.0, 24.0]),
        # Both at once: what is over by the rules would not have gone on.
        (THIRD, THIRD, [2.75, 3.5, 3.0, 24.0]),
    ],
    ids=["never", "terminated", "truncated", "both"],
)
def test_discounted_returns(terminated, truncated, expected):
    given = arrays(terminated, truncated, REWARDS, NEXT)
    close(discounted_returns(*given, discount=0.5), np.asarray(expected, np.float32))


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # Differences 1 + 5 - 5 = 1, 2 + 10 - 10 = 2, 3 + 15 - 20 = -2 and 4 + 20 - 30 = -6, each
        # with 0.5 x 0.5 = 0.25 of the advantage that follows.
        (NEVER, NEVER, [1 + 0.25 * 1.125, 2 - 0.25 * 3.5, -2 - 0.25 * 6, -6.0]),
        # The third difference is 3 - 20 = -17, and nothing follows.
        (THIRD, NEVER, [1 - 0.25 * 2.25, 2 - 0.25 * 17, -17.0, 16.0]),
        # It is -2 again, and nothing follows.
        (NEVER, THIRD, [1 + 0.25 * 1.5, 2 - 0.25 * 2, -2.0, 16.0]),
        (THIRD, THIRD, [1 - 0.25 * 2.25, 2 - 0.25 * 17, -17.0, 16.0]),
    ],
    ids=["never", "terminated", "truncated", "both"],
)
def test_generalised_advantages(terminated, truncated, expected):
    # The value before a step is that after the one before it, unless an episode began: 24 - 8.
    values = [5.0, 10.0, 20.0, 8.0 if terminated[2] or truncated[2] else 30.0]
    given = arrays(terminated, truncated, REWARDS, values, NEXT)
    found = generalised_advantages(*given, discount=0.5, trace_decay=0.5)
    close(found, np.asarray(expected, np.float32))


def test_no_trace_is_one_step_and_a_full_one_is_monte_carlo():
    terminated, truncated = [False, True, False, False], THIRD
    given = arrays(terminated, truncated, REWARDS, NEXT)
    close(
        lambda_returns(*given, discount=0.5, trace_decay=0.0),
        np.asarray([6, 2, 18, 24], np.float32),
    )
    full = lambda_returns(*given, discount=0.5, trace_decay=1.0)
    close(full, discounted_returns(*given, discount=0.5))


def test_any_stretch_is_what_a_plain_loop_makes_of_it():
    rng = np.random.default_rng(0)
    steps, discount, decay = 200, 0.97, 0.8
    rewards, values, after = rng.normal(size=(3, steps))
    terminated, truncated = rng.random((2, steps)) < 0.1
    goes_on = ~(terminated | truncated)
    after[:-1] = np.where(goes_on[:-1], values[1:], after[:-1])
    expected = np.zeros(steps)
    later = 0.0
    for t in reversed(range(steps)):
        difference = rewards[t] - values[t] + (0.0 if terminated[t] else discount * after[t])
        later = expected[t] = difference + (discount * decay * later if goes_on[t] else 0.0)
    given = arrays(terminated, truncated, rewards, values, after)
    found = generalised_advantages(*given, discount=discount, trace_decay=decay)
    close(found, expected, dtype="float32")
