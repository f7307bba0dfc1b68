"""Recipes for the random state of the cells at birth.

A recipe turns standard normal noise, i.i.d. over the grid, into the values that `cell.init`
makes states of. It must treat all positions alike: that is what makes a layer's behaviour
independent, in law, of the order of its inputs and outputs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Recipe = Callable[[Float[Array, "A B N"], Float[Array, ""]], Float[Array, "A B N"]]


def normal(scale: float = 1.0) -> Recipe:
    """Every unit normal with standard deviation `scale`."""

    def recipe(noise: Float[Array, "A B N"], inputs: Float[Array, ""]) -> Float[Array, "A B N"]:
        del inputs
        return scale * noise

    return recipe


def official(noise: Float[Array, "A B N"], inputs: Float[Array, ""]) -> Float[Array, "A B N"]:
    """The recipe of the code of VSML: half of the units random, the other half zero.

    The first `N // 2` units are normal, cut off at two standard deviations, with a standard
    deviation (before the cut) of `1 / sqrt(A)`.

    **Arguments:**

    - `noise`: standard normal numbers; the cut is made by their quantiles.
    - `inputs`: the number of inputs, `A` less those that are masked.
    """
    units = noise.shape[-1]
    bound = jax.scipy.special.erf(jnp.asarray(2.0 / 2.0**0.5, noise.dtype))
    centred = jax.scipy.special.erf(noise / 2.0**0.5)
    cut = jnp.clip(2.0**0.5 * jax.scipy.special.erfinv(centred * bound), -2.0, 2.0)
    return jnp.where(jnp.arange(units) < units // 2, cut / jnp.sqrt(inputs), 0.0)


def zeros(noise: Float[Array, "A B N"], inputs: Float[Array, ""]) -> Float[Array, "A B N"]:
    """All zero: cells that receive the same inputs then stay the same for ever."""
    del inputs
    return jnp.zeros_like(noise)


def resolve(recipe: str | Recipe, scale: float) -> Recipe:
    """The recipe of that name, or the user's own."""
    named = {"normal": normal(scale), "official": official, "zeros": zeros}
    if isinstance(recipe, str):
        if recipe not in named:
            raise ValueError(
                f"`initial_state` must be one of {', '.join(named)} or a function "
                f"(noise[A B N], number of inputs) -> [A B N]; got {recipe!r}."
            )
        return named[recipe]
    return recipe
