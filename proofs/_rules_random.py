"""The rules of the certifier for random numbers.

Pathwise, a draw is a fixed function of its key, which no permutation changes. Otherwise a draw is
an ideal array of independent numbers, whose axes may be permuted, alike in all its uses; then
every key may be used at one place only, and draws from constant keys are constants.
"""

from dataclasses import replace
from typing import Any

from jax.extend.core import JaxprEqn

from ._keys import Keys
from ._rulebook import Unsupported, rule
from ._rules import in_order
from ._tags import Fixed, Tag, Value, Var
from ._walk import Judge


def _new_axes(judge: Judge, value: Value, shape: tuple[Any, ...]) -> list[Tag]:
    """The tags of the axes that a draw adds to those of its keys."""
    if value.key is None or value.key.constant:
        return [Fixed(judge.origin())] * len(shape)
    origin = judge.origin()
    return [Var(size, noise=True, origin=origin) for size in shape]


@rule("random_bits")
def random_bits(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Independent bits."""
    value = values[0]
    if value.key is not None:
        judge.consume(value.key, "random_bits", tuple(judge.path))
    return judge.out([*value.tags, *_new_axes(judge, value, equation.params["shape"])])


@rule("random_split")
def random_split(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Independent keys."""
    value, shape = values[0], equation.params["shape"]
    tags = [*value.tags, *_new_axes(judge, value, shape)]
    if value.key is None:
        return judge.out(tags)
    judge.consume(value.key, "split", tuple(judge.path))
    rank, total = len(value.tags), len(tags)
    box = (None,) * rank + tuple((0, size) for size in shape)
    root = ("split", *judge.path, value.key.root)
    key = Keys(root, box, tuple(range(total)), value.key.constant)
    return judge.out(tags, key=key)


@rule("random_fold_in")
def random_fold_in(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """A key of its own for each number."""
    del equation
    value, data = values[0], judge.number(values[1])
    tags = judge.join_tags([value, data])
    if value.key is None:
        return judge.out(tags)
    judge.consume(value.key, "fold_in", tuple(judge.path), data.known)
    root = ("fold_in", *judge.path, value.key.root, value.key.box)
    axes = (None,) * len(tags)
    return judge.out(tags, key=Keys(root, None, axes, value.key.constant))


@rule("random_seed", "random_wrap")
def random_seed(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Keys made of numbers: constants, as the numbers are."""
    value = judge.number(values[0])
    rank = len(equation.outvars[0].aval.shape)  # pyright: ignore[reportAttributeAccessIssue]
    for tag in value.tags[rank:]:
        in_order(judge, tag, "makes a key of the numbers along")
    tags = value.tags[:rank]
    key = Keys(("seed", *judge.path), None, (None,) * rank, True) if judge.exchangeable else None
    return judge.out(tags, key=key)


@rule("random_unwrap")
def random_unwrap(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """The numbers of a key; they say nothing of which draws were made with it."""
    value = values[0]
    if value.key is not None and not value.key.constant:
        raise Unsupported(
            "the numbers inside of a random key are used; draw from the key, or split it, instead"
        )
    rank = len(equation.outvars[0].aval.shape)  # pyright: ignore[reportAttributeAccessIssue]
    added = rank - len(value.tags)
    return judge.out([*value.tags, *judge.fixed(added)])


@rule("random_gamma")
def random_gamma(judge: Judge, equation: JaxprEqn, values: list[Value]) -> Value:
    """Independent numbers, each with a parameter of its own."""
    del equation
    keys, shape = values[0], judge.number(values[1])
    if keys.key is not None:
        judge.consume(keys.key, "random_gamma", tuple(judge.path))
    rank = len(keys.tags)
    drawn = [*keys.tags, *_new_axes(judge, keys, shape.shape[rank:])]
    return judge.out(judge.join_tags([replace(shape, tags=tuple(drawn)), shape]))
