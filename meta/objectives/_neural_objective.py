"""The objective of MetaGenRL: a small network that says where actions should go."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from rl.classic import Segments

TimeInput = Literal["exclusive", "inclusive", "none"]
ValueInput = Literal["both", "current", "none"]
Padding = Literal["none", "masked", "counted"]
ActionInput = Literal["pair", "difference"]

_BOUND = 1000.0
_ACTION_LAYERS, _SCALAR_LAYERS, _HEAD_LAYERS = 3, 2, 2
_SCALARS_OUT = 8
_EPSILON = 1e-8  # of variances
_MAGNIFIED = 3.0  # differences of actions, most of which are small


class HalfSquared(eqx.Module):
    """A linear layer, of whose units the first half is rectified and the second half squared.

    - `weight`, `bias`: of the linear layer.
    - `norm`: a layer normalisation after it, or `None`.
    """

    weight: Float[Array, "units inputs"]
    bias: Float[Array, " units"]
    norm: eqx.nn.LayerNorm | None

    def __init__(self, inputs: int, units: int, *, layer_norm: bool, key: PRNGKeyArray):
        """**Arguments:**

        - `inputs`, `units`: sizes; an even number of units.
        - `layer_norm`: whether the units are normalised.
        - `key`: the random key of the weights: uniform, as Glorot and Bengio (2010) have it.
        """
        self.weight = _glorot((units, inputs), key=key)
        self.bias = jnp.zeros((units,))
        self.norm = eqx.nn.LayerNorm(units) if layer_norm else None

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " units"]:
        """The units."""
        x = x @ self.weight.T + self.bias
        rectified = jnp.arange(x.shape[0]) < x.shape[0] // 2
        x = jnp.where(rectified, jax.nn.relu(x), x**2)
        return x if self.norm is None else self.norm(x)


class NeuralObjective(eqx.Module):
    """What a policy shall minimise, as a function of what was lived and of what it would do now
    (Kirsch et al. 2020, arXiv:1910.04098, section 3.2 and appendix B.1).

    An LSTM goes through each stretch from its last step to its first. At each step it reads the
    reward, the values of where the step began and led to, the place in the stretch, and a mean
    over the dimensions of the action, each seen as the pair of what was done and what the policy
    would do now. So it has no size of an observation or an action, and no order of dimensions.
    Rewards and values are brought to zero mean and unit deviation over the batch, the values
    jointly. What ends an episode ends what the LSTM remembers.

    With the sizes of the paper it has 15,497 parameters.
    """

    action_layers: tuple[HalfSquared, ...]
    scalar_layers: tuple[HalfSquared, ...]
    scalar_weight: Float[Array, "8 units"]
    scalar_bias: Float[Array, " 8"]
    cell: eqx.nn.LSTMCell
    head_layers: tuple[HalfSquared, ...]
    head_weight: Float[Array, " units"]
    head_bias: Float[Array, ""]
    time_input: TimeInput = eqx.field(static=True)
    value_input: ValueInput = eqx.field(static=True)
    error_input: bool = eqx.field(static=True)
    padding: Padding = eqx.field(static=True)
    action_input: ActionInput = eqx.field(static=True)
    mirrored: bool = eqx.field(static=True)

    def __init__(
        self,
        units: int = 32,
        *,
        time_input: TimeInput = "exclusive",
        value_input: ValueInput = "both",
        error_input: bool = False,
        padding: Padding = "none",
        action_input: ActionInput = "pair",
        mirrored: bool = False,
        key: PRNGKeyArray,
    ):
        """**Arguments:**

        - `units`: of the LSTM and of all hidden layers, an even number.
        - `time_input`: the place of a step in its stretch of `T`: from 0 to `1 - 1/T`
            (`"exclusive"`, the paper's code), from 0 to 1 (`"inclusive"`, the paper), or not told
            (`"none"`).
        - `value_input`: the values of both observations of a step, of the first one only
            (`"current"`), or of none. With `error_input`, errors tell of both all the same.
        - `error_input`: whether it also reads the temporal-difference error of each step,
            normalised (not in the paper): what it must otherwise find in small differences between
            rewards and values, whose scales it is not told.
        - `padding`: of stretches in which an episode ends. `"none"`: the next episode's steps
            belong to the stretch, too, and what the LSTM remembers ends with the episode. Otherwise
            all after the end are zeros and no part of the objective: left out of means and
            deviations (`"masked"`), or counted as any other (`"counted"`, the paper's code).
        - `action_input`: each dimension of an action as the pair of what was done and what the
            policy would do now (`"pair"`, the paper), or with three times the difference of the two
            in place of the latter (`"difference"`): policies explore by little, and what is small
            is easily lost in layers that normalise.
        - `mirrored`: whether each dimension of an action is seen together with its mirror image, so
            that the sign of none matters: the objective can say towards what was done, or away
            from it, but not which way is up, which is another in each task.
        - `key`: the random key of the weights.

        **Raises:** `ValueError` for an odd number of units, or one below 2, or an unknown option.
        """
        if units < 2 or units % 2:
            raise ValueError(f"`units` must be an even number from 2, got {units}.")
        for name, value, known in (
            ("time_input", time_input, get_args(TimeInput)),
            ("value_input", value_input, get_args(ValueInput)),
            ("padding", padding, get_args(Padding)),
            ("action_input", action_input, get_args(ActionInput)),
        ):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}.")
        keys = iter(jr.split(key, _ACTION_LAYERS + _SCALAR_LAYERS + _HEAD_LAYERS + 5))

        def layers(inputs: int, count: int, *, layer_norm: bool) -> tuple[HalfSquared, ...]:
            sizes = (inputs, *[units] * count)
            return tuple(
                HalfSquared(size, units, layer_norm=layer_norm, key=next(keys))
                for size in sizes[:-1]
            )

        self.action_layers = layers(2, _ACTION_LAYERS, layer_norm=True)
        self.scalar_layers = layers(4 + error_input, _SCALAR_LAYERS, layer_norm=False)
        self.scalar_weight = _glorot((_SCALARS_OUT, units), key=next(keys))
        self.scalar_bias = jnp.zeros((_SCALARS_OUT,))
        self.cell = _lstm(units + _SCALARS_OUT, units, key=next(keys))
        self.head_layers = layers(units, _HEAD_LAYERS, layer_norm=True)
        self.head_weight = _glorot((1, units), key=next(keys))[0]
        self.head_bias = jnp.zeros(())
        self.time_input, self.value_input, self.padding = time_input, value_input, padding
        self.error_input = error_input
        self.action_input, self.mirrored = action_input, mirrored

    def __call__(self, segments: Segments, discount: float = 1.0) -> Float[Array, ""]:
        """The mean of the objective over all steps; see `steps`."""
        if self.padding == "none":
            return self.steps(segments, discount).mean()
        kept = _first_episodes(segments)
        values = self.steps(_blanked(segments, kept), discount)
        return jnp.where(kept, values, 0.0).sum() / kept.sum(dtype=values.dtype)

    def steps(self, segments: Segments, discount: float = 1.0) -> Float[Array, "n T"]:
        """The objective of each step, from -1000 to 1000.

        **Arguments:**

        - `segments`: `n` stretches of `T` steps.
        - `discount`: per environment step, for `error_input`.
        """
        lived = segments.transitions
        scalars = self._of_scalars(segments, discount)
        seen = jnp.concatenate([self._of_actions(segments), scalars], -1)
        ended = lived.terminated | lived.truncated
        if self.padding == "counted":
            ended = jnp.zeros_like(ended)  # there, it reads what is blank, too
        hidden = self._backwards(seen, ended)
        for layer in self.head_layers:
            hidden = _each(layer, hidden)
        outputs = (hidden * self.head_weight[None, None]).sum(-1) + self.head_bias
        return _BOUND * jnp.tanh(outputs / _BOUND)

    def _backwards(
        self, seen: Float[Array, "n T inputs"], ended: Bool[Array, "n T"]
    ) -> Float[Array, "n T units"]:
        """What the LSTM holds at each step, after it has come to it from the end of the stretch.

        What all steps read is multiplied at once, outside of the loop: derivatives of second order
        spend most of their time in it.
        """
        cell, bias = self.cell, self.cell.bias
        assert bias is not None  # `_lstm` gave it one
        read = _each(lambda x: x @ cell.weight_ih.T + bias, seen)

        def back(
            later: tuple[Array, Array], now: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            read, over = now
            hidden, memory = (jnp.where(over[:, None], 0.0, x) for x in later)
            gates = jnp.split(read + hidden @ cell.weight_hh.T, 4, axis=-1)
            write, keep, show = (jax.nn.sigmoid(gates[k]) for k in (0, 1, 3))
            memory = keep * memory + write * jnp.tanh(gates[2])
            hidden = show * jnp.tanh(memory)
            return (hidden, memory), hidden

        start = jnp.zeros((seen.shape[0], cell.hidden_size), seen.dtype)
        steps = (read.swapaxes(0, 1), ended.T)
        return jax.lax.scan(back, (start, start), steps, reverse=True)[1].swapaxes(0, 1)

    def _of_actions(self, segments: Segments) -> Float[Array, "n T units"]:
        """What the LSTM reads of actions: a mean over their dimensions."""
        done, now = segments.transitions.actions, segments.policy_actions
        second = now if self.action_input == "pair" else _MAGNIFIED * (now - done)
        pairs = jnp.stack([done, second], -1)

        def branch(x: Float[Array, "n T 2"]) -> Float[Array, "n T units"]:
            for layer in self.action_layers:
                x = _each(layer, x)
            return x

        each = jax.vmap(branch, in_axes=2)  # dimensions of actions are not merged with others
        x = 0.5 * (each(pairs) + each(-pairs)) if self.mirrored else each(pairs)
        if segments.action_mask is None:
            return x.mean(0)
        mask = segments.action_mask.T[:, :, None, None]
        return jnp.where(mask, x, 0.0).sum(0) / mask.sum(0, dtype=x.dtype)

    def _of_scalars(self, segments: Segments, discount: float) -> Float[Array, "n T 8"]:
        """What the LSTM reads of rewards, values, errors and time."""
        lived = segments.transitions
        kept = _first_episodes(segments) if self.padding == "masked" else None
        later = jnp.where(lived.terminated, 0.0, segments.next_values)
        both = jnp.stack([segments.values, later])
        (rewards,) = _normalised(lived.rewards[None], kept)
        errors = lived.rewards + discount * later - segments.values
        values, later = _normalised(both, kept)
        if self.value_input == "none":
            values = jnp.zeros_like(values)
        if self.value_input != "both":
            later = jnp.zeros_like(later)
        steps = rewards.shape[1]
        last = steps if self.time_input == "exclusive" else max(steps - 1, 1)
        time = jnp.arange(steps, dtype=rewards.dtype) / last
        time = jnp.zeros_like(time) if self.time_input == "none" else time
        inputs = [rewards, jnp.broadcast_to(time, rewards.shape), later, values]
        if self.error_input:
            inputs.append(_normalised(errors[None], kept)[0])
        x = jnp.stack(inputs, -1)
        for layer in self.scalar_layers:
            x = _each(layer, x)
        return _each(lambda x: x @ self.scalar_weight.T + self.scalar_bias, x)


def _first_episodes(segments: Segments) -> Bool[Array, "n T"]:
    """Which steps belong to the episode that a stretch begins in."""
    ended = segments.transitions.terminated | segments.transitions.truncated
    return jnp.cumsum(ended, 1) - ended.astype(jnp.int32) == 0


def _blanked(segments: Segments, kept: Bool[Array, "n T"]) -> Segments:
    """Zeros in place of all other steps."""

    def blank(x: Array) -> Array:
        where = kept.reshape(*kept.shape, *[1] * (x.ndim - 2))
        return jnp.where(where, x, jnp.zeros((), x.dtype))

    blanked = jax.tree.map(
        blank, eqx.tree_at(lambda s: s.action_mask, segments, None, is_leaf=_none)
    )
    return eqx.tree_at(lambda s: s.action_mask, blanked, segments.action_mask, is_leaf=_none)


def _none(x: object) -> bool:
    return x is None


def _normalised(
    x: Float[Array, "kinds n T"], kept: Bool[Array, "n T"] | None
) -> Float[Array, "kinds n T"]:
    """Zero mean and unit deviation over all axes, of the steps that are kept."""
    where = None if kept is None else jnp.broadcast_to(kept, x.shape)
    mean = jnp.mean(x, where=where)
    variance = jnp.mean((x - mean) ** 2, where=where)
    normal = (x - mean) / jnp.sqrt(variance + _EPSILON)
    return normal if where is None else jnp.where(where, normal, 0.0)


def _each(layer: Callable[[Array], Array], x: Float[Array, "*axes inputs"]) -> Array:
    """A layer on each vector of an array; of one axis of all, which is compiled to faster code."""
    rows = jax.vmap(layer)(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


def _glorot(shape: tuple[int, int], *, key: PRNGKeyArray) -> Float[Array, "outputs inputs"]:
    limit = math.sqrt(6.0 / sum(shape))
    return jr.uniform(key, shape, minval=-limit, maxval=limit)


def _lstm(inputs: int, units: int, *, key: PRNGKeyArray) -> eqx.nn.LSTMCell:
    """A cell whose gates begin as TensorFlow's: forget gates open by 1, all others at 0."""
    keys = jr.split(key, 2)
    cell = eqx.nn.LSTMCell(inputs, units, key=key)
    bias = jnp.zeros((4 * units,)).at[units : 2 * units].set(1.0)
    return eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh, c.bias),
        cell,
        (
            _glorot((4 * units, inputs), key=keys[0]),
            _glorot((4 * units, units), key=keys[1]),
            bias,
        ),
    )
