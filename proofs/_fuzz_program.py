"""A random program of the fuzzer: Python source that can be traced, printed and cut down."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.ad_checkpoint
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax import lax

from . import _spec

NAMES: dict[str, Any] = {"jax": jax, "jnp": jnp, "jr": jr, "lax": lax, "np": np}
INDENT = "    "


@dataclass(frozen=True)
class Program:
    """A program over arrays whose axes all have one size, so that only tags can tell them apart.

    - `inputs`: the type of each argument, by name.
    - `lines`: the statements of its body.
    - `outputs`: the variables that it returns.
    - `size`: the size of all labels.
    """

    inputs: Mapping[str, str]
    lines: tuple[str, ...]
    outputs: tuple[str, ...]
    size: int

    @property
    def source(self) -> str:
        """What to paste to see it again; `n` is the size of the labels."""
        types = ", ".join(f"{name}: '{spec}'" for name, spec in self.inputs.items())
        head = [f"# {types}; n = {self.size}", f"def program({', '.join(self.inputs)}):"]
        body = [INDENT + line for text in self.lines for line in text.split("\n")]
        returned = ", ".join(self.outputs) + ("," if len(self.outputs) == 1 else "")
        return "\n".join([*head, *body, f"{INDENT}return {returned}"])

    @cached_property
    def specs(self) -> list[_spec.Spec]:
        """The types of the arguments."""
        return [_spec.parse(text) for text in self.inputs.values()]

    @property
    def labels(self) -> list[str]:
        """The labels that the arguments speak of."""
        return _spec.names(self.specs)[0]

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each name."""
        return dict.fromkeys("AB", self.size)

    def jaxpr(self, size: Any = None, names: Mapping[str, Any] | None = None) -> Any:
        """The traced program; for a symbolic size too."""
        space = {**NAMES, **(names or {}), "n": self.size if size is None else size}
        with strict():
            exec(compile(self.source, "<program>", "exec"), space)
            avals = [spec.aval(self.sizes) for spec in self.specs]
            if size is not None:
                shapes = [tuple(size for _ in aval.shape) for aval in avals]
                avals = [aval.update(shape=s) for aval, s in zip(avals, shapes, strict=True)]
            return jax.make_jaxpr(space["program"])(*avals)

    def without(self, index: int) -> "Program | None":
        """The program without one of its lines, if what is left is still Python."""
        flat = "\n".join(self.lines).split("\n")
        smaller = replace(self, lines=(*flat[:index], *flat[index + 1 :]))
        try:
            compile(smaller.source, "<program>", "exec")
        except SyntaxError:
            return None
        return smaller


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Explicit types and ranks, whatever the user's configuration: programs depend on the seed."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield
