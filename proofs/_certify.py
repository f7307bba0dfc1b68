"""`certify`: is a program equivariant for every permutation, every input and every size?"""

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace
from functools import singledispatch
from typing import Any, Literal, TypeVar, get_args

from jax.extend.core import InconclusiveDimensionOperation
from jaxtyping import PyTree

from . import _spec
from ._exact_rules import NotExactError
from ._judge import Judgement, Randomness, judge
from ._refute import Witness, refute_program, small_sizes
from ._rulebook import Fault
from ._trace import Program, Signature, UnfitError, trace

Verdict = Literal["PROVED", "REFUTED", "UNKNOWN"]
SYMBOLIC = "symbolic sizes"
SWEEP = (1, 2, 3, 4, 5, 8)
EXACT = (
    "numbers are exact: real numbers, or any commutative ring; functions of single numbers may be "
    "any fixed functions; nothing is shown of rounding, compiled code, NaN or the sign of zero"
)
SAME_TRACE = (
    "sizes are those at which Python traces the same program; branches on single sizes were looked "
    "for at {sweep}"
)
IN_LAW = (
    "draws are ideal: independent, alike, without ties; the claim is about their joint law, not "
    "about the outcome for one key"
)
F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class Claim:
    """What is to be certified.

    - `fn`, `signature`: a function, and how it is claimed to transform.
    - `title`: what to call it.
    - `randomness`: `"pathwise"` or `"exchangeable"`; see `certify`.
    - `sizes`: the only sizes that it can have; by default it is claimed for all.
    """

    fn: Callable
    signature: Signature
    title: str
    randomness: Randomness = "pathwise"
    sizes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Certificate:
    """The answer of `certify`, true only if the claim was proved.

    - `verdict`: `"PROVED"`, `"REFUTED"` (there is a `witness`) or `"UNKNOWN"`.
    - `claim`: what was to be certified.
    - `assumptions`: all that the proof rests on.
    - `faults`: for each output that could not be shown to be right, why.
    - `witness`: a permutation and an input at which the claim fails.
    - `reason`: why nothing is known, where that is not the fault of a primitive.
    - `equations`: how many equations were looked at, at symbolic sizes.
    - `swept`: the sizes at which the claim was certified once more.
    - `seconds`: the time that all of it took.
    """

    verdict: Verdict
    claim: Claim
    assumptions: tuple[str, ...] = ()
    faults: tuple[tuple[str, Fault], ...] = ()
    witness: Witness | None = None
    reason: str = ""
    equations: int = 0
    swept: tuple[dict[str, int], ...] = field(default=(), repr=False)
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return self.verdict == "PROVED"

    def __str__(self) -> str:
        law = " in law" if self.claim.randomness == "exchangeable" else ""
        *most, last = self.claim.signature.labels
        labels = f"{', '.join(most)} and {last}" if most else last
        sizes = "all sizes" if self.claim.sizes is None else _words(self.claim.sizes)
        title = self.claim.title
        says = {
            "PROVED": f"{title} is equivariant",
            "REFUTED": f"{title} is not equivariant",
            "UNKNOWN": f"whether {title} is equivariant",
        }[self.verdict]
        lines = [f"{self.verdict}: {says}{law} under all permutations of {labels}, at {sizes}."]
        signature = str(self.claim.signature)
        lines += [f"  {signature}"] if len(signature) <= 96 else []
        if self.witness is not None:
            lines += ["Witness:", *_indented(str(self.witness))]
        for place, fault in self.faults:
            lines += [f"Output {place}:", *_indented(str(fault))]
        if self.reason:
            lines += ["Reason:", *_indented(self.reason)]
        if self:
            lines += ["Assumptions:", *(f"  - {text}" for text in self.assumptions)]
        return "\n".join(lines)


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={n}" for name, n in sizes.items())


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


@singledispatch
def claim_of(target: Any) -> Claim:
    """The claim of an object whose symmetry is known: what `certify(target)` certifies.

    Register a class of your own with `@proofs.claim_of.register(MyClass)`.
    """
    signature = getattr(target, "__equivariance__", None)
    if signature is None:
        method = getattr(type(target), "__call__", None)  # noqa: B004
        signature = getattr(method, "__equivariance__", None)
    if signature is None:
        raise ValueError(
            f"What {getattr(target, '__name__', type(target).__name__)} should be equivariant to "
            "is not known. Give `ins` and `out`, as in `certify(fn, 'A B, A -> B')`, decorate it "
            "with `@proofs.equivariant('A B, A -> B')`, or register its class with "
            "`proofs.claim_of`."
        )
    claimed, randomness = signature
    return Claim(target, claimed, _title(target), randomness)


def _title(fn: Any) -> str:
    return getattr(fn, "__qualname__", None) or type(fn).__name__


