"""Counter-examples: one permutation and one input at which a claim fails, in exact arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import PyTree

from . import _spec
from ._equivariance import cycles
from ._exact import evaluate, to_exact
from ._execution import first_true
from ._judge import Randomness
from ._rulebook import CALLS, called, scan_counts
from ._trace import Program, Signature, trace


@dataclass(frozen=True)
class Witness:
    """A permutation and an input that show that a claim is wrong.

    - `sizes`: the size of each label and named axis.
    - `permutations`: for each label, which position comes where.
    - `place`, `claim`: the output at fault, and what was claimed of it.
    - `index`: where it is wrong first; `expected` should be there, `found` is. Both are numbers of
        the exact arithmetic, integers modulo 2^32.
    - `differing`, `total`: how many of its entries are wrong.
    - `inputs`: the input, by name; parameters are left out.
    """

    sizes: Mapping[str, int]
    permutations: Mapping[str, np.ndarray]
    place: str
    claim: str
    index: tuple[int, ...]
    expected: Any
    found: Any
    differing: int
    total: int
    inputs: Mapping[str, np.ndarray]

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={n}" for name, n in self.sizes.items())
        moved = "; ".join(
            f"{label}: {cycles(p.tolist())}" for label, p in self.permutations.items()
        )
        place = f"output {self.place}" if self.place else "the output"
        return (
            f"for sizes {sizes} and the permutation g = {moved},\n"
            f"{place} of g.x is not what '{self.claim}' says: {self.differing} of {self.total} "
            f"entries differ,\n"
            f"the first at {list(self.index)}: {self.found} instead of {self.expected} "
            "(in exact arithmetic)"
        )


def refute(
    fn: Callable,
    ins: PyTree,
    out: PyTree = None,
    *,
    sizes: Mapping[str, int] | None = None,
    randomness: Randomness = "pathwise",
    samples: int = 4,
    seed: int = 0,
) -> Witness | None:
    """Look for a permutation and an input at which a function is not equivariant.

    Everything is evaluated exactly: floating numbers are read as integers modulo 2^32, sums and
    products have no rounding, other functions of numbers are fixed functions as good as random.
    Both sides must be equal bit for bit. A function that is equivariant by another identity of
    real numbers (`exp(a) exp(b) = exp(a + b)`) is refuted although it is right.

    **Arguments:**

    - `fn`, `ins`, `out`: as for `certify`.
    - `sizes`: the size of each name; small ones are tried by default.
    - `randomness`: with `"exchangeable"`, only outputs that no draw has an influence on are
        compared, since the others are claimed to be equal in law only.
    - `samples`: how many random inputs to try for each choice of sizes.
    - `seed`: of the inputs and permutations.

    **Returns:**

    A witness, or `None` if none was found; that proves nothing.
    """
    signature = Signature.read(ins, out)
    tries = [dict(sizes)] if sizes is not None else small_sizes(signature)
    for at in tries:
        found = refute_program(trace(fn, signature, at), randomness, samples, seed)
        if found is not None:
            return found
    return None


def small_sizes(signature: Signature) -> list[dict[str, int]]:
    """Sizes at which to look for counter-examples, small ones first."""
    labels, names = signature.labels, signature.names
    rungs = []
    for base in (2, 3, 4):
        shifted = {label: base + i for i, label in enumerate(labels)}
        rungs.append({name: shifted.get(name, 2) for name in names})
    equal = {name: 3 for name in names}
    return [{name: 2 for name in names}, *rungs, equal]


def refute_program(
    program: Program, randomness: Randomness, samples: int, seed: int
) -> Witness | None:
    """As `refute`, for a traced program of concrete sizes."""
    labels = list(dict.fromkeys(label for spec in program.ins for label in spec.labels))
    if not any(program.sizes[label] > 1 for label in labels):
        return None
    compared = [claim is not ... for claim in program.claims]
    if randomness == "exchangeable":
        drawn = depends_on(program.jaxpr, [spec.kind == "key" for spec in program.ins])
        compared = [c and not d for c, d in zip(compared, drawn, strict=True)]
    if not any(compared):
        return None
    run = jax.jit(
        lambda *arguments: evaluate(program.jaxpr, arguments),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    count = len(program.parameters)
    specs = program.ins[count:]
    held = [to_exact(np.asarray(p)) for p in program.parameters]
    for sample in range(samples):
        values = _spec.draw(specs, program.sizes, seed + sample)
        before = run(*held, *map(to_exact, values))
        if before.ties:
            continue
        for order in orders(labels, program.sizes, seed + sample):
            after = run(*held, *map(to_exact, _spec.act(specs, values, order)))
            if after.ties:
                continue
            for i in (i for i, wanted in enumerate(compared) if wanted):
                claim = program.claims[i]
                expected = np.asarray(_spec.act(claim, np.asarray(before.outputs[i]), order))
                found = np.asarray(after.outputs[i])
                wrong = np.asarray(expected != found)
                if wrong.any():
                    index = first_true(wrong)
                    titles = program.titles[count:]
                    inputs = dict(zip(titles, values, strict=True))
                    return Witness(
                        program.sizes,
                        order,
                        program.places[i] if program.places[i] != "(the whole)" else "",
                        str(claim),
                        index,
                        expected[index],
                        found[index],
                        int(wrong.sum()),
                        expected.size,
                        inputs,
                    )
    return None


def orders(labels: Sequence[str], sizes: Mapping[str, int], seed: int) -> list[dict]:
    """For each label the swap of its first two positions, then random permutations of all."""
    still = {label: np.arange(sizes[label]) for label in labels}
    swaps = []
    for label in labels:
        if sizes[label] > 1:
            swapped = still[label].copy()
            swapped[:2] = (1, 0)
            swaps.append({**still, label: swapped})
    return [*swaps, *(_spec.permutations(labels, sizes, 7 * seed + i) for i in range(2))]


def depends_on(
    jaxpr: ClosedJaxpr | Jaxpr, sources: Sequence[bool], *, always: bool = False
) -> list[bool]:
    """Which outputs of a program may depend on the inputs marked in `sources`.

    **Arguments:**

    - `jaxpr`: the program.
    - `sources`: a flag for each input.
    - `always`: whether it counts only what may depend on them whichever branch of each condition is
        taken, and not what does so in some of them.
    """
    program = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    touched = {v for v, source in zip(program.invars, sources, strict=True) if source}

    def read(atoms: Sequence[Any]) -> list[bool]:
        return [not isinstance(atom, Literal) and atom in touched for atom in atoms]

    for equation in program.eqns:
        flags = read(equation.invars)
        if any(flags):
            found = _through(equation, flags, always)
            touched |= {v for v, f in zip(equation.outvars, found, strict=True) if f}
    return read(program.outvars)


def _through(equation: Any, flags: list[bool], always: bool) -> list[bool]:
    params, name = equation.params, equation.primitive.name
    if name == "scan":
        first, count = scan_counts(params)
        carry, rest = flags[first : first + count], flags[first + count :]
        while True:
            inside = [*flags[:first], *carry, *rest]
            found = depends_on(params["jaxpr"], inside, always=always)
            joined = [a or b for a, b in zip(carry, found[:count], strict=True)]
            if joined == carry:
                return found
            carry = joined
    if name == "cond" and always and not flags[0]:
        branches = [depends_on(one, flags[1:], always=True) for one in params["branches"]]
        return [all(found) for found in zip(*branches, strict=True)]
    program = called(params) if name in CALLS else None
    if program is not None:
        return depends_on(program, flags, always=always)
    return [True] * len(equation.outvars)
