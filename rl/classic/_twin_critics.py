"""A deterministic policy with twin critics: the networks of TD3 and of what builds on it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .._learner import Spaces
from ._networks import Perceptron, orthogonal


class Critic(eqx.Module):
    """The value of an action on an observation: linear layers with relu between them.

    - `observation_weights`, `action_weights`, `bias`, `norm`: of the first layer.
    - `rest`: the other layers.
    """

    observation_weights: Float[Array, "*n hidden A"]
    action_weights: Float[Array, "*n hidden B"]
    bias: Float[Array, "*n hidden"]
    norm: eqx.nn.LayerNorm | None
    rest: Perceptron

    def __init__(
        self,
        spaces: Spaces,
        hidden_sizes: tuple[int, ...],
        *,
        layer_norm: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `spaces`: of the task.
        - `hidden_sizes`: at least one.
        - `layer_norm`: whether hidden layers are normalised.
        - `key`: the random key of the weights.
        """
        observation_key, action_key, rest_key = jr.split(key, 3)
        first, gain = hidden_sizes[0], jnp.sqrt(2.0)
        self.observation_weights = gain * orthogonal(
            first, spaces.observation_size, key=observation_key
        )
        self.action_weights = gain * orthogonal(first, spaces.num_actions, key=action_key)
        self.bias = jnp.zeros((first,))
        self.norm = eqx.nn.LayerNorm(first) if layer_norm else None
        self.rest = Perceptron((*hidden_sizes, 1), relu=True, layer_norm=layer_norm, key=rest_key)

    def __call__(
        self, observation: Float[Array, " A"], action: Float[Array, " B"]
    ) -> Float[Array, ""]:
        """The discounted return to be expected."""
        return self._of(observation, self.action_weights @ action)

    def of_each(self, observation: Float[Array, " A"]) -> Float[Array, " B"]:
        """The same of each discrete action: of its one-hot."""
        return jax.vmap(self._of, in_axes=(None, 1))(observation, self.action_weights)

    def _of(
        self, observation: Float[Array, " A"], action: Float[Array, " hidden"]
    ) -> Float[Array, ""]:
        """The same, of what the action adds to the first layer."""
        first = jax.nn.relu(self.observation_weights @ observation + action + self.bias)
        return self.rest(first if self.norm is None else self.norm(first))[0]


class Networks(eqx.Module):
    """A deterministic policy and twin critics, which share nothing.

    - `actor`: its outputs, through tanh, are the action; if actions are discrete, through a
        softmax, their probabilities.
    - `critics`: two, stacked along the first axis of each array.
    - `continuous`: whether actions are.
    """

    actor: Perceptron
    critics: Critic
    continuous: bool = eqx.field(static=True)

    def __init__(
        self,
        spaces: Spaces,
        hidden_sizes: tuple[int, ...],
        *,
        layer_norm: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `spaces`: of the task.
        - `hidden_sizes`: of each.
        - `layer_norm`: whether hidden layers are normalised.
        - `key`: the random key of the weights.
        """
        self.continuous = spaces.continuous
        actor_key, critics_key = jr.split(key)
        sizes = (spaces.observation_size, *hidden_sizes, spaces.num_actions)
        self.actor = Perceptron(
            sizes, last_scale=0.1, relu=True, layer_norm=layer_norm, key=actor_key
        )
        self.critics = jax.vmap(
            lambda key: Critic(spaces, hidden_sizes, layer_norm=layer_norm, key=key)
        )(jr.split(critics_key))

    def policy(
        self, observation: Float[Array, " A"], mask: Bool[Array, " B"] | None
    ) -> Float[Array, " B"]:
        """The action on an observation, or the probabilities of all; 0 where one does not exist."""
        if not self.continuous:
            logits = self.actor(observation)
            return jax.nn.softmax(logits if mask is None else jnp.where(mask, logits, -jnp.inf))
        action = jnp.tanh(self.actor(observation))
        return action if mask is None else jnp.where(mask, action, 0.0)

    def value(
        self, observation: Float[Array, " A"], action: Float[Array, " B"]
    ) -> Float[Array, ""]:
        """What the first critic, by which policies go, expects of an action or of probabilities."""
        return self._expected(jax.tree.map(lambda x: x[0], self.critics), observation, action)

    def values(
        self, observation: Float[Array, " A"], action: Float[Array, " B"]
    ) -> Float[Array, "2"]:
        """What either critic expects of an action, or of probabilities of actions."""
        return jax.vmap(lambda critic: self._expected(critic, observation, action))(self.critics)

    def values_of_done(
        self, observation: Float[Array, " A"], action: Float[Array, " B"]
    ) -> Float[Array, "2"]:
        """What either critic expects of an action that was done; of its one-hot, if discrete."""
        return jax.vmap(lambda critic: critic(observation, action))(self.critics)

    def _expected(
        self, critic: Critic, observation: Float[Array, " A"], action: Float[Array, " B"]
    ) -> Float[Array, ""]:
        """The value of an action, or the mean of the values of all discrete ones.

        Critics learn from one-hots only, and so can tell nothing of what lies between them.
        """
        if self.continuous:
            return critic(observation, action)
        return (action * critic.of_each(observation)).sum()