def equivariant(signature: str, *, randomness: Randomness = "pathwise") -> Callable[[F], F]:
    """Say how a function transforms, for `certify` to prove it. Costs nothing when it is called.

    !!! Example

        ```python
        @proofs.equivariant("A B N, A, B -> A B N, B")
        def step(state, inputs, errors): ...

        assert proofs.certify(step)
        ```

    **Arguments:**

    - `signature`: specifications of the arguments, `->`, and of what it returns; see `certify`.
    - `randomness`: as for `certify`.

    **Raises:** `ValueError` if the signature cannot be read.
    """
    read = Signature.read(signature)
    _check_randomness(randomness)

    def attach(fn: F) -> F:
        try:
            fn.__equivariance__ = (read, randomness)  # pyright: ignore[reportFunctionMemberAccess]
        except FrozenInstanceError:  # a module of Equinox, such as `eqx.filter_jit` makes
            object.__setattr__(fn, "__equivariance__", (read, randomness))
        return fn

    return attach


def certify(
    target: Any,
    ins: PyTree = None,
    out: PyTree = None,
    *,
    randomness: Randomness | None = None,
    sizes: Mapping[str, int] | None = None,
    sweep: Iterable[int] = SWEEP,
    refute: bool = True,
    seed: int = 0,
) -> Certificate:
    """Prove from the traced program that a function is equivariant, or show that it is not.

    A permutation of each label acts on the inputs and outputs as their specifications say; the
    claim is that `fn(g.x) = g.fn(x)` for every permutation g and every input x. The theorems, and
    what they do not say, are in `docs/proofs.md`.

    **Arguments:**

    - `target`: a `vsml.Layer`, a `vsml.Network`, an `rl.Learner`, a function decorated with
        `equivariant`: then that is all. Or any function that JAX can trace, with:
    - `ins`, `out`: specifications of its arguments and its result: text such as
        `"A B 4, A -> B"`, or trees of strings such as `("A B 4", {"x": "A"})` and `"B"`. In each,
        `A` (upper case first) is a label, `t` an ordered axis of any size, `4` one of that size,
        `.B` an ordered axis as long as B; `int`, `bool` or `key` come first, and a last `@B` says
        that the entries are positions along B (`@B?`: or negative, for none). `...` in `out`
        claims nothing. Arrays that the function holds, the parameters of an Equinox module, may
        have any values.
    - `randomness`: `"pathwise"`, the default: the claim holds for each key, draws are fixed
        functions of it.
        `"exchangeable"`: draws are i.i.d. arrays that may be permuted as well, and the claim holds
        for the joint law of all outputs.
    - `sizes`: certify at these sizes only; by default for all sizes at once.
    - `sweep`: sizes at which to certify once more, to find branches of Python on single sizes.
    - `refute`: whether to look for a witness if there is no proof.
    - `seed`: of that search.

    **Returns:**

    A `Certificate`.

    **Raises:** `ValueError` if a specification cannot be read or does not fit the function.
    """
    began = time.perf_counter()
    if ins is None and out is None:
        claim = claim_of(target)
    else:
        claim = Claim(target, Signature.read(ins, out), _title(target))
    if randomness is not None:
        claim = replace(claim, randomness=randomness)
    if sizes is not None:
        claim = replace(claim, sizes=dict(sizes))
    _check(claim)
    verdict = _decide(claim, tuple(sweep), refute, seed)
    return Certificate(claim=claim, seconds=time.perf_counter() - began, **verdict)


def _check_randomness(randomness: str) -> None:
    if randomness not in get_args(Randomness):
        known = " or ".join(map(repr, get_args(Randomness)))
        raise ValueError(f"`randomness` must be {known}, got {randomness!r}.")


def _check(claim: Claim) -> None:
    _check_randomness(claim.randomness)
    if not claim.signature.labels:
        raise ValueError(
            f"Nothing is permuted in {claim.signature}. Labels begin with a capital, as in 'A 4'."
        )
    try:
        inspect.signature(claim.fn).bind(*claim.signature.ins)
    except ValueError:
        pass  # built-in functions do not all say what they take
    except TypeError as error:
        raise ValueError(
            f"{claim.title} cannot be called with {len(claim.signature.ins)} arguments, one for "
            f"each specification of {claim.signature}: {error}."
        ) from None
    if claim.sizes is not None:
        missing = [name for name in claim.signature.names if name not in claim.sizes]
        if missing:
            raise ValueError(f"`sizes` lacks {', '.join(missing)}; got {dict(claim.sizes)}.")


def _judged(claim: Claim, program: Program) -> Judgement:
    return judge(
        program.jaxpr,
        program.ins,
        program.sizes,
        randomness=claim.randomness,
        claims=program.claims,
        argument_names=program.titles,
    )


