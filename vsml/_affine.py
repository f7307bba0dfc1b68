import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


def fan_in_normal(shape: tuple[int, ...], fan_in: int, *, key: PRNGKeyArray) -> Float[Array, "..."]:
    """Normal numbers cut off at two standard deviations, scaled by `1 / sqrt(fan_in)`."""
    return jr.truncated_normal(key, -2.0, 2.0, shape) / jnp.sqrt(float(max(fan_in, 1)))


class Affine(eqx.Module):
    """An affine map of the last axis: `x @ weight + bias`, for any leading axes.

    Stored with inputs first, so that the rows which belong to one part of a concatenated
    input are one slice of `weight`.
    """

    weight: Float[Array, "I O"]
    bias: Float[Array, " O"] | None

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        fan_in: int | None = None,
        use_bias: bool = True,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `in_size`, `out_size`: sizes `I` and `O` of the last axis before and after.
        - `fan_in`: what scales the initial weights, `I` by default. More than `I` where the
            result is added to other maps (the recurrent weights of a cell, for example).
        - `use_bias`: whether there is a bias; it starts at zero.
        - `key`: the random key of the initial weights.
        """
        self.weight = fan_in_normal(
            (in_size, out_size), in_size if fan_in is None else fan_in, key=key
        )
        self.bias = jnp.zeros((out_size,), self.weight.dtype) if use_bias else None
