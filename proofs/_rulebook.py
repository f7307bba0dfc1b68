"""The table of rules: one for each primitive of JAX, and what becomes of a value without one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._tags import Value


class Unsupported(Exception):
    """The certifier has no rule for this; nothing is said about the program."""


@dataclass(frozen=True)
class Fault:
    """Why nothing could be shown of a value.

    - `primitive`: the primitive of JAX at fault.
    - `reason`: what is wrong.
    - `where`: file, line and function; `source` is that line.
    - `operands`: how permutations act on its operands.
    - `breaks`: whether the symmetry seems broken; `False` if a rule is missing.
    """

    primitive: str
    reason: str
    where: str
    source: str
    operands: tuple[str, ...]
    breaks: bool

    def __str__(self) -> str:
        verb = "breaks the symmetry" if self.breaks else "is not understood"
        lines = [f"`{self.primitive}` {verb}: {self.reason}", f"    at {self.where}"]
        lines += [f"    | {self.source}"] if self.source else []
        lines += [f"    operands: {', '.join(self.operands)}"] if self.operands else []
        return "\n".join(lines)


Known = Value | Fault


@dataclass(frozen=True)
class Rule:
    """How one primitive acts on abstract values.

    - `apply`: `(judge, equation, values) -> value or list of values`; raises `Clash` or
        `Unsupported`.
    - `lazy`: whether it also takes operands at fault and decides itself which ones it uses.
    - `parts`: whether it reads the columns of put-together indices.
    """

    apply: Callable[..., Any]
    lazy: bool = False
    parts: bool = False


RULES: dict[str, Rule] = {}


def rule(*primitives: str, lazy: bool = False, parts: bool = False) -> Callable:
    """Register a function as the rule of some primitives."""

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        for name in primitives:
            if name in RULES:
                raise ValueError(f"There is a rule for {name} already.")
            RULES[name] = Rule(apply, lazy, parts)
        return apply

    return register


# Primitives that apply one program to their operands, in the releases of JAX that are supported.
CALLS = (
    "jit",
    "closed_call",
    "call",
    "eval_jaxpr",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
)


def called(params: Mapping[str, Any]) -> Any:
    """The program that one of `CALLS` applies; `None` if it is not found."""
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    return next((params[name] for name in names if name in params), None)


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many operands of a `scan` are constants, and how many are carried."""
    if "ft_in" in params:  # since JAX 0.11
        constants, carried = (len(part) for part in params["ft_in"].unpack()[:2])
        return constants, carried
    return params["num_consts"], params["num_carry"]
