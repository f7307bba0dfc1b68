"""Laws of evolution strategies: anything with `init`, `ask`, `tell` and `mean` as below.

`init(params, *, key) -> state`, `ask(state, like, *, key) -> members`,
`tell(state, members, fitness, *, key) -> state`, `mean(state, like) -> params`; higher fitness is
better.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._cases import Situation
from .._execution import compiled
from ._registry import assert_same, law

GENERATIONS = 400
"""How many independent generations the expectation is estimated from."""


_ROUNDING = 1e-6  # of the difference of two float32 numbers of the size of 1


def _shaping(strategy: Any) -> str:
    return getattr(strategy, "shaping", "rank")


def _params(situation: Situation) -> PyTree:
    return {"weight": situation.noise(2, 2), "bias": situation.noise(3, part=4)}


@law(
    "mean(tell(s, constant fitness)) = mean(s)",
    about="evolution",
    when=lambda strategy: _shaping(strategy) != "none",
)
def still_without_difference(strategy: Any, situation: Situation) -> None:
    """Where no member is better than another, the search stays where it is, bit for bit.

    Of a fitness without shaping this is true in expectation only, so it is not asked for. Broken by
    rounding: Adam makes a whole step of a gradient of 1e-7.
    """
    start, key = _params(situation), jr.key(situation.seed)
    for value in (0.0, 0.1, -1.0 / 3.0, 1e6 / 7.0):
        _, means = _search(strategy, start, _constant, jnp.asarray(value), key)
        assert_same(
            jax.tree.map(lambda x: x[-1], means),
            start,
            f"After two generations of a fitness that is {value:.4g} for all",
            one="the centre",
            other="the start",
        )


def _constant(members: PyTree, value: Array) -> Array:
    return jnp.full((jax.tree.leaves(members)[0].shape[0],), value)


@law(
    "tell(s, phi(fitness)) = tell(s, fitness) for increasing phi, where fitness is ranked",
    about="evolution",
    when=lambda strategy: _shaping(strategy) == "rank",
)
def order_only(strategy: Any, situation: Situation) -> None:
    """Ranks know which member is better, and not by how much.

    Bit for bit, for four increasing functions of a fitness with ties. Broken by any look at the
    differences.
    """
    start, key = _params(situation), jr.key(situation.seed)
    _, expected = _search(strategy, start, _scores, jnp.asarray(0), key)
    for number, name in enumerate(("3 x - 50", "x^3", "exp(x / 10)", "arctan(x / 10)"), start=1):
        _, means = _search(strategy, start, _scores, jnp.asarray(number), key)
        assert_same(means, expected, f"With phi(x) = {name}", one="phi(fitness)", other="fitness")


def _scores(members: PyTree, number: Array) -> Array:
    """Whole numbers, with ties, in an order that depends on the members; then phi of them."""
    total = sum(x.reshape(x.shape[0], -1).sum(1) for x in jax.tree.leaves(members))
    x = jnp.floor(jnp.argsort(jnp.argsort(jnp.asarray(total))) / 2).astype(jnp.float32) - 5.0
    # Of a few whole numbers, all of these are different in float32.
    x = jnp.clip(x, -5.0, 60.0)
    return jax.lax.switch(
        number,
        [
            lambda: x,
            lambda: 3.0 * x - 50.0,
            lambda: x**3,
            lambda: jnp.exp(x / 10.0),
            lambda: jnp.arctan(x / 10.0),
        ],
    )


@law(
    "on -|x - top|^2, E[step] points at the top, and -E[step] is that of the mirror image",
    about="evolution",
)
def unbiased(strategy: Any, situation: Situation, rate: float | None = None) -> None:
    """On a quadratic, the expected step leads to the top and nowhere else.

    Where the top is along one axis, it goes that way along it, and nowhere along all others; where
    it is as far the other way, it goes as far the other way. Both by symmetry, for any shaping and
    any optimiser that treats coordinates and signs alike. Means of 400 independent first
    generations, to six standard errors. Broken by a sign, a drift, or noise that is not that of
    the member.

    **Options:** `rate`: the learning rate of plain gradient ascent without shaping; then the
    expected step must be that times the gradient, `-2 rate (x - top)`.
    """
    size, start = 4, situation.noise(4)
    keys = jr.split(jr.key(situation.seed), 3)
    members, _ = _first_steps(strategy, start, start, keys[0])
    far = 3.0 * float(np.std(np.asarray(members) - np.asarray(start)))
    both = []
    for sign, key in ((1.0, keys[1]), (-1.0, keys[2])):
        offset = np.zeros(size, np.float32)
        offset[0] = sign * far
        _, steps = _first_steps(strategy, start, start + jnp.asarray(offset), key)
        where = f"With the top {offset[0]:.3g} away along coordinate 0"
        _zero(steps[:, 1:], f"{where}, across")
        if rate is not None:
            _zero(steps - 2.0 * rate * offset[None], f"{where}, beside 2 rate (top - x)")
        mean, error = sign * steps[:, 0].mean(), steps[:, 0].std() / GENERATIONS**0.5
        if not mean > 5.0 * error:
            raise AssertionError(
                f"{where}, a step goes {mean:.3g} towards it on average (standard error "
                f"{error:.2g}), which is not clearly towards it."
            )
        both.append(steps[:, :1])
    _zero(both[0] + both[1], "One way and the other added")


def _zero(steps: np.ndarray, where: str) -> None:
    """The mean of independent steps is zero."""
    mean, error = steps.mean(0), steps.std(0) / GENERATIONS**0.5
    wrong = ~(np.abs(mean) <= 6.0 * error + _ROUNDING)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise AssertionError(
            f"{where}, the mean step along coordinate {k} of {len(mean)} is {mean[k]:.4g} in "
            f"{GENERATIONS} generations, with a standard error of {error[k]:.2g}: not zero."
        )


def _first_steps(strategy: Any, start: Array, top: Array, key: PRNGKeyArray) -> tuple:
    """Members `[G P n]` and steps `[G n]` of independent first generations."""
    members, means = _generations(strategy, start, top, jr.split(key, GENERATIONS))
    return members, np.asarray(means, np.float64) - np.asarray(start, np.float64)


@compiled
def _generations(strategy: Any, start: Array, top: Array, keys: PRNGKeyArray) -> tuple:
    def one(key: PRNGKeyArray) -> tuple:
        state = strategy.init(start, key=key)
        members = strategy.ask(state, start, key=key)
        fitness = -((members - top[None]) ** 2).sum(1)
        return members, strategy.mean(strategy.tell(state, members, fitness, key=key), start)

    return jax.vmap(one)(keys)


@compiled
def _search(
    strategy: Any, start: PyTree, fitness_of: Callable, extra: Array, key: PRNGKeyArray
) -> tuple:
    """Two generations: all members, and the centre after each."""

    def one(state: PyTree, key: PRNGKeyArray) -> tuple:
        members = strategy.ask(state, start, key=key)
        fitness = fitness_of(members, extra)
        state = strategy.tell(state, members, fitness, key=key)
        return state, (members, strategy.mean(state, start))

    keys = jr.split(key, 2)
    return jax.lax.scan(one, strategy.init(start, key=keys[0]), keys)[1]
