"""Steps of optax on the networks of an agent."""

import equinox as eqx
import jax
import optax
from jaxtyping import PyTree


def clipped(
    optimiser: optax.GradientTransformation, max_gradient_norm: float
) -> optax.GradientTransformation:
    """An optimiser that takes gradients scaled down to a greatest norm."""
    return optax.chain(optax.clip_by_global_norm(max_gradient_norm), optimiser)


def begin(optimiser: optax.GradientTransformation, networks: PyTree) -> PyTree:
    """The state of an optimiser before its first step."""
    return optimiser.init(eqx.filter(networks, eqx.is_array))


def descend(
    optimiser: optax.GradientTransformation, networks: PyTree, state: PyTree, gradient: PyTree
) -> tuple[PyTree, PyTree]:
    """Networks and the optimiser's state after one step along a gradient.

    **Arguments:**

    - `optimiser`: any of optax.
    - `networks`: a PyTree whose arrays are learned.
    - `state`: of the optimiser.
    - `gradient`: shaped like `networks`.
    """
    with jax.numpy_dtype_promotion("standard"):  # optax mixes whole numbers and fractions
        change, state = optimiser.update(gradient, state)
    return eqx.apply_updates(networks, change), state
