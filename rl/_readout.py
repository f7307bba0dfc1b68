"""From messages to actions and back: the piece that a kind of action space needs of its own."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def soft_clip(x: Float[Array, "*n"], bound: float | None) -> Float[Array, "*n"]:
    """`bound tanh(x / bound)`: the identity near zero, never beyond `bound`; `None`: no bound."""
    return x if bound is None else bound * jnp.tanh(x / bound)


class Categorical(eqx.Module):
    """Discrete actions: logits are one number for each action, the feedback is its one-hot.

    A sample is the largest of `logits + noise` with Gumbel noise, so that with the noise as an
    argument the choice is equivariant to permutations of the actions.
    """

    scale: float = eqx.field(static=True, default=1.0)
    bound: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not 0 < self.scale < math.inf:
            raise ValueError(f"`logit_scale` must be a number above 0, got {self.scale}.")
        if self.bound is not None and not 0 < self.bound < math.inf:
            raise ValueError(
                f"`soft_clip` must be a number above 0, or None for no bound; got {self.bound}."
            )

    def logits(
        self, messages: Float[Array, " B"], mask: Bool[Array, " B"] | None
    ) -> Float[Array, " B"]:
        """Scaled and softly clipped logits, minus infinity where an action does not exist."""
        logits = soft_clip(self.scale * messages, self.bound)
        return logits if mask is None else jnp.where(mask, logits, -jnp.inf)

    def noise(self, num_actions: int, dtype: jnp.dtype, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """The noise of one choice."""
        return jr.gumbel(key, (num_actions,), dtype)

    def choose(self, logits: Float[Array, " B"], noise: Float[Array, " B"]) -> Int[Array, ""]:
        """A sample of the categorical distribution of the logits."""
        return jnp.argmax(logits + noise).astype(jnp.int32)

    def feedback(
        self, action: Int[Array, ""], num_actions: int, dtype: jnp.dtype
    ) -> Float[Array, " B"]:
        """What the learner is told of its last action; zeros for -1, no action yet."""
        return jax.nn.one_hot(action, num_actions, dtype=dtype)
