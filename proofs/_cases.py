"""Plain, printable descriptions of what laws are tried on. They hold no arrays; `build` makes them.

A case is an expression: what it prints makes it again. Equal cases build equal objects.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

import rl
import vsml

from ._execution import compiled

T = TypeVar("T")
Sizes = tuple[int, ...]
Orders = tuple[tuple[int, ...], ...]


class Received(NamedTuple):
    """What a layer or network receives at each of L steps: `[L A Mf]`, `[L B Mb]`, `[L C]`."""

    forward: Any
    backward: Any
    context: Any


@dataclass(frozen=True)
class LayerCase:
    """A layer with random parameters, biases too. The fields are the arguments of `vsml.Layer`."""

    hidden_size: int = 3
    forward_size: int = 2
    backward_size: int = 2
    context_size: int = 1
    cell: str = "lstm"
    reduction: str = "mean"
    recurrent: bool = True
    message_bias: str = "once"
    initial_state: str = "normal"
    seed: int = 0

    def build(self, kind: Callable[..., vsml.Layer] = vsml.Layer) -> vsml.Layer:
        """The layer; of another `kind`, a subclass with the same arguments."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}
        return randomised(_shapes(kind, (), tuple(options.items())), self.seed)


@dataclass(frozen=True)
class NetworkCase:
    """A network of one shared layer, or of `depth` different ones.

    - `layer`: how to make its layers.
    - `depth`: `None` for a shared layer, whose depth comes from the sizes.
    - `ticks`, `refresh`, `order`: the arguments of `vsml.Network`.
    """

    layer: LayerCase = LayerCase()
    depth: int | None = None
    ticks: int = 1
    refresh: bool = True
    order: str = "simultaneous"

    def build(
        self,
        kind: Callable[..., vsml.Network] = vsml.Network,
        layer_kind: Callable[..., vsml.Layer] = vsml.Layer,
    ) -> vsml.Network:
        """The network; of another `kind`, with layers of another kind."""
        seeds = range(self.layer.seed, self.layer.seed + (self.depth or 1))
        layers = tuple(replace(self.layer, seed=seed).build(layer_kind) for seed in seeds)
        stack = layers if self.depth else layers[0]
        return kind(stack, ticks=self.ticks, refresh=self.refresh, order=self.order)


@dataclass(frozen=True)
class LearnerCase:
    """A learner with random meta-variables.

    - `name`: of a class in `rl` or `rl.classic`, or one of your own in `LEARNERS`.
    - `options`: its arguments, but the key.
    """

    name: str = "SymLA"
    options: dict[str, Any] = field(
        default_factory=lambda: {"hidden_size": 3, "forward_size": 2, "backward_size": 2}
    )
    seed: int = 0

    def build(self, kind: Callable[..., rl.Learner] | None = None) -> rl.Learner:
        """The learner; of another `kind`, a class with the same arguments.

        **Raises:** `ValueError` for an unknown name.
        """
        if kind is None and self.name not in LEARNERS:
            raise ValueError(f"`name` must be one of {', '.join(LEARNERS)}; got {self.name!r}.")
        kind = kind or LEARNERS[self.name]
        if isinstance(kind, type) and issubclass(kind, rl.classic.BanditPlayer):
            return kind(**self.options)
        return randomised(_shapes(kind, (), tuple(self.options.items())), self.seed)


LEARNERS: dict[str, Callable[..., rl.Learner]] = {
    "SymLA": rl.SymLA,
    "MetaRNN": rl.MetaRNN,
    "RandomPlayer": rl.classic.RandomPlayer,
    "ThompsonSampling": rl.classic.ThompsonSampling,
    "UCB1": rl.classic.UCB1,
    "GreedyPosteriorMean": rl.classic.GreedyPosteriorMean,
}
"""Learners by name. Another one is one line: `proofs.strategies.LEARNERS["Mine"] = Mine`."""


@dataclass(frozen=True)
class TaskCase:
    """A task of a distribution.

    - `name`: of a distribution in `TASKS`.
    - `options`: its arguments.
    - `seed`: of the task that is drawn from it.
    """

    name: str = "BernoulliBandits"
    options: dict[str, Any] = field(default_factory=lambda: {"arms": 3})
    seed: int = 0

    def build(self) -> rl.Task:
        """The task.

        **Raises:** `ValueError` for an unknown name.
        """
        if self.name not in TASKS:
            raise ValueError(f"`name` must be one of {', '.join(TASKS)}; got {self.name!r}.")
        return sample(TASKS[self.name](**self.options), jr.key(self.seed))


