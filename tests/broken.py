"""Twins of the library's modules with one fault each.

Every law that the tests state is also put to a twin that breaks it: a check that does not
reject the twin would not notice the fault in the library either.
"""

# pyright: reportIncompatibleMethodOverride=false
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array

import meta
import proofs.laws
import rl
import vsml


class PositionWeighted(vsml.Layer):
    """The reduction weights positions: inputs and outputs are no longer alike."""

    def _reduce(self, content: Array, axis: int, *rest: Any) -> Array:
        weights = 1.0 + jnp.arange(content.shape[axis]).astype(content.dtype)
        return super()._reduce(content * jnp.expand_dims(weights, (1 - axis, 2)), axis, *rest)


class NeighbourReader(vsml.Layer):
    """Every cell reads the messages of the row before its own."""

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(jnp.roll(row, 1, axis=0), column, context)


class ContextBlind(vsml.Layer):
    """The context arrives as zeros."""

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(row, column, jnp.zeros_like(context))


class Amnesiac(vsml.Layer):
    """The layer's own messages of the tick before are lost."""

    def __call__(self, state: vsml.LayerState, *args: Any, **kwargs: Any) -> tuple:
        silent = jax.tree.map(jnp.zeros_like, (state.forward, state.backward))
        state = eqx.tree_at(lambda s: (s.forward, s.backward), state, silent)
        return super().__call__(state, *args, **kwargs)


class MaskBlind(vsml.Layer):
    """Cells that do not exist take part in the reduction."""

    def _reduce(self, content: Array, axis: int, mask: Any, *rest: Any) -> Array:
        del mask
        return super()._reduce(content, axis, None, *rest)


class MaskMiscounted(vsml.Layer):
    """Cells that do not exist are left out of the sum, but counted in the mean."""

    def _reduce(self, content: Array, axis: int, mask: Array | None, *rest: Any) -> Array:
        if mask is not None:
            content = content * jnp.expand_dims(mask, (1 - axis, 2)).astype(content.dtype)
        return super()._reduce(content, axis, None, *rest)


class TickRefresher(vsml.Layer):
    """With several ticks, the layer's own messages are renewed between them."""

    def __call__(self, state: vsml.LayerState, *args: Any, ticks: int = 1) -> tuple:
        for _ in range(ticks - 1):
            state, _ = super().__call__(state, *args, ticks=1)
        return super().__call__(state, *args, ticks=1)


class UnsafeNorm(vsml.Layer):
    """Messages are divided by their norm, whose gradient does not exist at zero."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        return super()._reduce(content / (1.0 + jnp.linalg.norm(content)), *rest)


class Detached(vsml.Layer):
    """The gradient of what the cells emit is cut."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        return super()._reduce(jax.lax.stop_gradient(content), *rest)


class LifeMixer(vsml.Layer):
    """Lives that are mapped over an axis of the name `lives` hear each other."""

    def _reduce(self, *args: Any) -> Array:
        try:
            return jax.lax.pmean(super()._reduce(*args), "lives")
        except NameError:  # nothing is mapped under that name
            return super()._reduce(*args)


class TraceAware(vsml.Layer):
    """Behaves otherwise where it is compiled."""

    def _reduce(self, content: Array, *rest: Any) -> Array:
        compiled = isinstance(content, Tracer)
        return super()._reduce(content * 1.1 if compiled else content, *rest)


class ShortLoop(vsml.Network):
    """Where the ticks become a loop, one is lost."""

    def __call__(self, *args: Any) -> tuple:
        if self.ticks <= 4:
            return super().__call__(*args)
        shorter = vsml.Network(
            self.layers[0], self.depth, ticks=self.ticks - 1, refresh=True, order=self.order
        )
        return shorter(*args)


class AlwaysRefreshed(vsml.Network):
    """Messages that should be held are renewed between the ticks."""

    def __call__(self, *args: Any) -> tuple:
        layers = self.layers[0] if self.depth is None else self.layers
        network = vsml.Network(layers, ticks=self.ticks, order=self.order)
        return network(*args)


class OwnKernel(vsml.Network):
    """Its kernel does not hear the context."""

    def __call__(self, state: Any, forward: Array, backward: Array, context: Any = None) -> Any:
        if self.kernel != "plain" and context is not None:
            context = 0.0 * context
        return super().__call__(state, forward, backward, context)


