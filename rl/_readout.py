"""From messages to actions and back: the piece that a kind of action space needs of its own.

All readouts have the same methods; `logits` are what a choice is made by, some numbers for each
action. The noise of a choice is an argument, which makes it equivariant to permutations of actions.
Those with noise also tell the probability of an action, for what learns by gradients.
"""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def soft_clip(x: Float[Array, "*n"], bound: float | None) -> Float[Array, "*n"]:
    """`bound tanh(x / bound)`: the identity near zero, never beyond `bound`; `None`: no bound."""
    return x if bound is None else bound * jnp.tanh(x / bound)


def _check_scale(scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"`logit_scale` must be a number above 0, got {scale}.")


class Categorical(eqx.Module):
    """Discrete actions: logits are one number for each action, the feedback is its one-hot.

    A sample is the largest of `logits + noise` with Gumbel noise.
    """

    scale: float = eqx.field(static=True, default=1.0)
    bound: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        _check_scale(self.scale)
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

    def log_prob(self, logits: Float[Array, " B"], action: Int[Array, ""]) -> Float[Array, ""]:
        """The logarithm of the probability of an action that exists."""
        return jax.nn.log_softmax(logits)[action]

    def entropy(self, logits: Float[Array, " B"]) -> Float[Array, ""]:
        """How undecided a choice is, in nats; actions that do not exist add nothing."""
        log_probs = jax.nn.log_softmax(logits)
        log_probs = jnp.where(jnp.isneginf(logits), 0.0, log_probs)
        return -(jax.nn.softmax(logits) * log_probs).sum()

    def feedback(
        self, action: Int[Array, ""], num_actions: int, dtype: jnp.dtype
    ) -> Float[Array, " B"]:
        """What the learner is told of its last action; zeros for -1, no action yet."""
        return jax.nn.one_hot(action, num_actions, dtype=dtype)


class Deterministic(eqx.Module):
    """Continuous actions without noise: each of the `B` numbers is `tanh(scale message)`.

    - `scale`: what the messages are multiplied by.
    """

    channels: ClassVar[int] = 1
    scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_scale(self.scale)

    def logits(
        self, messages: Float[Array, "B 1"], mask: Bool[Array, " B"] | None
    ) -> Float[Array, "B 1"]:
        """The actions, 0 where one does not exist."""
        means = jnp.tanh(self.scale * messages)
        return means if mask is None else jnp.where(mask[:, None], means, 0.0)

    def noise(self, num_actions: int, dtype: jnp.dtype, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """Zeros: nothing is drawn."""
        del key
        return jnp.zeros((num_actions,), dtype)

    def choose(self, logits: Float[Array, "B 1"], noise: Float[Array, " B"]) -> Float[Array, " B"]:
        """The actions."""
        del noise
        return logits[:, 0]

    def feedback(
        self, action: Float[Array, " B"], num_actions: int, dtype: jnp.dtype
    ) -> Float[Array, " B"]:
        """What the learner is told of its last action: the action itself."""
        del num_actions
        return action.astype(dtype)


class Gaussian(eqx.Module):
    """Continuous actions with noise: `B` independent normal numbers, clipped to -1 and 1.

    The first channel of a message gives the mean, `tanh(scale message)`, and the second the
    standard deviation, between `least` and `most` on a logarithmic scale.

    - `scale`: what the messages are multiplied by.
    - `least`, `most`: bounds of the standard deviation.
    """

    channels: ClassVar[int] = 2
    scale: float = eqx.field(static=True, default=1.0)
    least: float = eqx.field(static=True, default=0.05)
    most: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_scale(self.scale)
        if not 0 < self.least <= self.most < math.inf:
            raise ValueError(
                f"The deviation must lie between `least` and `most`, two numbers above 0 in that "
                f"order; got {self.least} and {self.most}."
            )

    def logits(
        self, messages: Float[Array, "B 2"], mask: Bool[Array, " B"] | None
    ) -> Float[Array, "B 2"]:
        """Means and logarithms of deviations; always 0 where an action does not exist."""
        scaled = self.scale * messages
        low, high = math.log(self.least), math.log(self.most)
        means, spreads = jnp.tanh(scaled[:, 0]), low + (high - low) * jax.nn.sigmoid(scaled[:, 1])
        if mask is not None:
            means, spreads = jnp.where(mask, means, 0.0), jnp.where(mask, spreads, -jnp.inf)
        return jnp.stack([means, spreads], axis=1)

    def noise(self, num_actions: int, dtype: jnp.dtype, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """The noise of one choice: standard normal."""
        return jr.normal(key, (num_actions,), dtype)

    def choose(self, logits: Float[Array, "B 2"], noise: Float[Array, " B"]) -> Float[Array, " B"]:
        """A sample."""
        return jnp.clip(logits[:, 0] + jnp.exp(logits[:, 1]) * noise, -1.0, 1.0)

    def log_prob(self, logits: Float[Array, "B 2"], action: Float[Array, " B"]) -> Float[Array, ""]:
        """The logarithm of the probability of an action, numbers from -1 to 1.

        Inside, it is that of a density; at -1 and 1, of the chance to be clipped there. So
        gradients of it are those of what is done, and not of a number that nobody saw.
        """
        means, spreads = logits[:, 0], logits[:, 1]
        exists = ~jnp.isneginf(spreads)
        spreads = jnp.where(exists, spreads, 0.0)
        z = (action - means) * jnp.exp(-spreads)
        inside = -0.5 * z**2 - spreads - 0.5 * math.log(2.0 * math.pi)
        beyond = jax.scipy.special.log_ndtr(jnp.where(action > 0.0, -z, z))
        log_probs = jnp.where(jnp.abs(action) < 1.0, inside, beyond)
        return jnp.where(exists, log_probs, 0.0).sum()

    def entropy(self, logits: Float[Array, "B 2"]) -> Float[Array, ""]:
        """How undecided a choice is before it is clipped, in nats, for the numbers that exist."""
        spreads = logits[:, 1]
        exists = ~jnp.isneginf(spreads)
        each = jnp.where(exists, spreads, 0.0) + 0.5 * math.log(2.0 * math.pi * math.e)
        return jnp.where(exists, each, 0.0).sum()

    def feedback(
        self, action: Float[Array, " B"], num_actions: int, dtype: jnp.dtype
    ) -> Float[Array, " B"]:
        """What the learner is told of its last action: the action itself."""
        del num_actions
        return action.astype(dtype)


Readout = Categorical | Gaussian | Deterministic
