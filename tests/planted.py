"""One small symmetric learner in plain JAX, and the ways in which people break such learners.

`# BUG name` marks the line that a certifier should blame.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

HIDDEN, MESSAGE = 4, 3
_RNG = np.random.default_rng(5)


def _weight(*shape: int) -> Array:
    return jnp.asarray(_RNG.normal(size=shape), jnp.float32)


OWN, UP, DOWN = _weight(HIDDEN, 2 * HIDDEN), _weight(MESSAGE, 2 * HIDDEN), _weight(MESSAGE, 8)
SEEN, DONE, PAID = (_weight(2 * HIDDEN) for _ in range(3))
AHEAD, BACK, READ = _weight(HIDDEN, MESSAGE), _weight(HIDDEN, MESSAGE), _weight(MESSAGE)

INPUTS, ACTIONS = 4, 3  # of those that hold arrays of one size
PER_INPUT = _weight(INPUTS)
DENSE, DENSE_OWN, DENSE_OUT = _weight(INPUTS, HIDDEN), _weight(HIDDEN, HIDDEN), _weight(HIDDEN, 3)
GATES = _weight(INPUTS + ACTIONS + 1 + HIDDEN, 2 * HIDDEN)


class State(NamedTuple):
    """Cells `[A B N]`, messages to inputs `[A M]` and to outputs `[B M]`."""

    cells: Any
    up: Any
    down: Any


STATE = State("A B 4", "A 3", "B 3")


def birth(noise: Array, bug: str = "") -> State:
    """The state at birth, from noise `[A B N]`."""
    inputs, outputs, _ = noise.shape
    if bug == "5":
        noise = 0.1 * noise + jnp.eye(inputs, outputs)[:, :, None]  # BUG 5
    if bug == "5b":
        noise = noise.at[0].set(1.0)  # BUG 5b
    return State(noise, jnp.zeros((inputs, MESSAGE)), jnp.zeros((outputs, MESSAGE)))


def step(state: State, seen: Array, done: Array, paid: Array, bug: str = "") -> tuple[State, Array]:
    """One tick: observation `[A]`, last action `[B]` and reward; the logits `[B]`."""
    inputs, outputs, _ = state.cells.shape
    if bug == "1":
        seen = seen + 0.01 * jnp.arange(inputs, dtype=jnp.float32)  # BUG 1
    if bug == "1b":
        seen = seen + jnp.linspace(0.0, 1.0, inputs)  # BUG 1b
    if bug == "2":
        seen = seen + PER_INPUT  # BUG 2
    if bug == "3":
        seen = seen - seen[0]  # BUG 3
    if bug == "4":
        seen = jnp.cumsum(seen)  # BUG 4
    if bug == "7":
        _, seen = lax.scan(lambda s, x: (0.5 * s + x, s + x), 0.0, seen)  # BUG 7
    if bug == "10":
        seen = jnp.flip(seen.reshape(2, -1), axis=0).reshape(inputs)  # BUG 10
    own = state.cells @ OWN + (state.up @ UP)[:, None]
    if bug == "9":
        own = own + (state.down @ DOWN)[:, None]  # BUG 9
    else:
        own = own + (state.down @ DOWN)[None]
    own = own + jnp.outer(seen, SEEN)[:, None] + jnp.outer(done, DONE)[None]
    own = own + (paid * PAID)[None, None]
    keep, new = jnp.split(own, 2, axis=-1)
    cells = jax.nn.sigmoid(keep) * state.cells + jnp.tanh(new)
    state = State(cells, jnp.mean(cells @ BACK, axis=1), jnp.mean(cells @ AHEAD, axis=0))
    logits = jnp.tanh(state.down) @ READ
    if bug == "6b":
        logits = logits + 1e-6 * jnp.arange(outputs, dtype=jnp.float32)  # BUG 6b
    return state, logits


def greedy(logits: Array, bug: str = "") -> Array:
    """The best action `[B]`, as a one-hot vector."""
    size = logits.shape[0]
    action = jnp.argmax(logits)
    if bug == "6":
        action = (action + 1) % size  # BUG 6
    chosen = jax.nn.one_hot(action, size)
    if bug == "6c":
        chosen = jnp.where(action == 0, 2.0 * chosen, chosen)  # BUG 6c
    return chosen


def rollout(noise: Array, seen: Array, paid: Array, bug: str = "") -> Array:
    """The logits `[t B]` of a life, from noise, observations `[t A]` and rewards `[t]`."""

    def live(carry: tuple, now: tuple) -> tuple:
        state, done = carry
        state, logits = step(state, now[0], done, now[1], bug)
        return (state, greedy(logits, bug)), logits

    start = birth(noise, bug), jnp.zeros(noise.shape[1])
    return lax.scan(live, start, (seen, paid))[1]


def dense(hidden: Array, seen: Array, done: Array, paid: Array) -> tuple[Array, Array]:
    """A recurrent network: weights of its own for each input `[A]` and output `[B]`."""
    drive = seen @ DENSE  # BUG 8
    hidden = jnp.tanh(hidden @ DENSE_OWN + drive + jnp.sum(done) + paid)
    return hidden, hidden @ DENSE_OUT


def gated(hidden: Array, seen: Array, done: Array, paid: Array) -> tuple[Array, Array]:
    """As `dense`, with gates that see all at once."""
    everything = jnp.concatenate([seen, done, paid[None], hidden])  # BUG 8'
    keep, new = jnp.split(everything @ GATES, 2)
    hidden = jax.nn.sigmoid(keep) * hidden + jnp.tanh(new)
    return hidden, hidden @ DENSE_OUT


def line_of(name: str) -> int:
    """The number of the line with that bug."""
    with open(__file__) as file:
        found = [i for i, line in enumerate(file, 1) if line.endswith(f"# BUG {name}\n")]
    (line,) = found
    return line
