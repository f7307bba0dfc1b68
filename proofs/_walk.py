"""The certifier's interpreter: walks a jaxpr and infers how permutations act on every array.

The soundness argument is a logical relation. Two runs are related if each value of the second is
what the permutation makes of the first, as its tags say; every rule of `_rules*` is a lemma:
related operands give related results. What a rule cannot show becomes a `Fault`, a poison that
counts only if it reaches an output.
"""

import linecache
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal as Constant

from ._keys import Keys, Ledger, is_key
from ._rulebook import Fault, Known, Rule, Unsupported
from ._tags import UNI, Clash, Fixed, Label, Tag, Value, Var, decide, find, join


class Judge:
    """The state of one walk through a program."""

    def __init__(
        self,
        sizes: dict[str, Any],
        randomness: str,
        rules: Mapping[str, Rule],
    ):
        # Along a label of size 1 there is nothing to permute.
        self.sizes = {name: n for name, n in sizes.items() if not isinstance(n, int) or n > 1}
        self.rules = rules
        self.exchangeable = randomness == "exchangeable"
        self.assumptions: dict[str, None] = {}
        self.ledger = Ledger()
        self.path: list[int] = []
        self.equations: list[JaxprEqn] = []
        self.loops = 0
        self.visits = 0

    # ------------------------------------------------------------------------------ walking

    def run(self, jaxpr: ClosedJaxpr | Jaxpr, values: Sequence[Known]) -> list[Known]:
        """The outputs of a program for abstract inputs."""
        program = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
        constants = jaxpr.consts if isinstance(jaxpr, ClosedJaxpr) else ()
        env: dict[Any, Known] = {}
        env.update(zip(program.constvars, map(self.constant, constants), strict=True))
        env.update(zip(program.invars, values, strict=True))

        def read(atom: Any) -> Known:
            return self.constant(atom.val) if isinstance(atom, Constant) else env[atom]

        for index, equation in enumerate(program.eqns):
            with self.at(index, equation):
                found = self.equation(equation, [read(atom) for atom in equation.invars])
            env.update(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in program.outvars]

    @contextmanager
    def at(self, step: int, equation: JaxprEqn | None = None) -> Iterator[None]:
        """Within: the path of equations goes on with this step."""
        self.path.append(step)
        if equation is not None:
            self.equations.append(equation)
        try:
            yield
        finally:
            self.path.pop()
            if equation is not None:
                self.equations.pop()

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Within: what is walked through is repeated."""
        self.loops += 1
        try:
            yield
        finally:
            self.loops -= 1

    def equation(self, equation: JaxprEqn, values: list[Known]) -> list[Known]:
        """The results of one equation."""
        self.visits += 1
        found = self.rules.get(equation.primitive.name)
        count = len(equation.outvars)
        try:
            if found is None:
                result = self._unknown(equation, values)
            elif found.lazy:
                result = found.apply(self, equation, values)
            else:
                operands = []
                for value in values:
                    if isinstance(value, Fault):
                        return [value] * count
                    operands.append(self.use(value, found.parts))
                result = found.apply(self, equation, operands)
        except (Clash, Unsupported) as error:
            return [self.fault(error, values)] * count
        return result if isinstance(result, list) else [result]

    def _unknown(self, equation: JaxprEqn, values: list[Known]) -> list[Known]:
        """A primitive without a rule: a function that may not see anything that is permuted."""
        name = equation.primitive.name
        for value in values:
            if isinstance(value, Fault):
                return [value] * len(equation.outvars)
        effects = [str(effect) for effect in equation.effects if "Debug" not in str(effect)]
        if effects or name in ("rng_uniform", "io_callback"):
            raise Unsupported("it has effects that the certifier cannot follow")
        results = []
        for value in [self.number(self.use(v)) for v in values if isinstance(v, Value)]:
            for tag in value.tags:
                decide(tag, self.origin())
            if value.labels:
                raise Unsupported("there is no rule for it, and an operand is permuted")
            if value.key is not None:
                raise Unsupported("there is no rule for what it does with random keys")
        if not all(isinstance(v.aval, ShapedArray) for v in (*equation.invars, *equation.outvars)):
            raise Unsupported("an operand or a result is not an array")
        for variable in equation.outvars:
            aval: Any = variable.aval
            results.append(self.value(aval, self.fixed(len(aval.shape))))
        return results

    def fault(self, error: Exception, values: Sequence[Known] = ()) -> Fault:
        """The fault of the equation that is being looked at."""
        where, source = self.where()
        return Fault(
            self.equations[-1].primitive.name if self.equations else "return",
            str(error),
            where,
            source,
            tuple("fault" if isinstance(v, Fault) else str(v) for v in values),
            isinstance(error, Clash),
        )

    def where(self) -> tuple[str, str]:
        """File, line and function of the equation being looked at, and that line."""
        for equation in reversed(self.equations):
            summary = source_info_util.summarize(equation.source_info)
            found = re.match(r"(?P<file>.+?):(?P<line>\d+)(:\d+)?(?P<rest>.*)", summary)
            if found:
                line = int(found["line"])
                source = linecache.getline(found["file"], line).strip()
                return f"{found['file']}:{line}{found['rest']}", source
        return "the program's boundary", ""

    def origin(self) -> str:
        """Words for where the positions that an equation fixes come from."""
        name = self.equations[-1].primitive.name if self.equations else "an input"
        return f"`{name}` at {self.where()[0]}"

    def assume(self, text: str) -> None:
        """Note what the result rests on, with the line that needs it."""
        where, source = self.where()
        self.assumptions[f"{text}, at {where}" + (f": {source}" if source else "")] = None

    # ------------------------------------------------------------------------------- values

    def value(self, aval: Any, tags: Sequence[Tag], **entries: Any) -> Value:
        """The value of a shape and type; axes of size 1 are constant along themselves."""
        final = []
        for size, tag in zip(aval.shape, tags, strict=True):
            tag = UNI if isinstance(size, int) and size == 1 else find(tag)
            if isinstance(tag, Label) and self.sizes[tag.name] != size:
                raise Clash(
                    f"an axis of size {size} cannot be permuted with '{tag}', whose size is "
                    f"{self.sizes[tag.name]}"
                )
            final.append(tag)
        made = Value(tuple(aval.shape), aval.dtype, tuple(final), **entries)
        if self.exchangeable and made.key is None and is_key(aval.dtype):
            raise Unsupported("it hides which random keys these are")
        return made.resolved()

    def out(self, tags: Sequence[Tag], index: int = 0, **entries: Any) -> Value:
        """The value of an output of the equation being looked at."""
        return self.value(self.equations[-1].outvars[index].aval, tags, **entries)

    def fixed(self, count: int) -> tuple[Fixed, ...]:
        """Tags of axes whose positions this equation fixes."""
        return (Fixed(self.origin()),) * count if count else ()

    def constant(self, array: Any) -> Value:
        """The value of a literal or of an array that the program has captured."""
        aval = jax.typeof(array)
        if is_key(aval.dtype):
            tags = (Fixed("a captured key"),) * aval.ndim
            axes = (None,) * aval.ndim
            key = Keys(("constant",), None, axes, True) if self.exchangeable else None
            return self.value(aval, tags, key=key)
        known = None
        if aval.ndim == 0 and np.dtype(aval.dtype).kind in "biu":
            known = np.asarray(array)[()]
        origin = f"a captured constant of shape {tuple(aval.shape)}" if aval.ndim else ""
        return self.value(aval, (Fixed(origin),) * aval.ndim, known=known)

    def use(self, value: Value, parts: bool = False, *, once: bool = False) -> Value:
        """An operand as a rule sees it: what was pending is decided.

        **Arguments:**

        - `parts`: whether columns of indices may stay apart.
        - `once`: whether undecided tags are to be decided once for all uses.
        """
        value = value.instance(noise=once)
        if value.parts is not None and not parts:
            for tag, _ in value.parts:
                value = self._plain(value, tag)
            value = replace(value, parts=None)
        for variable in value.pending:
            decide(variable, "arithmetic on positions")
            if isinstance(tag := find(variable), Label):
                raise Clash(f"numbers made of positions along '{tag}' are not positions any more")
        return replace(value, pending=()).resolved() if value.pending else value

    def plain(self, value: Value) -> Value:
        """The same as numbers, for arithmetic: positions along a label are refused."""
        if value.positions is None:
            return value
        return replace(self._plain(value, value.positions), positions=None, optional=False)

    def number(self, value: Value) -> Value:
        """As `plain`, and what is undecided is decided at once."""
        return self.use(self.plain(value))

    def _plain(self, value: Value, positions: Tag | None) -> Value:
        tag = None if positions is None else find(positions)
        if isinstance(tag, Label):
            raise Clash(f"positions along '{tag}' are used as numbers")
        if isinstance(tag, Var):
            if tag.noise:
                return replace(value, pending=(*value.pending, tag))
            decide(tag, self.origin())
        return value.resolved()

    def join_tags(self, values: Sequence[Value]) -> list[Tag]:
        """The tags of what is made elementwise of arrays of one shape, or of scalars."""
        rank = max(len(value.tags) for value in values)
        tags: list[Tag] = [UNI] * rank
        for value in values:
            for axis, tag in enumerate(value.tags):
                tags[axis] = join(tags[axis], tag, self.sizes)
        return tags

    def join_entries(self, values: Sequence[Value]) -> dict[str, Any]:
        """What the entries are where each comes from one of several arrays."""
        found = [v for v in values if v.positions is not None]
        if not found:
            return {}
        positions: Tag = UNI
        for value in found:
            positions = join(positions, value.positions or UNI, self.sizes)
        optional = any(value.optional for value in found)
        for value in values:
            if value.positions is None:
                if value.known is not None and value.known < 0 and value.dtype.kind == "i":
                    optional = True
                elif isinstance(tag := find(positions), Label):
                    raise Clash(f"positions along '{tag}' meet numbers that are none")
                else:
                    positions = join(positions, Fixed(self.origin()), self.sizes)
        if isinstance(find(positions), Fixed):
            return {}
        return {"positions": positions, "optional": optional}

    def merge(self, values: Sequence[Known]) -> Known:
        """What is known of a value that is one of several: a carry, the result of a branch."""
        for value in values:
            if isinstance(value, Fault):
                return value
        try:
            used = [self.use(v, once=True) for v in values if isinstance(v, Value)]
            if any(v.key is not None for v in used):
                if any(v.key != used[0].key for v in used):
                    raise Unsupported("a random key is one of several")
                return replace(used[0], tags=tuple(self.join_tags(used)))
            known = used[0].known
            if any(v.known is None or v.known != known for v in used):
                known = None
            merged = replace(
                used[0],
                tags=tuple(self.join_tags(used)),
                positions=None,
                optional=False,
                known=known,
            )
            return replace(merged, **self.join_entries(used)).resolved()
        except (Clash, Unsupported) as error:
            return self.fault(error, values)

    def consume(self, key: Keys, how: str, site: tuple[int, ...], data: Any = None) -> None:
        """Note that the equation uses keys up, and refuse those that were used elsewhere."""
        self.ledger.consume(key, how, site, self.where()[0], data)
