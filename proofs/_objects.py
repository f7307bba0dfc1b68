"""What our own objects claim: the symmetries of layers, networks, learners and whole lives."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

import rl
import vsml

from ._certify import Claim, claim_of
from ._trace import Signature

DEPTH = 3


class _LayerTick(eqx.Module):
    """Birth from noise, and one micro tick from any state."""

    layer: vsml.Layer

    def __call__(
        self,
        noise: Array,
        cells: PyTree,
        sent: tuple[Array, Array],
        masks: tuple[Array, Array],
        received: tuple[Array, Array],
        context: Array,
    ) -> dict[str, Any]:
        layer, found = self.layer, {}
        for name, (rows, columns) in {"": (None, None), "masked ": masks}.items():
            born = layer.init_from(noise, input_mask=rows, output_mask=columns)
            state = vsml.LayerState(cells, *sent, input_mask=rows, output_mask=columns)
            new, messages = layer(state, *received, context)
            found[f"{name}birth"] = (born.cells, (born.forward, born.backward))
            found[f"{name}tick"] = (new.cells, (new.forward, new.backward), tuple(messages))
        return found


def _cells(layer: vsml.Layer, a: str, b: str) -> PyTree:
    """The specifications of the states of a layer's cells."""
    noise = jax.ShapeDtypeStruct((2, 3, layer.cell.hidden_size), layer.dtype)
    born = eqx.filter_eval_shape(layer.init_from, noise).cells
    return jax.tree.map(lambda x: " ".join([a, b, *map(str, x.shape[2:])]), born)


@claim_of.register
def _(layer: vsml.Layer) -> Claim:
    """A layer: `f(g.noise) = g.f(noise)` at birth, and the same for a tick from any state."""
    cells = _cells(layer, "A", "B")
    sent = (f"B {layer.forward_size}", f"A {layer.backward_size}")
    received = (f"A {layer.forward_input_size}", f"B {layer.backward_input_size}")
    ins = (
        f"A B {layer.cell.hidden_size}",
        cells,
        sent,
        ("bool A", "bool B"),
        received,
        f"{layer.context_size}",
    )
    out = {}
    for name in ("", "masked "):
        out[f"{name}birth"] = (cells, sent)
        out[f"{name}tick"] = (cells, sent, sent)
    return Claim(_LayerTick(layer), Signature.read(ins, out), type(layer).__name__)


class _NetworkStep(eqx.Module):
    """Birth from noise, and one step from any state."""

    network: vsml.Network

    def __call__(
        self, noise: tuple, states: tuple, received: tuple[Array, Array], context: Array
    ) -> tuple:
        born = self.network.init_from(noise)
        layers = tuple(vsml.LayerState(c, f, b, None, None) for c, f, b in states)
        new, messages = self.network(vsml.NetworkState(layers), *received, context)
        strip = [[(s.cells, s.forward, s.backward) for s in n.layers] for n in (born, new)]
        return (*map(tuple, strip), tuple(messages))


@claim_of.register
def _(network: vsml.Network) -> Claim:
    """A network: as a layer, with a label for each of its K + 1 interfaces."""
    depth = network.depth or DEPTH
    layers = network.layers * depth if len(network.layers) == 1 else network.layers
    labels = ["A", *(f"H{k}" for k in range(1, depth)), "B"]
    noise, states = [], []
    for layer, a, b in zip(layers, labels[:-1], labels[1:], strict=True):
        noise.append(f"{a} {b} {layer.cell.hidden_size}")
        sent = (f"{b} {layer.forward_size}", f"{a} {layer.backward_size}")
        states.append((_cells(layer, a, b), *sent))
    received = (f"A {layers[0].forward_input_size}", f"B {layers[-1].backward_input_size}")
    ins = (tuple(noise), tuple(states), received, f"{layers[0].context_size}")
    messages = (f"B {layers[-1].forward_size}", f"A {layers[0].backward_size}")
    out = (tuple(states), tuple(states), messages)
    title = f"{type(network).__name__} of {depth} layers"
    return Claim(_NetworkStep(network), Signature.read(ins, out), title)


class History(eqx.Module):
    """What a learner would do in any history of observations, actions and rewards.

    It is born, and told of each step what happened, whatever it would have done itself.
    """

    learner: rl.Learner
    continuous: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        key: Array,
        observations: Array,
        actions: Array,
        rewards: Array,
        ended: tuple[Array, Array],
        finals: Array,
        masks: tuple[Array, Array],
    ) -> dict[str, Any]:
        """The actions, and the logits of learners that have them, with and without masks."""
        sizes = (masks[0].shape[0], masks[1].shape[0])
        moments = (observations, actions, rewards, *ended, finals)
        keys = jr.split(key)
        cases = {"": (None, None), "masked ": masks}
        found = {}
        for number, (name, (sensors, choices)) in enumerate(cases.items()):
            birth_key, steps_key = jr.split(keys[number])
            spaces = rl.Spaces(*sizes, sensors, choices, self.continuous)
            state = self.learner.init(spaces, key=birth_key)
            step_keys = jr.split(steps_key, rewards.shape[0])
            told = jax.lax.scan(
                lambda state, now: self._step(state, now), state, (step_keys, moments)
            )[1]
            found.update({f"{name}{what}": values for what, values in told.items()})
        return found

    def _step(self, state: PyTree, now: tuple) -> tuple[PyTree, dict[str, Array]]:
        key, moment = now
        timestep = rl.TimeStep(*moment)
        found = {}
        if hasattr(self.learner, "advance"):
            found["logits"] = self.learner.advance(state, timestep)[1]  # pyright: ignore
        state, found["actions"] = self.learner.step(state, timestep, key=key)
        return state, found