class HiddenShift(vsml.Network):
    """Messages between the layers arrive one unit further on."""

    def _simultaneous(self, states: tuple, *args: Any) -> tuple:
        return super()._simultaneous(_shifted(states), *args)

    def _forward(self, states: tuple, *args: Any) -> tuple:
        return super()._forward(_shifted(states), *args)

    def _forward_backward(self, states: tuple, *args: Any) -> tuple:
        return super()._forward_backward(_shifted(states), *args)


def _shifted(states: tuple) -> tuple:
    first = eqx.tree_at(lambda s: s.forward, states[0], jnp.roll(states[0].forward, 1, axis=0))
    return (first, *states[1:])


class SwappedGates(vsml.LSTMCell):
    """The biases of the input and forget gates are exchanged."""

    def __call__(self, state: vsml.LSTMState, drive: Array) -> tuple:
        i, g, f, o = jnp.split(drive + state.h @ self.recurrent, 4)
        keep = jax.nn.sigmoid(f + self.input_bias)
        write = jax.nn.sigmoid(i + self.forget_bias)
        c = keep * state.c + write * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return vsml.LSTMState(h=h, c=c), h, h


class LateBackprop(vsml.BackpropCell):
    """The error is sent on through the weight as it is after the step of descent."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        weight, ahead, _ = super().__call__(state, drive)
        return weight, ahead, (weight * error)[None]


class AscendingBackprop(vsml.BackpropCell):
    """The step goes uphill."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        _, ahead, back = super().__call__(state, drive)
        return state + self.learning_rate * activation * error, ahead, back


class UnlearnableRate(vsml.BackpropCell):
    """No gradient reaches the learning rate."""

    def __call__(self, state: Array, drive: Array) -> tuple:
        activation, error = drive
        _, ahead, back = super().__call__(state, drive)
        rate = jax.lax.stop_gradient(self.learning_rate)
        return state - rate * activation * error, ahead, back


def one_row(noise: Array, inputs: Array) -> Array:
    """A recipe that gives every row of the grid the same values."""
    del inputs
    return jnp.broadcast_to(noise[:1], noise.shape)


