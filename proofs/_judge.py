"""From a program and the types of its inputs to what permutations do to its outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr

from . import (
    _rules as _rules,
    _rules_control as _rules_control,
    _rules_index as _rules_index,
    _rules_random as _rules_random,
    _rules_shape as _rules_shape,
    _spec,
)
from ._keys import Keys, is_key
from ._rulebook import RULES, Fault, Known, Rule, Unsupported
from ._tags import Clash, Fixed, Label, Value, decide, join
from ._walk import Judge

Randomness = Literal["pathwise", "exchangeable"]


class Judgement(NamedTuple):
    """What was inferred.

    - `outputs`: for each output its `Value`, without undecided tags, or a `Fault`.
    - `assumptions`: what the result rests on, in words.
    - `visits`: how many equations were looked at.
    """

    outputs: list[Known]
    assumptions: tuple[str, ...]
    visits: int


def judge(
    jaxpr: ClosedJaxpr,
    ins: Sequence[_spec.Spec],
    sizes: Mapping[str, Any],
    *,
    randomness: Randomness = "pathwise",
    claims: Sequence[Any] | None = None,
    argument_names: Sequence[str] | None = None,
    rules: Mapping[str, Rule] | None = None,
) -> Judgement:
    """Infer how permutations of the labels act on the outputs of a program.

    **Arguments:**

    - `jaxpr`: the program.
    - `ins`: the type of each of its inputs.
    - `sizes`: the size of each label, an int or a symbolic dimension.
    - `randomness`: `"pathwise"` treats draws as fixed functions of their keys;
        `"exchangeable"` treats them as independent arrays that may be permuted as well.
    - `claims`: the type of each output, or `...`; an output that does not have it is a fault.
    - `argument_names`: what to call the inputs in messages.
    - `rules`: in place of `RULES`.
    """
    claimed = [claim for claim in claims or () if claim is not ...]
    labels = {label for spec in (*ins, *claimed) for label in spec.labels}
    known = {name: sizes[name] for name in labels}
    walk = Judge(known, randomness, RULES if rules is None else rules)
    titles = argument_names or [f"input {i}" for i in range(len(ins))]
    inputs = zip(ins, jaxpr.jaxpr.invars, titles, strict=True)
    values = [_given(walk, spec, v.aval, i, title) for i, (spec, v, title) in enumerate(inputs)]
    outputs = walk.run(jaxpr, values)
    outputs = [_returned(walk, value, i) for i, value in enumerate(outputs)]
    if claims is not None:
        outputs = [
            _claimed(walk, v, c, sizes, i)
            for i, (v, c) in enumerate(zip(outputs, claims, strict=True))
        ]
    for value in outputs:
        for tag in () if isinstance(value, Fault) else value.variables():
            decide(tag, "")
    outputs = [value if isinstance(value, Fault) else value.resolved() for value in outputs]
    return Judgement(outputs, tuple(walk.assumptions), walk.visits)


def _given(walk: Judge, spec: _spec.Spec, aval: Any, index: int, title: str) -> Value:
    """The value of an input."""
    if len(spec.axes) != len(aval.shape):
        raise ValueError(f"Input {index} has shape {aval.shape}, which does not fit '{spec}'.")
    fixed = Fixed(f"the order of {title}")
    tags = [Label(a.label) if a.label in walk.sizes else fixed for a in spec.axes]
    key = None
    if walk.exchangeable and is_key(aval.dtype):
        axes = tuple(range(len(aval.shape)))
        key = Keys(("input", index), tuple((0, n) for n in aval.shape), axes, False)
    positions = Label(spec.positions) if spec.positions in walk.sizes else None
    return walk.value(aval, tags, positions=positions, optional=spec.optional, key=key)


def _returned(walk: Judge, value: Known, index: int) -> Known:
    """An output: what was pending is decided, and a key that leaves is used up."""
    if isinstance(value, Fault):
        return value
    try:
        value = walk.use(value)
        if isinstance(value.key, Keys):
            walk.consume(value.key, "return", (-1 - index,))
        return value
    except (Clash, Unsupported) as error:
        return walk.fault(error, [value])


def _claimed(walk: Judge, value: Known, claim: Any, sizes: Mapping[str, Any], index: int) -> Known:
    """An output, or a fault if it does not have the type that is claimed."""
    if isinstance(value, Fault) or claim is ...:
        return value
    try:
        if claim.shape(sizes) != value.shape:
            raise Clash(f"its shape is {value.shape}")
        kinds = {"bool": "b", "int": "iu"}.get(claim.kind)
        kind = "key" if is_key(value.dtype) else np.dtype(value.dtype).kind
        if (kinds is not None and kind not in kinds) or (claim.kind == "key") != (kind == "key"):
            raise Clash(f"its type is {value.dtype}")
        tags = []
        for axis, tag in zip(claim.axes, value.tags, strict=True):
            want = Label(axis.label) if axis.label in walk.sizes else Fixed()
            tags.append(join(tag, want, walk.sizes))
        if claim.positions not in walk.sizes:
            value = walk.number(value)
        else:
            wanted = replace(value, positions=Label(claim.positions), known=None)
            entries = walk.join_entries([wanted, value])
            if entries["optional"] and not claim.optional:
                raise Clash(f"some entries may be none; claim '@{claim.positions}?' instead")
        return replace(value, tags=tuple(tags)).resolved()
    except Clash as error:
        reason = Clash(f"output {index}, claimed to be '{claim}', is {value}: {error}")
        return walk.fault(reason, [value])
