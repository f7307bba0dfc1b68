"""Random programs, as Python source: what the soundness of the certifier is tried on."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.ad_checkpoint
import numpy as np

from . import _spec
from ._fuzz_program import INDENT, NAMES, Program, strict
from ._fuzz_templates import ELEMENTWISE, NOISE, PLAIN, Group
from ._keys import is_key

_CUSTOM = {
    "jvp": "defjvps(lambda t, y, x: t * y)",
    "vjp": "defvjp(lambda x: (f(x), x), lambda x, t: (t * x,))",
}
_MAX_RANK = 4
_MAX_SIZE = 512


def generate(
    seed: int,
    *,
    noise: bool = False,
    templates: Sequence[str] = (),
    names: Mapping[str, Any] | None = None,
    last: str | None = None,
) -> Program:
    """A random program, always the same for the same seed.

    **Arguments:**

    - `seed`: an int.
    - `noise`: whether to draw random numbers often.
    - `templates`: further statements to use, often; see `_fuzz_templates`.
    - `names`: what they speak of.
    - `last`: a statement for the last line.

    **Raises:** `Impossible` if the last statement cannot be made after the others.
    """
    rng = random.Random(seed)
    size = 3 if seed % 8 else 4
    inputs = {f"x{i}": spec for i, spec in enumerate(_inputs(rng, size, noise))}
    groups: list[Group] = [*PLAIN, *(NOISE if noise else ())]
    if templates:
        total = sum(weight for weight, _ in groups)
        groups.append((total, tuple(templates)))
    specs = [_spec.parse(text) for text in inputs.values()]
    sizes = dict.fromkeys("AB", size)
    writer = _Writer(rng, size, groups, {**NAMES, **(names or {}), "n": size})

    def body(*arguments: Any) -> None:
        for name, value in zip(inputs, arguments, strict=True):
            writer.add(name, value)
        writer.statements(rng.randint(5, 11))
        if last is not None:
            before, writer.groups = len(writer.lines), [(1.0, (last,))]
            writer.statements(1)
            if len(writer.lines) == before:
                raise Impossible(f"{last!r} cannot be the last statement of program {seed}.")

    with strict():
        jax.make_jaxpr(body)(*(spec.aval(sizes) for spec in specs))
    made = [name for name in writer.scope if name.startswith("v")]
    wanted = [name for name in made if not is_key(writer.space[name].dtype)]
    outputs = tuple(wanted[-8:]) or tuple(n for n in inputs if not is_key(writer.space[n].dtype))
    return Program(inputs, tuple(writer.lines), outputs, size)


def _inputs(rng: random.Random, size: int, noise: bool) -> Iterator[str]:
    """Types of arguments: every program has floats with labels."""
    axes = ["A", "A", "B", "B", str(size), ".A" if rng.random() < 0.1 else "A"]
    yield " ".join(rng.sample(["A", "B", rng.choice(axes)], rng.choice((1, 2, 2, 3))))
    for _ in range(rng.randint(1, 3)):
        words = rng.choices(axes, k=rng.choice((0, 1, 1, 2, 2)))
        prefix = rng.choice(("", "", "", "int ", "bool "))
        if rng.random() < 0.35:
            label = rng.choice("AB")
            words.append(f"@{label}" + ("?" if rng.random() < 0.3 else ""))
            prefix = ""
        yield prefix + " ".join(words)
    if noise:
        yield "key"
        if rng.random() < 0.5:
            yield rng.choice(("key", "key A", "key B"))
    elif rng.random() < 0.1:
        yield rng.choice(("key", "key A", f"key {size}"))


def _kind(value: Any) -> str:
    """One letter: f(loat), i(nt32), b(ool), n(arrow or unsigned integers), k(ey)."""
    if is_key(value.dtype):
        return "k"
    if value.dtype == np.float32:
        return "f"
    if value.dtype == np.int32:
        return "i"
    return "b" if value.dtype == bool else "n"


class Impossible(Exception):
    """A statement cannot be made of the variables that there are."""


class _Writer:
    """Writes statements while they are being traced, so that shapes and types are known."""

    def __init__(self, rng: random.Random, size: int, groups: Sequence[Group], space: dict):
        self.rng, self.size, self.groups, self.space = rng, size, groups, space
        self.scope: list[str] = []  # names of variables, the newest last
        self.outer: frozenset[str] = frozenset()  # those that a function sees but does not make
        self.spent: set[str] = set()
        self.lines: list[str] = []
        self.counter = [0]
        self.depth = 0
        self.failures: list[tuple[str, str]] = []

    def add(self, name: str, value: Any) -> None:
        """A new variable."""
        self.space[name] = value
        self.scope.append(name)

    def fresh(self, letter: str = "v") -> str:
        self.counter[0] += 1
        return f"{letter}{self.counter[0]}"

    def statements(self, count: int) -> None:
        """So many statements; those that JAX refuses are left out."""
        for _ in range(count):
            for _attempt in range(20):
                text = ""
                spent, lines = set(self.spent), len(self.lines)
                try:
                    text = self.expression()
                    value = eval(text, self.space)
                    self._assign(text, value)
                    break
                except Impossible:
                    pass
                except Exception as error:  # noqa: BLE001
                    self.failures.append((text, repr(error)))
                self.spent = spent
                del self.lines[lines:]

    def _assign(self, text: str, value: Any) -> None:
        values = list(value) if isinstance(value, tuple | list) else [value]
        arrays = [isinstance(v, jax.Array) for v in values]
        if not values or not all(arrays) or any(v.ndim > _MAX_RANK for v in values):
            raise Impossible
        if any(v.size > _MAX_SIZE or (v.size == 0 and not is_key(v.dtype)) for v in values):
            raise Impossible
        names = [self.fresh() for _ in values]
        comma = "," if isinstance(value, tuple | list) and len(values) == 1 else ""
        self.lines.append(f"{', '.join(names)}{comma} = {text}")
        for name, v in zip(names, values, strict=True):
            self.add(name, v)

    def expression(self) -> str:
        """The text of one random expression; functions that it needs become lines before it."""
        weights = [weight for weight, _ in self.groups]
        ((_, templates),) = self.rng.choices(self.groups, weights)
        return self.fill(self.rng.choice(templates))

    # ------------------------------------------------------------------------- templates

    def fill(self, template: str) -> str:
        """Put variables, axes and functions in the slots of a template."""
        rng, slots = self.rng, {}

        def choose(found: re.Match) -> str:
            return rng.choice(found[1].split("|"))

        def slot(found: re.Match) -> str:
            return str(self._slot(found[1].strip(), slots))

        text = re.sub(r"\{([^{}]*\|[^{}]*)\}", choose, template)
        text = re.sub(r"\{((?!fn)\w+:[^{}]*)\}", slot, text)  # functions ask for what is in slots
        return re.sub(r"\{([^{}]*)\}", slot, text)

    def _slot(self, word: str, slots: dict[str, Any]) -> Any:
        rng = self.rng
        name, colon, rest = word.partition(":")
        if name == "fn":
            return self.function(rest, slots)
        if colon:
            text, value = self._variable(rest.strip(), slots)
            slots[name] = (text, value)
            return text
        if word == "n":
            return "n"
        if word == "k":
            return rng.randrange(self.size)
        name, _, field = word.partition(".")
        text, value = slots[name]
        rank = value.ndim
        if not field:
            return text
        if field == "dtype":
            return f"jnp.{value.dtype.name}"
        if field == "shape":
            return f"{text}.shape"
        if field == "gap":
            return rng.randrange(rank + 1)
        if field == "perm":
            return tuple(rng.sample(range(rank), rank))
        if rank == 0:
            raise Impossible
        if field == "axes":
            return tuple(sorted(rng.sample(range(rank), rng.randint(1, rank))))
        if field == "axis":  # the same wherever it is used
            return slots.setdefault(f"{name}.axis", rng.randrange(rank))
        if field == "at":  # `:, :, ` before that axis
            return ":, " * slots.setdefault(f"{name}.axis", rng.randrange(rank))
        raise ValueError(f"The slot {word!r} has an unknown field.")

    def _variable(self, wish: str, slots: dict[str, Any]) -> tuple[str, Any]:
        """A variable, or a short expression of one, that a slot asks for."""
        found = re.fullmatch(r"([fibnk]*)(=?)(\d*)\s*(?:(like|same) (\w+))?", wish)
        if found is None:
            raise ValueError(f"The slot {wish!r} cannot be read.")
        kinds, exact, rank, relation, other = found.groups()
        if relation:
            model = slots[other][1]
            kinds = kinds or _kind(model)
            same = model.dtype if kinds == _kind(model) else None
            return self.resembling(kinds, model.shape, same, relation == "same")
        least = int(rank or 0)
        names = [
            name
            for name in self._available(kinds)
            if (self.space[name].ndim == least if exact else self.space[name].ndim >= least)
        ]
        name = self._pick(names)
        if kinds == "k" and self.rng.random() < 0.6:
            self.spent.add(name)
        return name, self.space[name]

    def _available(self, kinds: str) -> list[str]:
        return [n for n in self.scope if _kind(self.space[n]) in kinds and n not in self.spent]

    def _pick(self, names: Sequence[str]) -> str:
        if not names:
            raise Impossible
        own = [name for name in names if name not in self.outer]
        names = own if own and self.rng.random() < 0.7 else names
        return names[max(self.rng.randrange(len(names)) for _ in range(2))]

    def resembling(
        self, kinds: str, shape: tuple[int, ...], dtype: Any, same: bool
    ) -> tuple[str, Any]:
        """An expression whose shape broadcasts to another, or is the `same`."""
        candidates = []
        for name in self._available(kinds):
            value = self.space[name]
            if (dtype is None or value.dtype == dtype) and value.ndim <= len(shape):
                places = sorted(self.rng.sample(range(len(shape)), value.ndim))
                if value.shape == tuple(shape[p] for p in places):
                    candidates.append((name, places))
        if not candidates and kinds == "b":
            text, value = self.resembling("fi", shape, None, same)
            return f"({text} {self.rng.choice(('>', '<=', '!='))} 0)", value
        names = [name for name, _ in candidates]
        name = self._pick(names)
        places = dict(candidates)[name]
        value = self.space[name]
        axes = tuple(axis for axis in range(len(shape)) if axis not in places)
        text = f"jnp.expand_dims({name}, {axes})" if axes else name
        if not axes and value.ndim == 2 and len(set(shape)) == 1 and self.rng.random() < 0.2:
            text = f"{name}.T"
        if same and axes:
            sizes = ["n" if size == self.size else str(size) for size in shape]
            text = f"jnp.broadcast_to({text}, ({', '.join(sizes)},))"
        return text, value

    # ------------------------------------------------------------------------- functions

    def function(self, wish: str, slots: dict[str, Any]) -> str:
        """The name of a new function; what it is, becomes a line.

        A wish such as `x, y[] -> x, *` says that the arguments are as the slot `x` and as an
        element of `y`, and that it returns something like `x` and anything. Before it may stand
        `jvp` or `vjp`: the function has a derivative of its own, and sees its argument only.
        """
        if self.depth >= 2:
            raise Impossible
        custom = re.match("(jvp|vjp) ", wish)
        before, _, after = wish[4 if custom else 0 :].partition("->")
        avals = [self._like(word.strip(), slots) for word in before.split(",") if word.strip()]
        name, arguments = self.fresh("f"), [self.fresh("a") for _ in avals]
        inner = _Writer(self.rng, self.size, self._inner_groups(), dict(self.space))
        inner.counter, inner.depth, inner.failures = self.counter, self.depth + 1, self.failures
        inner.scope = [] if custom else [n for n in self.scope if _kind(self.space[n]) != "k"]
        inner.outer = frozenset(inner.scope)
        results: list[str] = []

        def body(*values: Any) -> None:
            for argument, value in zip(arguments, values, strict=True):
                inner.add(argument, value)
            inner.statements(self.rng.randint(1, 3))
            for word in after.split(","):
                results.append(inner.result(word.strip(), slots))

        jax.make_jaxpr(body)(*avals)
        returned = ", ".join(results)
        lines = "\n".join([*inner.lines, f"return {returned}"]).split("\n")
        head = f"def {name}({', '.join(arguments)}):"
        definition = "\n".join([head, *(INDENT + line for line in lines)])
        if custom:
            rule = _CUSTOM[custom[1]].replace("f(", f"{name}(")
            definition = f"@jax.custom_{custom[1]}\n{definition}\n{name}.{rule}"
        exec(definition, self.space)
        self.lines.append(definition)
        return name

    def _inner_groups(self) -> Sequence[Group]:
        return self.groups if self.rng.random() < 0.7 else ELEMENTWISE

    def _like(self, word: str, slots: dict[str, Any]) -> jax.ShapeDtypeStruct:
        """The type of an argument: as a slot; `x[]`, `x[axis]` without its first or its axis."""
        if word == "int":
            return jax.ShapeDtypeStruct((), np.int32)
        name, bracket, inside = word.partition("[")
        value = slots[name][1]
        shape = list(value.shape)
        if bracket:
            if not shape:
                raise Impossible
            axis = 0
            if inside != "]":
                axis = slots.setdefault(f"{name}.axis", self.rng.randrange(len(shape)))
            del shape[axis]
        return jax.ShapeDtypeStruct(tuple(shape), value.dtype)

    def result(self, word: str, slots: dict[str, Any]) -> str:
        """Something to return: like a slot, a scalar, a bool, or anything (`*`)."""
        if word == "*":
            return self._pick(self._available("fibn"))
        if word == "guard":
            text, value = self._variable("fi", slots)
            return f"jnp.{self.rng.choice(('any', 'all'))}({text} > 0)"
        aval = self._like(word, slots)
        kind = _kind(aval)
        text, value = self.resembling(kind, aval.shape, aval.dtype, True)
        if kind == "f" and self.rng.random() < 0.3:
            other, _ = self.resembling(kind, aval.shape, aval.dtype, True)
            return f"{text} {self.rng.choice('+-*')} {other}"
        return text