@compiled
def sample(tasks: rl.TaskDistribution, key: PRNGKeyArray) -> rl.Task:
    """One task of a distribution."""
    return tasks.sample(key=key)


def _bandits(**options: Any) -> rl.TaskDistribution:
    # Imported where it is used: it needs gymnax.
    return rl.envs.BernoulliBandits(**options)


def _contextual(**options: Any) -> rl.TaskDistribution:
    return rl.envs.ContextualBandits(**options)


TASKS: dict[str, Callable[..., rl.TaskDistribution]] = {
    "BernoulliBandits": _bandits,
    "ContextualBandits": _contextual,
}
"""Distributions by name. Another is one line: `proofs.strategies.TASKS["Mazes"] = Mazes`."""


@dataclass(frozen=True)
class Situation:
    """What happens to an object while a law looks at it.

    - `sizes`: of its interfaces, from the inputs to the outputs (sensors to actions); `None` for
        sizes that suit the object.
    - `permutations`: one for each interface; `None` to draw them.
    - `steps`: how often it is called, or steps of a life.
    - `ticks`: micro ticks, in laws about them.
    - `masked`: whether some inputs and outputs do not exist.
    - `loudness`: the standard deviation of what it receives; 0 is silence.
    - `seed`: of all else that is random.
    """

    sizes: Sizes | None = None
    permutations: Orders | None = None
    steps: int = 3
    ticks: int = 1
    masked: bool = False
    loudness: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if self.sizes is not None and (len(self.sizes) < 2 or min(self.sizes) < 1):
            raise ValueError(
                f"`sizes` must be two or more numbers, all at least 1; got {self.sizes}."
            )
        for name in ("steps", "ticks"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 0.0 <= self.loudness < float("inf"):
            raise ValueError(f"`loudness` must be a number from 0, got {self.loudness}.")
        for order in self.permutations or ():
            if sorted(order) != list(range(len(order))):
                raise ValueError(f"Each of `permutations` must hold 0 to n - 1 once; got {order}.")
        if self.permutations is not None and self.sizes is not None:
            lengths = tuple(len(order) for order in self.permutations)
            if lengths != self.sizes:
                raise ValueError(
                    f"`permutations` are of sizes {lengths}, but `sizes` are {self.sizes}."
                )

    def orders(self, sizes: Sizes) -> list[np.ndarray]:
        """The permutations of interfaces of these sizes; drawn ones are never mere rotations.

        What is wrong by a shift, a neighbour's message for example, commutes with rotations.
        """
        if self.permutations is not None:
            return [np.asarray(order) for order in self.permutations]
        rng = np.random.default_rng([self.seed, 1])
        return [shuffled(n, rng) for n in sizes]

    def masks(self, sizes: Sizes) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Which inputs and outputs exist: at least one of each, and not all where that can be."""
        if not self.masked:
            return None, None
        rng = np.random.default_rng([self.seed, 2])
        one, other = (np.arange(n) < rng.integers(1, max(n, 2)) for n in (sizes[0], sizes[-1]))
        return rng.permutation(one), rng.permutation(other)

    def noise(self, *shape: int, part: int = 3) -> Array:
        """Normal numbers of the default floating type; others for another `part`."""
        rng = np.random.default_rng([self.seed, part])
        return jnp.asarray(rng.normal(size=shape), dtype=float)


def shuffled(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random permutation that is no rotation, if there is one."""
    if size < 3:
        return np.arange(size)[::-1]
    while True:
        order = rng.permutation(size)
        if len(set((order - np.arange(size)) % size)) > 1:
            return order


def randomised(module: T, seed: int, scale: float = 0.4) -> T:
    """A module, or its shapes, with normal numbers for all floating arrays: no bias is zero."""
    rng = np.random.default_rng(seed)

    def number(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return jnp.zeros(x.shape, x.dtype)
        return jnp.asarray(scale * rng.normal(size=x.shape), dtype=x.dtype)

    return jax.tree.map(number, module)


@lru_cache(maxsize=256)
def _traced(kind: Callable, arguments: tuple, options: tuple, wide: bool) -> Any:
    del wide  # shapes have other types where 64 bits are allowed
    return eqx.filter_eval_shape(lambda: kind(*arguments, **dict(options), key=jr.key(0)))


def _shapes(kind: Callable, arguments: tuple, options: tuple) -> Any:
    return _traced(kind, arguments, options, bool(jax.config.read("jax_enable_x64")))