def uncut(noise: Array, inputs: Array) -> Array:
    """The official recipe without its cut at two standard deviations."""
    units = noise.shape[-1]
    return jnp.where(jnp.arange(units) < units // 2, noise / jnp.sqrt(inputs), 0.0)


# ------------------------------------------------------------------- more twins of layers, networks


class Gossip(vsml.Layer):
    """Every cell hears the mean of all inputs: in any order the same, but not its own row."""

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(row + 0.1 * row.mean(0, keepdims=True), column, context)


class Summed(vsml.Layer):
    """What it calls a mean is a sum."""

    def _reduce(self, content: Array, axis: int, *rest: Any) -> Array:
        return super()._reduce(content * content.shape[axis], axis, *rest)


class Rigid(vsml.Layer):
    """Each of three inputs has a gain of its own."""

    gains: Array

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.gains = jnp.ones(3)

    def _drive(self, row: Array, column: Array, context: Array) -> Array:
        return super()._drive(row * self.gains[:, None], column, context)


class WeaklyBorn(vsml.Layer):
    """Messages have a weak type at birth, and another one later."""

    def init_from(self, *args: Any, **kwargs: Any) -> vsml.LayerState:
        state = super().init_from(*args, **kwargs)
        weak = jnp.full(state.forward.shape, 0.0)
        return eqx.tree_at(lambda s: s.forward, state, weak)


class Hasty(vsml.Network):
    """Forward messages arrive at once, whatever the order."""

    def _simultaneous(self, *args: Any) -> tuple:
        return self._forward(*args)


# --------------------------------------------------------------- twins of learners and their world


class Distracted(rl.classic.RandomPlayer):
    """What it does depends on how often it was traced, which no state tells."""

    traces: list = eqx.field(static=True, default_factory=lambda: _Marks())

    def step(self, state: rl.classic.PlayerState, timestep: rl.TimeStep, *, key: Array) -> tuple:
        self.traces.append(None)
        state, _ = super().step(state, timestep, key=key)
        return state, jnp.asarray(len(self.traces) % state.pulls.shape[0], jnp.int32)


class _Marks(list):
    """A list that can be a static field."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Contagious(rl.classic.UCB1):
    """Lives that are mapped over the axis `lives` share their luck."""

    def scores(self, state: rl.classic.PlayerState, *, key: Array) -> Array:
        scores = super().scores(state, key=key)
        try:
            return -jax.lax.pmean(scores, "lives")
        except NameError:
            return scores


class Fading(rl.classic.RandomPlayer):
    """Its counts become floating numbers."""

    def step(self, state: rl.classic.PlayerState, timestep: rl.TimeStep, *, key: Array) -> tuple:
        state, action = super().step(state, timestep, key=key)
        return eqx.tree_at(lambda s: s.pulls, state, 0.9 * state.pulls.astype(float)), action


def restarting(
    learner: rl.Learner, task: rl.Task, *, steps: int, key: Array, record: tuple, start: Any
) -> rl.Life:
    """A lifetime that counts its steps anew wherever it goes on, and so uses random keys again."""
    if start is not None:
        start = eqx.tree_at(lambda life: life.steps, start, jnp.asarray(0, jnp.int32))
    return rl.lifetime(learner, task, steps=steps, key=key, record=record, start=start)


def favourite(*args: Any, **kwargs: Any) -> rl.TaskDistribution:
    """Bandits whose first arm pays in any case."""
    from rl.envs import BernoulliBandit, BernoulliBandits

    class FirstArmPays(BernoulliBandit):
        def step_env(self, key: Any, state: Any, action: Any, params: Any) -> tuple:
            seen, state, reward, ended, info = super().step_env(key, state, action, params)
            return seen, state, jnp.where(jnp.asarray(action) == 0, 1.0, reward), ended, info

    return _in(FirstArmPays, BernoulliBandits(*args, **kwargs))


@dataclasses.dataclass(frozen=True)
class Shifty:
    """A wrapper whose clock starts as a floating number, and is whole from the first step on."""

    inner: Any
    num_actions: int = 3

    def observation_space(self, params: Any) -> Any:
        return self.inner.observation_space(params)

    def reset(self, key: Any, params: Any) -> tuple:
        seen, state = self.inner.reset(key, params)
        return seen, state.astype(float)

    def step(self, key: Any, state: Any, action: Any, params: Any) -> tuple:
        return self.inner.step(key, state.astype(jnp.int32), action, params)


def shifty() -> rl.Task:
    task = proofs.laws.probe(2, 3)
    return rl.Task(Shifty(task.environment), task.params)


def _in(environment: Any, tasks: rl.TaskDistribution) -> rl.TaskDistribution:
    task = tasks.sample(key=jax.random.key(0))
    other = rl.Task(environment(task.spaces.num_actions), task.params, metrics=task.metrics)
    return rl.FixedTask(other)


# ------------------------------------------------------------------------ twins of the strategy


class Restless(meta.EvolutionStrategy):
    """Later members are preferred by a hair."""

    def tell(self, state: Any, members: Any, fitness: Array, *, key: Array) -> Any:
        hair = 1e-6 * jnp.arange(fitness.shape[0]).astype(fitness.dtype)
        return super().tell(state, members, fitness + hair, key=key)


class Calculating(meta.EvolutionStrategy):
    """It says that it ranks, and looks at how much better a member is."""

    def tell(self, state: Any, members: Any, fitness: Array, *, key: Array) -> Any:
        other = meta.EvolutionStrategy(
            self.population, self.std, self.optimizer, shaping="zscore", antithetic=self.antithetic
        )
        return other.tell(state, members, fitness, key=key)


class Backwards(meta.EvolutionStrategy):
    """It is told the opposite."""

    def tell(self, state: Any, members: Any, fitness: Array, *, key: Array) -> Any:
        return super().tell(state, members, -fitness, key=key)


class Wishful(meta.EvolutionStrategy):
    """It likes large parameters."""

    def tell(self, state: Any, members: Any, fitness: Array, *, key: Array) -> Any:
        size = sum(x.reshape(x.shape[0], -1).sum(1) for x in jax.tree.leaves(members))
        return super().tell(state, members, fitness + 0.5 * size, key=key)


class Halved(meta.EvolutionStrategy):
    """Half of the gradient is lost."""

    def tell(self, state: Any, members: Any, fitness: Array, *, key: Array) -> Any:
        return super().tell(state, members, 0.5 * fitness, key=key)