def step_of(
    learner: rl.Learner, sizes: tuple[int, int] = (3, 2), *, continuous: bool = False
) -> tuple[Callable, tuple]:
    """One step of a learner as a function, and abstract arguments `(learner, state, ...)` of it."""
    spaces = rl.Spaces(*(_own_sizes(learner) or sizes), continuous=continuous)
    observation = jnp.zeros(spaces.observation_size)
    first = eqx.filter_eval_shape(lambda o: rl.TimeStep.first(o, spaces), observation)
    key = jax.eval_shape(lambda: jr.key(0))
    state = eqx.filter_eval_shape(lambda learner, key: learner.init(spaces, key=key), learner, key)

    def step(learner: rl.Learner, state: PyTree, timestep: rl.TimeStep, key: Array) -> tuple:
        return learner.step(state, timestep, key=key)

    return step, (learner, state, first, key)


def _own_sizes(learner: rl.Learner) -> tuple[int, int] | None:
    """The sizes of a learner that was made for certain ones."""
    own = getattr(learner, "observation_size", None), getattr(learner, "num_actions", None)
    return None if None in own else own  # pyright: ignore[reportReturnType]


@claim_of.register
def _(learner: rl.Learner) -> Claim:
    """A learner: to reorder sensors and actions of a history reorders its behaviour, in law."""
    return _behaviour(learner, "t @B?", "t @B", "t B", History(learner))


def continuous_actions(learner: rl.Learner, *, parameters: int = 2) -> Claim:
    """The claim of a learner in tasks with continuous actions, as `certify(learner)` has in others.

    **Arguments:**

    - `learner`: a learner that can have continuous actions.
    - `parameters`: how many numbers its `advance`, if it has one, returns for each of them: 2 for
        `rl.Gaussian`, 1 for `rl.Deterministic`.

    **Returns:**

    A claim for `certify`.
    """
    history = History(learner, continuous=True)
    return _behaviour(learner, "t B", "t B", f"t B {parameters}", history)


def _behaviour(
    learner: rl.Learner, told: str, actions: str, logits: str, history: History
) -> Claim:
    own = _own_sizes(learner)
    ins = ("key", "t A", told, "t", ("bool t", "bool t"), "t A", ("bool A", "bool B"))
    out = {}
    for name in ("", "masked "):
        out[f"{name}actions"] = actions
        if hasattr(learner, "advance"):
            out[f"{name}logits"] = logits
    sizes = None if own is None else {"A": own[0], "B": own[1], "t": 3}
    signature = Signature.read(ins, out)
    title = type(learner).__name__ + (" with continuous actions" if history.continuous else "")
    return Claim(history, signature, title, "exchangeable", sizes)


class ClosedLoop(eqx.Module):
    """A whole life of a learner in a task that is made of arrays.

    - `learner`: the learner.
    - `task`: a function that makes an `rl.Task` of arrays, such as the arms of a bandit.
    - `steps`: how long the life lasts. The proof is by induction, the length does not matter.
    """

    learner: rl.Learner
    task: Callable[..., rl.Task]
    steps: int = eqx.field(static=True, default=3)

    def __call__(self, key: Array, *arrays: Array) -> tuple[Array, Array]:
        """The rewards and actions of all steps."""
        record = ("rewards", "actions")
        life = rl.lifetime(
            self.learner, self.task(*arrays), steps=self.steps, key=key, record=record
        )
        assert life.rewards is not None and life.actions is not None
        return life.rewards, life.actions


def closed_loop(
    learner: rl.Learner, task: Callable[..., rl.Task], ins: tuple[str, ...], *, steps: int = 3
) -> Claim:
    """The claim that a life does not depend on the order of the actions, in law.

    Relabelled tasks give the same rewards and relabelled actions: the environment is traced along
    with the learner, so nothing is assumed of it.

    **Arguments:**

    - `learner`: the learner.
    - `task`: makes a task of arrays.
    - `ins`: the specifications of these arrays, such as `("B",)`; B must be the label of the
        actions.
    - `steps`: environment steps of the life. The type of a loop's carry is an invariant, so the
        length makes no difference to the proof.

    **Returns:**

    A claim for `certify`.
    """
    signature = Signature.read(("key", *ins), (f"{steps}", f"{steps} @B"))
    title = f"the life of {type(learner).__name__}"
    return Claim(ClosedLoop(learner, task, steps), signature, title, "exchangeable")


@claim_of.register
def _(claim: Claim) -> Claim:
    """A claim, as it is."""
    return claim