def _traced(claim: Claim, sizes: Mapping[str, Any], words: str) -> Program | str:
    """The program at these sizes, or why there is none."""
    try:
        return trace(claim.fn, claim.signature, sizes)
    except InconclusiveDimensionOperation:
        raise
    except Exception as error:
        if isinstance(error, UnfitError) and (claim.sizes or words == SYMBOLIC):
            raise
        return f"It cannot be traced at {words}: {type(error).__name__}: {error}"


def _faults(program: Program, found: Judgement) -> tuple[tuple[str, Fault], ...]:
    """The faults of the outputs that are claimed, those of one cause once."""
    faults: dict[str, tuple[str, Fault]] = {}
    for place, output, claim in zip(program.places, found.outputs, program.claims, strict=True):
        if isinstance(output, Fault) and claim is not ...:
            faults.setdefault(str(output), (place, output))
    return tuple(faults.values())


def _decide(claim: Claim, sweep: tuple[int, ...], refute: bool, seed: int) -> dict[str, Any]:
    """The verdict and what belongs to it."""
    names = claim.signature.names
    if claim.sizes is not None:
        program = _traced(claim, claim.sizes, _words(claim.sizes))
        if isinstance(program, str):
            return {"verdict": "UNKNOWN", "reason": program}
        found = _judged(claim, program)
        faults = _faults(program, found)
        if not faults:
            return _proved(claim, found, "the sizes given", ())
        return _not_proved(claim, faults, [dict(claim.sizes)], refute, seed)
    least = 1
    try:
        program = _traced(claim, _spec.symbolic_sizes(names), SYMBOLIC)
    except InconclusiveDimensionOperation:
        least = 2
        try:
            program = _traced(claim, _spec.symbolic_sizes(names, min_size=2), SYMBOLIC)
        except InconclusiveDimensionOperation as error:
            program = f"It cannot be traced at symbolic sizes: {error}"
    if isinstance(program, str):
        return _not_proved(claim, (), small_sizes(claim.signature), refute, seed, program)
    found = _judged(claim, program)
    faults = _faults(program, found)
    if faults:
        return _not_proved(claim, faults, small_sizes(claim.signature), refute, seed)
    swept = _swept(names, [n for n in sweep if n >= least])
    for at in swept:
        program = _traced(claim, at, _words(at))
        if isinstance(program, str):
            return {"verdict": "UNKNOWN", "reason": program}
        faults = _faults(program, _judged(claim, program))
        if faults:
            reason = f"It is another program at {_words(at)} than at symbolic sizes."
            return _not_proved(claim, faults, [at], refute, seed, reason)
    tried = sorted({n for at in swept for n in at.values()})
    run = tried == list(range(tried[0], tried[-1] + 1)) if tried else False
    words = f"{tried[0]} to {tried[-1]}" if run else ", ".join(map(str, tried)) or "none"
    scope = SAME_TRACE.format(sweep=words) + ("; they are at least 2" if least == 2 else "")
    return _proved(claim, found, scope, tuple(swept))


def _swept(names: list[str], sweep: list[int]) -> list[dict[str, int]]:
    """Each size of the sweep once for each name, in different company, and some for all names."""
    alike = [n for n in sweep if n == 3]
    mixed = range(len(sweep))
    return [
        *({name: sweep[(k + i) % len(sweep)] for i, name in enumerate(names)} for k in mixed),
        *({name: n for name in names} for n in alike if len(names) > 1),
    ]


def _proved(claim: Claim, found: Judgement, scope: str, swept: tuple) -> dict[str, Any]:
    law = [IN_LAW] if claim.randomness == "exchangeable" else []
    return {
        "verdict": "PROVED",
        "assumptions": (scope, EXACT, *law, *found.assumptions),
        "equations": found.visits,
        "swept": swept,
    }


def _not_proved(
    claim: Claim,
    faults: tuple[tuple[str, Fault], ...],
    tries: list[dict[str, int]],
    refute: bool,
    seed: int,
    reason: str = "",
) -> dict[str, Any]:
    found: dict[str, Any] = {"verdict": "UNKNOWN", "faults": faults, "reason": reason}
    for at in tries if refute else []:
        program = _traced(claim, at, _words(at))
        if isinstance(program, str):
            found["reason"] = f"{found['reason']}\n{program}".strip()
            continue
        try:
            witness = refute_program(program, claim.randomness, 4, seed)
        except NotExactError as error:
            found["reason"] = f"{found['reason']}\nNo witness could be looked for: {error}".strip()
            return found
        if witness is not None:
            if not faults:  # only the symbolic trace failed: here is a line to blame
                found["faults"] = _faults(program, _judged(claim, program))
            return found | {"verdict": "REFUTED", "witness": witness}
    return found
