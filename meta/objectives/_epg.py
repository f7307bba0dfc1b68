"""EPG: a loss that is evolved, and reads all that a learner has seen of late."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

import rl
from rl.classic import Adaptive, AdaptiveState, Perceptron, Transitions, descend

_FIRST, _SECOND = (6, 5), (4, 2)  # kernels and strides over time
_FILTERS, _CONTEXT, _HIDDEN = 16, 32, 16
_LEAST = (_SECOND[0] - 1) * _FIRST[1] + _FIRST[0]  # steps that both kernels span


class EPGNetworks(eqx.Module):
    """The learned variables of an EPG.

    - `actor`: from an observation to what an action is drawn by.
    - `optimiser`: the state of Adam.
    """

    actor: Perceptron
    optimiser: PyTree


class TemporalLoss(eqx.Module):
    """From the last steps, and what a policy would do in them, to what it shall minimise (Houthooft
    et al. 2018, arXiv:1802.04821, section 3.3 and appendix).

    Two convolutions over time and a mean make a context of what was remembered; with it, two layers
    make a number of each step.
    """

    first: eqx.nn.Conv1d
    second: eqx.nn.Conv1d
    context: eqx.nn.Linear
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear

    def __init__(self, inputs: int, *, key: PRNGKeyArray):
        """**Arguments:** `inputs`: numbers that are known of a step; `key`: random."""
        keys = jr.split(key, 5)
        self.first = eqx.nn.Conv1d(inputs, _FILTERS, *_FIRST, key=keys[0])
        self.second = eqx.nn.Conv1d(_FILTERS, 2 * _FILTERS, *_SECOND, key=keys[1])
        self.context = eqx.nn.Linear(2 * _FILTERS, _CONTEXT, key=keys[2])
        self.hidden = eqx.nn.Linear(inputs + _CONTEXT, _HIDDEN, key=keys[3])
        self.output = eqx.nn.Linear(_HIDDEN, "scalar", key=keys[4])

    def summary(self, steps: Float[Array, "N inputs"]) -> Float[Array, "32"]:
        """The context of all that is remembered."""
        x = jax.nn.leaky_relu(self.first(steps.T))
        x = jax.nn.leaky_relu(self.second(x))
        return self.context(x.mean(1))

    def __call__(
        self, steps: Float[Array, "n inputs"], context: Float[Array, "32"]
    ) -> Float[Array, ""]:
        """The mean over some steps.

        **Arguments:**

        - `steps`: what is known of each.
        - `context`: as `summary` makes it.
        """

        def one(step: Float[Array, " inputs"]) -> Float[Array, ""]:
            return self.output(jax.nn.leaky_relu(self.hidden(jnp.concatenate([step, context]))))

        return jax.vmap(one)(steps).mean()


class EPG(Adaptive[EPGNetworks]):
    """Evolved policy gradients (Houthooft et al. 2018, arXiv:1802.04821).

    Its meta-variables are those of a loss, its learned variables a policy that begins at random in
    each life. Every `rollout` steps, Adam goes through the newest of them once, in minibatches,
    down the loss, which reads of each step the observation, the action, the reward, whether the
    episode ended, and what the policy draws its action by; gradients reach the policy through the
    last. Observations and actions have places in it, so that the sizes are fixed and their order
    matters: wrap tasks of other sizes in `rl.envs.Pad`.

    It is meta-trained by `meta.EvolutionStrategy`. The paper's code normalises observations, begins
    with PPO in place of the loss, has a bonus for rare observations that is always 1, and updates
    on the oldest steps that it remembers; none of that is here.
    """

    loss: TemporalLoss
    observation_size: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    rollout: int = eqx.field(static=True)
    buffer: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    continuous: bool = eqx.field(static=True)

    def __init__(
        self,
        observation_size: int,
        num_actions: int,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        rollout: int = 64,
        buffer: int = 512,
        minibatches: int = 2,
        learning_rate: float = 1e-3,
        continuous: bool = False,
        key: PRNGKeyArray,
    ):
        """All defaults are the paper's.

        **Arguments:**

        - `observation_size`, `num_actions`: `A` and `B`; fixed for good.
        - `hidden_sizes`: of the policy.
        - `rollout`: `M`, environment steps from one update to the next.
        - `buffer`: `N`, environment steps that the loss reads, a multiple of `rollout`.
        - `minibatches`: steps of Adam in each update, each on as many environment steps.
        - `learning_rate`: of Adam.
        - `continuous`: whether it is for continuous actions, which are `rl.Gaussian`.
        - `key`: the random key of the loss.

        **Raises:** `ValueError` for sizes and counts below one, a buffer that is no multiple of
        `rollout` or shorter than what the convolutions span, a rollout that is no multiple of
        `minibatches`, or a learning rate that is not above 0.
        """
        sizes = {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        counts = {"observation_size": observation_size, "num_actions": num_actions}
        counts |= {"rollout": rollout, "minibatches": minibatches}
        for name, count in {**counts, **sizes}.items():
            if count < 1:
                raise ValueError(f"`{name}` must be at least 1, got {count}.")
        if buffer < _LEAST or buffer % rollout:
            raise ValueError(
                f"`buffer` must be a multiple of `rollout`, {rollout}, and at least {_LEAST}, as "
                f"many as the convolutions span; got {buffer}."
            )
        if rollout % minibatches:
            raise ValueError(
                f"`rollout` must be a multiple of `minibatches`, {minibatches}; got {rollout}."
            )
        if not 0.0 < learning_rate < float("inf"):
            raise ValueError(f"`learning_rate` must be a number above 0, got {learning_rate}.")
        channels = rl.Gaussian.channels if continuous else 1
        inputs = observation_size + num_actions * (1 + channels) + 2
        self.loss = TemporalLoss(inputs, key=key)
        self.observation_size, self.num_actions = observation_size, num_actions
        self.hidden_sizes, self.rollout, self.buffer = tuple(hidden_sizes), rollout, buffer
        self.minibatches, self.learning_rate = minibatches, float(learning_rate)
        self.continuous = continuous

    @property
    def memory(self) -> int:
        """The option `buffer`."""
        return self.buffer

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)

    def newborn(self, spaces: rl.Spaces, *, key: PRNGKeyArray) -> EPGNetworks:
        """A policy with random weights; see `Adaptive.newborn`.

        **Raises:** `ValueError` for other sizes or another kind of actions than it was made for.
        """
        spaces.check_fixed(self, self.observation_size, self.num_actions, self.continuous)
        outputs = self.num_actions * (rl.Gaussian.channels if self.continuous else 1)
        sizes = (self.observation_size, *self.hidden_sizes, outputs)
        actor: Any = Perceptron(sizes, last_scale=0.01, key=key)
        return EPGNetworks(actor, self.optimiser.init(actor))

    def outputs(self, networks: EPGNetworks, observation: Float[Array, " A"]) -> Float[Array, " O"]:
        """Those of the actor."""
        return networks.actor(observation)

    def adapt(self, state: AdaptiveState[EPGNetworks], rollout: Transitions) -> EPGNetworks:
        """One pass of Adam through the newest steps; see `Adaptive.adapt`."""
        context = self.loss.summary(self.known(state.networks, rollout, state))
        parts = jax.tree.map(
            lambda x: x[-self.rollout :].reshape(self.minibatches, -1, *x.shape[1:]), rollout
        )

        def step(networks: EPGNetworks, part: Transitions) -> tuple[EPGNetworks, None]:
            def loss(actor: Perceptron) -> Float[Array, ""]:
                now = EPGNetworks(actor, networks.optimiser)
                return self.loss(self.known(now, part, state), context)

            gradient = jax.grad(loss)(networks.actor)
            changed = descend(self.optimiser, networks.actor, networks.optimiser, gradient)
            return EPGNetworks(*changed), None

        return jax.lax.scan(step, state.networks, parts)[0]

    def known(
        self, networks: EPGNetworks, steps: Transitions, state: AdaptiveState[EPGNetworks]
    ) -> Float[Array, "n inputs"]:
        """What the loss reads of each step.

        **Arguments:**

        - `networks`: with the policy.
        - `steps`: `n` of them.
        - `state`: which has the mask of the actions, and what outputs mean.
        """
        mask, readout = state.experience.action_mask, state.readout

        def one(step: Transitions) -> Float[Array, " inputs"]:
            logits = self.logits(networks, step.observations, mask, readout)
            if not self.continuous:
                logits = jax.nn.log_softmax(logits)
            logits = jnp.where(jnp.isneginf(logits), 0.0, logits).reshape(-1)
            ended = (step.terminated | step.truncated).astype(logits.dtype)
            numbers = jnp.stack([step.rewards, ended])
            return jnp.concatenate([step.observations, step.actions, numbers, logits])

        return jax.vmap(one)(steps)
