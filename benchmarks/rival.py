"""The rival: SymLA as one would write it today from what is on the shelf.

Equinox's LSTM cell under nested `vmap`, gymnax, evosax and optax, all in one `jax.jit`. It imports
nothing of this project. `benchmarks.same` holds it to the same numbers.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from evosax.algorithms import Open_ES
from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn


class Agent(eqx.Module):
    """One LSTM shared by A x B positions; the sizes come from the environment."""

    cell: eqx.nn.LSTMCell
    forward_head: eqx.nn.Linear
    backward_head: eqx.nn.Linear
    ticks: int = eqx.field(static=True)
    state_scale: float = eqx.field(static=True)
    logit_scale: float = eqx.field(static=True)

    def init(self, inputs, outputs, *, key):
        """Random memories; hidden states and messages are zero."""
        c = self.state_scale * jr.normal(key, (inputs, outputs, self.cell.hidden_size))
        forward = jnp.zeros((outputs, self.forward_head.out_features))
        backward = jnp.zeros((inputs, self.backward_head.out_features))
        return jnp.zeros_like(c), c, forward, backward

    def __call__(self, state, observation, action, reward):
        """All micro ticks of one environment step: the new state and the logits."""
        h, c, forward, backward = state
        feedback = jax.nn.one_hot(action, h.shape[1])

        def one(h, c, sensor, own_backward, action, own_forward):
            parts = [sensor[None], own_backward, action[None], own_forward, reward[None]]
            return self.cell(jnp.concatenate(parts), (h, c))

        over_outputs = jax.vmap(one, in_axes=(0, 0, None, None, 0, 0))
        over_inputs = jax.vmap(over_outputs, in_axes=(0, 0, 0, 0, None, None))
        for _ in range(self.ticks):
            h, c = over_inputs(h, c, observation, backward, feedback, forward)
            forward = jax.vmap(self.forward_head)(h.mean(axis=0))
            backward = jax.vmap(self.backward_head)(h.mean(axis=1))
        return (h, c, forward, backward), self.logit_scale * forward[:, 0]


def life(agent, environment, sample_params, steps, *, key):
    """One life in a task of its own: the rewards and the actions of all steps."""
    task_key, life_key = jr.split(key)
    params = sample_params(task_key)
    birth_key, steps_key = jr.split(life_key)
    agent_key, reset_key = jr.split(birth_key)
    cells_key = jr.split(jr.split(agent_key)[0], 1)[0]
    observation, env_state = environment.reset(reset_key, params)
    state = agent.init(observation.size, environment.num_actions, key=cells_key)

    def step(carry, index):
        state, env_state, observation, action, reward = carry
        action_key, env_key = jr.split(jr.fold_in(steps_key, index))
        state, logits = agent(state, observation, action, reward)
        action = jr.categorical(action_key, logits)
        observation, env_state, reward, _, _, _ = environment.step(
            env_key, env_state, action, params
        )
        return (state, env_state, observation, action, reward), (reward, action)

    first = (state, env_state, observation, jnp.array(-1), jnp.array(0.0))
    _, (rewards, actions) = jax.lax.scan(step, first, jnp.arange(steps))
    return rewards, actions


class Search:
    """Evolution of an agent: ask, live, tell."""

    def __init__(
        self, agent, environment, sample_params, *, members, lives, steps, std, learning_rate
    ):
        self.environment, self.sample_params = environment, sample_params
        self.lives, self.steps = lives, steps
        self.params, self.static = eqx.partition(agent, eqx.is_array)
        self.es = Open_ES(
            members,
            self.params,
            use_antithetic_sampling=True,
            optimizer=optax.adam(learning_rate),
            std_schedule=optax.constant_schedule(std),
            fitness_shaping_fn=centered_rank_fitness_shaping_fn,
        )

    def init(self, *, key):
        """Where the search begins."""
        return self.es.init(key, self.params, self.es.default_params)

    def mean(self, state):
        """The parameters at the centre."""
        return self.es.get_mean(state)

    def ask(self, state, *, key):
        """The members of a generation."""
        return self.es.ask(key, state, self.es.default_params)[0]

    def lives_of(self, members, *, key):
        """Rewards and actions `[members, lives, steps]`; all members live by the same keys."""
        keys = jr.split(key, self.lives)

        def one(member, key):
            agent = eqx.combine(member, self.static)
            return life(agent, self.environment, self.sample_params, self.steps, key=key)

        over_lives = jax.vmap(one, in_axes=(None, 0))
        return jax.vmap(over_lives, in_axes=(0, None))(members, keys)

    def tell(self, state, members, rewards, *, key):
        """The state after a generation; evosax minimises."""
        fitness = -rewards.sum(axis=-1).mean(axis=-1)
        return self.es.tell(key, members, fitness, state, self.es.default_params)[0]

    def generation(self, state, key):
        """One whole generation."""
        ask_key, life_key, tell_key = jr.split(key, 3)
        members = self.ask(state, key=ask_key)
        rewards, _ = self.lives_of(members, key=life_key)
        return self.tell(state, members, rewards, key=tell_key)
