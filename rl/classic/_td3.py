"""TD3: a deterministic policy, and two critics that learn from all that was lived."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._learner import Action, Spaces
from ._agent import Agent, above_zero, at_least_one, from_zero, shares
from ._experience import Experience, Transitions, draw
from ._networks import Choice, Perceptron
from ._optimisers import begin, descend
from ._twin_critics import Critic, Networks


class Actors(eqx.Module):
    """What a TD3 has learned.

    - `networks`: policy and critics.
    - `targets`: the same, which follow slowly.
    - `actor_optimiser`, `critic_optimiser`: the states of Adam.
    """

    networks: Networks
    targets: Networks
    actor_optimiser: PyTree
    critic_optimiser: PyTree


class TD3(Agent[Actors]):
    """Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018, arXiv:1802.09477),
    for continuous actions.

    DDPG (Lillicrap et al. 2016, arXiv:1509.02971) with twin critics, whose smaller value is the
    target (equation 10 of Fujimoto et al.), noise on the action of the target (equation 14), and a
    policy that is updated less often. It explores by Gaussian noise, after a while of uniformly
    random actions. A step that ended by a time limit counts with the value of where it led.

    - `discrete`: whether it has discrete actions, too. A subclass may say so: the policy is then a
        distribution, and what critics expect of it is the mean of what they expect of each action.
    """

    discrete: ClassVar[bool] = False

    hidden_sizes: tuple[int, ...] = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    warm_up: int = eqx.field(static=True)
    critic_warm_up: int | None = eqx.field(static=True)
    every: int = eqx.field(static=True)
    updates: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    policy_delay: int = eqx.field(static=True)
    learning_rate: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    tau: float = eqx.field(static=True)
    exploration_noise: float = eqx.field(static=True)
    target_noise: float = eqx.field(static=True)
    target_noise_clip: float = eqx.field(static=True)
    layer_norm: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden_sizes: tuple[int, ...] = (64, 64),
        *,
        capacity: int = 50_000,
        warm_up: int = 500,
        critic_warm_up: int | None = None,
        every: int = 1,
        updates: int = 1,
        batch_size: int = 128,
        policy_delay: int = 2,
        learning_rate: float = 1e-3,
        discount: float = 0.98,
        tau: float = 0.005,
        exploration_noise: float = 0.1,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        layer_norm: bool = False,
    ):
        """**Arguments:**

        - `hidden_sizes`: of the policy and of each critic.
        - `capacity`: environment steps that are remembered, of each stream.
        - `warm_up`: environment steps with random actions, after which policies learn.
        - `critic_warm_up`: environment steps after which critics learn, at most `warm_up`; `None`
            for as many. A policy that follows critics which know nothing yet takes long to come
            back.
        - `every`: environment steps from one time of learning to the next.
        - `updates`: of the critics, each time.
        - `batch_size`: steps drawn for each of them.
        - `policy_delay`: updates of the critics for each one of the policy and the targets.
        - `learning_rate`: of Adam, for policy and critics.
        - `discount`: per environment step.
        - `tau`: the share of the way that the targets go.
        - `exploration_noise`: the standard deviation of the noise on actions, which are from -1 to
            1.
        - `target_noise`, `target_noise_clip`: the standard deviation of the noise on the action of
            the target, and its greatest size.
        - `layer_norm`: whether the hidden layers of policy and critics are normalised (Ba et al.
            2016, arXiv:1607.06450).

        **Raises:** `ValueError` for sizes and counts below one, no hidden layer, or numbers out of
        range.
        """
        sizes = {f"hidden_sizes[{k}]": size for k, size in enumerate(hidden_sizes)}
        counts = {"capacity": capacity, "warm_up": warm_up, "every": every, "updates": updates}
        counts |= {"batch_size": batch_size, "policy_delay": policy_delay}
        counts["critic_warm_up"] = warm_up if critic_warm_up is None else critic_warm_up
        at_least_one({"len(hidden_sizes)": len(hidden_sizes), **sizes, **counts})
        if counts["critic_warm_up"] > warm_up:
            raise ValueError(
                f"`critic_warm_up` must be at most `warm_up`, {warm_up}; got {critic_warm_up}."
            )
        above_zero({"learning_rate": learning_rate})
        shares({"discount": discount, "tau": tau})
        from_zero(
            {
                "exploration_noise": exploration_noise,
                "target_noise": target_noise,
                "target_noise_clip": target_noise_clip,
            }
        )
        self.hidden_sizes, self.capacity, self.warm_up = tuple(hidden_sizes), capacity, warm_up
        self.critic_warm_up = critic_warm_up
        self.every, self.updates, self.batch_size = every, updates, batch_size
        self.policy_delay, self.learning_rate = policy_delay, float(learning_rate)
        self.discount, self.tau = float(discount), float(tau)
        self.exploration_noise, self.target_noise = float(exploration_noise), float(target_noise)
        self.target_noise_clip, self.layer_norm = float(target_noise_clip), layer_norm

    @property
    def learns_from(self) -> int:
        """Environment steps after which something is learned: by critics, and later by policies."""
        return self.warm_up if self.critic_warm_up is None else self.critic_warm_up

    @property
    def period(self) -> int:
        """The option `every`."""
        return self.every

    @property
    def memory(self) -> int:
        """The option `capacity`."""
        return self.capacity

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, for the critics."""
        return optax.adam(self.learning_rate)

    @property
    def policy_optimiser(self) -> optax.GradientTransformation:
        """The same, for the policy."""
        return self.optimiser

    def newborn(self, spaces: Spaces, *, key: PRNGKeyArray) -> Actors:
        """New networks; see `Agent.newborn`.

        **Raises:** `ValueError` for discrete actions.
        """
        if not spaces.continuous and not self.discrete:
            raise ValueError(
                f"{type(self).__name__} has continuous actions only, but those of this task are "
                f"discrete ({spaces.num_actions} of them). Use a learner that has both, such as "
                "PPO."
            )
        networks = Networks(spaces, self.hidden_sizes, layer_norm=self.layer_norm, key=key)
        return Actors(
            networks,
            networks,
            begin(self.policy_optimiser, networks.actor),
            begin(self.optimiser, networks.critics),
        )

    def choose(
        self,
        knowledge: Actors,
        observation: Float[Array, " A"],
        action_mask: Bool[Array, " B"] | None,
        steps: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> tuple[Action, Float[Array, " B"]]:
        """The action of the policy with noise, or at first a random one; see `Agent.choose`.

        A discrete one is drawn from the policy, or any, with the probability `exploration_noise`.
        """
        noise_key, random_key = jr.split(key)
        action = knowledge.networks.policy(observation, action_mask)
        if not knowledge.networks.continuous:
            exists = jnp.ones_like(action)
            if action_mask is not None:
                exists = action_mask.astype(action.dtype)
            share = jnp.where(steps < self.warm_up, 1.0, min(self.exploration_noise, 1.0))
            choice = Choice(jnp.log((1.0 - share) * action + share * exists / exists.sum()), None)
            number = choice.sample(key=random_key)
            return number, choice.vector(number)
        noise = jr.normal(noise_key, action.shape, action.dtype)
        action = jnp.clip(action + self.exploration_noise * noise, -1.0, 1.0)
        anything = jr.uniform(random_key, action.shape, action.dtype, minval=-1.0)
        action = jnp.where(steps < self.warm_up, anything, action)
        if action_mask is not None:
            action = jnp.where(action_mask, action, 0.0)
        return action, action

    def learn(
        self, knowledge: Actors, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Actors:
        """Some updates of the critics, fewer of the policy; see `Agent.learn`."""
        before = (steps // self.every - 1) * self.updates

        def update(knowledge: Actors, now: tuple[Array, PRNGKeyArray]) -> tuple[Actors, None]:
            count, update_key = now
            draw_key, noise_key = jr.split(update_key)
            batch, masks = self.sample(streams, steps, key=draw_key)
            knowledge = self.fit_critics(knowledge, batch, masks, key=noise_key)
            due = (before + count) % self.policy_delay == self.policy_delay - 1
            return jax.lax.cond(
                due,
                lambda k: self.fit_policy(k, batch, masks, moves=steps >= self.warm_up),
                lambda k: k,
                knowledge,
            ), None

        def enough(knowledge: Actors) -> Actors:
            counts = jnp.arange(self.updates, dtype=steps.dtype)
            return jax.lax.scan(update, knowledge, (counts, jr.split(key, self.updates)))[0]

        return jax.lax.cond(steps >= self.learns_from, enough, lambda k: k, knowledge)

    def sample(
        self, streams: Experience, steps: Int[Array, ""], *, key: PRNGKeyArray
    ) -> tuple[Transitions, Bool[Array, "n B"] | None]:
        """What an update learns from, with the masks of its actions; see `Agent.learn`."""
        return draw(streams, self.batch_size, steps, key=key)

    def policy_loss(
        self, networks: Networks, batch: Transitions, masks: Bool[Array, "n B"] | None
    ) -> Float[Array, ""]:
        """What the policy minimises: the value of its actions for the first critic, negated.

        **Arguments:**

        - `networks`: of which the policy changes, and the critics do not.
        - `batch`: as `sample` has drawn it.
        - `masks`: of its actions.
        """

        def one(observation: Array, mask: Array | None) -> Array:
            return networks.value(observation, networks.policy(observation, mask))

        return -jax.vmap(one)(batch.observations, masks).mean()

    def target(
        self,
        targets: Networks,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
        noise: Float[Array, "n B"],
    ) -> Float[Array, " n"]:
        """What the critics shall become: `r + discount min_k Q_k(o', pi(o') + noise)`, or `r` where
        the episode terminated.

        **Arguments:**

        - `targets`: the networks that follow slowly.
        - `batch`: `n` steps.
        - `masks`: of their actions.
        - `noise`: standard normal numbers.
        """
        spread = self.target_noise_clip
        noise = jnp.clip(self.target_noise * noise, -spread, spread)

        def one(now: Transitions, mask: Array | None, noise: Array) -> Array:
            action = targets.policy(now.final_observations, mask)
            if targets.continuous:
                action = action + noise if mask is None else jnp.where(mask, action + noise, 0.0)
                action = jnp.clip(action, -1.0, 1.0)
            value = targets.values(now.final_observations, action).min()
            return now.rewards + self.discount * jnp.where(now.terminated, 0.0, value)

        return jax.vmap(one)(batch, masks, noise)

    def fit_critics(
        self,
        knowledge: Actors,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
        *,
        key: PRNGKeyArray,
    ) -> Actors:
        """One step of both critics towards the target.

        **Arguments:**

        - `knowledge`: so far.
        - `batch`, `masks`: as `sample` has drawn them.
        - `key`: the random key of the noise on the actions of the target.
        """
        noise = jr.normal(key, batch.actions.shape, batch.actions.dtype)
        wanted = self.target(knowledge.targets, batch, masks, noise)

        def error(critics: Critic) -> Float[Array, ""]:
            networks = eqx.tree_at(lambda n: n.critics, knowledge.networks, critics)
            values = jax.vmap(networks.values_of_done)(batch.observations, batch.actions)
            return ((values - wanted[:, None]) ** 2).mean(0).sum()

        critics, state = knowledge.networks.critics, knowledge.critic_optimiser
        critics, state = descend(self.optimiser, critics, state, jax.grad(error)(critics))
        return eqx.tree_at(
            lambda k: (k.networks.critics, k.critic_optimiser), knowledge, (critics, state)
        )

    def fit_policy(
        self,
        knowledge: Actors,
        batch: Transitions,
        masks: Bool[Array, "n B"] | None,
        loss: Callable[[Networks], Float[Array, ""]] | None = None,
        *,
        moves: Bool[Array, ""],
    ) -> Actors:
        """One step of the policy down its loss, and of all targets after their networks.

        **Arguments:**

        - `knowledge`: so far.
        - `batch`, `masks`: as `sample` has drawn them.
        - `loss`: what the policy minimises instead of `policy_loss` on the batch.
        - `moves`: whether the policy takes its step, or waits while targets follow critics.
        """

        def error(actor: Perceptron) -> Float[Array, ""]:
            networks = eqx.tree_at(lambda n: n.actor, knowledge.networks, actor)
            return self.policy_loss(networks, batch, masks) if loss is None else loss(networks)

        before = knowledge.networks.actor, knowledge.actor_optimiser
        after = descend(self.policy_optimiser, *before, jax.grad(error)(before[0]))
        actor, state = jax.tree.map(lambda new, old: jnp.where(moves, new, old), after, before)
        networks = eqx.tree_at(lambda n: n.actor, knowledge.networks, actor)
        targets = jax.tree.map(
            lambda slow, fast: slow + self.tau * (fast - slow), knowledge.targets, networks
        )
        return Actors(networks, targets, state, knowledge.critic_optimiser)
