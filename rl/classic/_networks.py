"""Small networks with weights of their own, and the distributions of actions that they make."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._learner import Spaces

_ITERATIONS = 40


class Perceptron(eqx.Module):
    """Linear layers with tanh or relu between them; its leaves are arrays only.

    - `weights`, `biases`: of each layer, from the input to the output.
    - `norms`: of each hidden layer, after the tanh or relu; none without `layer_norm`.
    - `relu`: instead of tanh.
    """

    weights: tuple[Float[Array, "outputs inputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    relu: bool = eqx.field(static=True)

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        last_scale: float = 1.0,
        relu: bool = False,
        layer_norm: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `sizes`: of the input, the hidden layers and the output.
        - `last_scale`: the gain of the last layer.
        - `relu`: whether units are rectified, instead of tanh.
        - `layer_norm`: whether hidden layers are normalised (Ba et al. 2016, arXiv:1607.06450).
        - `key`: the random key of the weights: orthogonal, with gain `sqrt(2)` in hidden layers
            (Engstrom et al. 2020, arXiv:2005.12729); biases are zero.
        """
        keys = jr.split(key, len(sizes) - 1)
        scales = [math.sqrt(2.0)] * (len(sizes) - 2) + [last_scale]
        shapes = zip(sizes[1:], sizes[:-1], strict=True)
        self.weights = tuple(
            scale * orthogonal(*shape, key=k)
            for shape, scale, k in zip(shapes, scales, keys, strict=True)
        )
        self.biases = tuple(jnp.zeros((size,)) for size in sizes[1:])
        self.norms = tuple(eqx.nn.LayerNorm(size) for size in sizes[1:-1] if layer_norm)
        self.relu = relu

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """The output of the last layer."""
        for k, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            x = weight @ x + bias
            x = jax.nn.relu(x) if self.relu else jnp.tanh(x)
            x = self.norms[k](x) if self.norms else x
        return self.weights[-1] @ x + self.biases[-1]


def orthogonal(outputs: int, inputs: int, *, key: PRNGKeyArray) -> Float[Array, "outputs inputs"]:
    """A random matrix with orthonormal rows or columns, whichever are fewer.

    The polar factor of a normal matrix, by the iteration of Newton and Schulz (Björck and Bowie
    1971), which needs products only. A decomposition by LAPACK in many lives at once can wait for
    ever on a CPU with few cores.
    """
    normal = jr.normal(key, (outputs, inputs))
    start = normal / jnp.sqrt((normal**2).sum())
    return jax.lax.fori_loop(0, _ITERATIONS, lambda _, w: 1.5 * w - 0.5 * (w @ w.T) @ w, start)


class Choice(eqx.Module):
    """A distribution over discrete actions; those that do not exist have no probability."""

    log_probs: Float[Array, " B"]

    def __init__(self, logits: Float[Array, " B"], mask: Bool[Array, " B"] | None):
        """**Arguments:** `logits`: of each action; `mask`: which exist, `None` for all."""
        masked = logits if mask is None else jnp.where(mask, logits, -jnp.inf)
        self.log_probs = jax.nn.log_softmax(masked)

    def sample(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """One action."""
        return jr.categorical(key, self.log_probs).astype(jnp.int32)

    def vector(self, action: Int[Array, ""]) -> Float[Array, " B"]:
        """An action as the one-hot that `log_prob` takes."""
        chosen = jnp.arange(self.log_probs.shape[0], dtype=action.dtype) == action
        return chosen.astype(self.log_probs.dtype)

    def log_prob(self, vector: Float[Array, " B"]) -> Float[Array, ""]:
        """The logarithm of the probability of an action."""
        return jnp.where(vector > 0.0, self.log_probs, 0.0).sum()

    def entropy(self) -> Float[Array, ""]:
        """In nats."""
        finite = jnp.where(jnp.isfinite(self.log_probs), self.log_probs, 0.0)
        return -(jnp.exp(self.log_probs) * finite).sum()


class Gaussian(eqx.Module):
    """A distribution over continuous actions, independent of each other.

    Those that do not exist are 0 and do not count.
    """

    mean: Float[Array, " B"]
    log_std: Float[Array, " B"]
    mask: Bool[Array, " B"] | None

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " B"]:
        """One action, not clipped."""
        noise = jr.normal(key, self.mean.shape, self.mean.dtype)
        return self._existing(self.mean + jnp.exp(self.log_std) * noise)

    def vector(self, action: Float[Array, " B"]) -> Float[Array, " B"]:
        """The action itself, which `log_prob` takes."""
        return action

    def log_prob(self, vector: Float[Array, " B"]) -> Float[Array, ""]:
        """The logarithm of the density at an action."""
        z = (vector - self.mean) * jnp.exp(-self.log_std)
        return self._existing(-0.5 * z**2 - self.log_std - 0.5 * math.log(2 * math.pi)).sum()

    def entropy(self) -> Float[Array, ""]:
        """In nats."""
        return self._existing(self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def _existing(self, x: Float[Array, " B"]) -> Float[Array, " B"]:
        return x if self.mask is None else jnp.where(self.mask, x, 0.0)


class ActorCritic(eqx.Module):
    """Two networks that share nothing: one for the policy and one for the value."""

    actor: Perceptron
    critic: Perceptron
    log_std: Float[Array, " B"] | None

    def __init__(
        self,
        spaces: Spaces,
        hidden_sizes: tuple[int, ...],
        *,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `spaces`: of the task.
        - `hidden_sizes`: of either network.
        - `key`: the random key of the weights. The last layer of the actor has a gain of 0.01, so
            that all actions are about as likely at birth (Andrychowicz et al. 2021,
            arXiv:2006.05990).
        """
        actor_key, critic_key = jr.split(key)
        sizes = (spaces.observation_size, *hidden_sizes)
        outputs = spaces.num_actions
        self.actor = Perceptron((*sizes, outputs), last_scale=0.01, key=actor_key)
        self.critic = Perceptron((*sizes, 1), key=critic_key)
        self.log_std = jnp.zeros((outputs,)) if spaces.continuous else None

    def policy(
        self, observation: Float[Array, " A"], mask: Bool[Array, " B"] | None
    ) -> Choice | Gaussian:
        """The distribution of the action on an observation."""
        outputs = self.actor(observation)
        if self.log_std is None:
            return Choice(outputs, mask)
        return Gaussian(outputs, self.log_std, mask)

    def value(self, observation: Float[Array, " A"]) -> Float[Array, ""]:
        """The discounted return to be expected after an observation."""
        return self.critic(observation)[0]
