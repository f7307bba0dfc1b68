"""The rules of the certifier for loops, branches and calls.

The types of a carry that no longer change when the body is run once more are an invariant of the
loop. Draws inside a loop are permuted alike in all its rounds.
"""

from dataclasses import replace

from jax.extend.core import JaxprEqn

from ._keys import Branch, Keys
from ._rulebook import CALLS, Fault, Known, Unsupported, called, rule, scan_counts
from ._rules import in_order
from ._tags import UNI, Clash, Fixed, Tag, Uni, Value, find, join, same
from ._walk import Judge

ROUNDS = 64


@rule(*CALLS, lazy=True)
def call(judge: Judge, equation: JaxprEqn, values: list[Known]) -> list[Known]:
    """What is called is walked through."""
    program = called(equation.params)
    if program is None:
        raise Unsupported("the program that it calls was not found")
    return judge.run(program, values)


@rule("cond", lazy=True)
def cond(judge: Judge, equation: JaxprEqn, values: list[Known]) -> list[Known]:
    """Which branch is taken must not change; the result is that of any of them."""
    chooser, *operands = values
    if isinstance(chooser, Fault):
        return [chooser] * len(equation.outvars)
    judge.number(judge.use(chooser))
    results = []
    for number, branch in enumerate(equation.params["branches"]):
        with judge.at(Branch(number, judge.loops)):
            results.append(judge.run(branch, operands))
    return [judge.merge(group) for group in zip(*results, strict=True)]


@rule("while", lazy=True)
def while_loop(judge: Judge, equation: JaxprEqn, values: list[Known]) -> list[Known]:
    """The condition must not change, so that both runs take as many rounds.

    Of loops that `vmap` has made one, each has a condition of its own.
    """
    params = equation.params
    first, second = params["cond_nconsts"], params["body_nconsts"]
    guards, bodies, init = values[:first], values[first : first + second], values[first + second :]
    carry = [_enter(judge, value, i) for i, value in enumerate(init)]
    for _ in range(ROUNDS):
        with judge.at(0), judge.loop():
            (guard,) = judge.run(params["cond_jaxpr"], [*guards, *carry])
        if isinstance(guard, Fault):
            return [guard] * len(carry)
        guard = judge.number(judge.use(guard))
        with judge.at(1), judge.loop():
            results = judge.run(params["body_jaxpr"], [*bodies, *carry])
        results = [_until_done(judge, guard, value) for value in results]
        carry, before = _next(judge, carry, results), carry
        if _settled(before, carry):
            return [_leave(judge, value, i) for i, value in enumerate(carry)]
    raise Unsupported(f"the types of its carry do not settle in {ROUNDS} rounds")


@rule("scan", lazy=True)
def scan(judge: Judge, equation: JaxprEqn, values: list[Known]) -> list[Known]:
    """Goes through an axis in order if it carries something, else it is a map over the axis."""
    params = equation.params
    first, count = scan_counts(params)
    constants, init, inputs = (
        values[:first],
        values[first : first + count],
        values[first + count :],
    )
    used = [v if isinstance(v, Fault) else judge.use(v, once=True) for v in inputs]
    over: Tag = UNI
    for value in used:
        if isinstance(value, Value):
            over = join(over, value.tags[0], judge.sizes)
    if count and not isinstance(find(over), Uni):
        over = in_order(judge, over, "goes in order through")
    if isinstance(find(over), Uni):
        over = Fixed(judge.origin())
    rows = [_row(judge, value, i) for i, value in enumerate(used)]
    carry = [_enter(judge, value, i) for i, value in enumerate(init)]
    for _ in range(ROUNDS):
        with judge.loop():
            results = judge.run(params["jaxpr"], [*constants, *carry, *rows])
        carry, before = _next(judge, carry, results[:count]), carry
        if _settled(before, carry):
            break
    else:
        raise Unsupported(f"the types of its carry do not settle in {ROUNDS} rounds")
    ends = [_leave(judge, value, i) for i, value in enumerate(carry)]
    return ends + [_rows(judge, over, v, count + i) for i, v in enumerate(results[count:])]


def _until_done(judge: Judge, guard: Value, value: Known) -> Known:
    """What a round makes of a carry, for those of several loops that go on."""
    if isinstance(value, Fault) or not guard.tags:
        return value
    try:
        value = judge.use(value, once=True)
        rank = len(guard.tags)
        tags = [join(a, b, judge.sizes) for a, b in zip(guard.tags, value.tags, strict=False)]
        return replace(value, tags=(*tags, *value.tags[rank:]))
    except (Clash, Unsupported) as error:
        return judge.fault(error, [guard, value])


def _row(judge: Judge, value: Known, index: int) -> Known:
    """One round's part of what a scan goes through."""
    if isinstance(value, Fault):
        return value
    key = None
    if isinstance(value.key, Keys):
        site = (*judge.path, -1, index)
        judge.consume(value.key, "scan", site)
        rank = len(value.tags) - 1
        axes = (None,) * rank
        key = Keys(("row", *site), None, axes, value.key.constant)
    return replace(value, shape=value.shape[1:], tags=value.tags[1:], key=key)


def _rows(judge: Judge, over: Tag, value: Known, index: int) -> Known:
    """The results of all rounds, stacked."""
    if isinstance(value, Fault):
        return value
    try:
        value = judge.use(value)
        entries = {"positions": value.positions, "optional": value.optional}
        return judge.out([over, *value.tags], index, **entries)
    except (Clash, Unsupported) as error:
        return judge.fault(error, [value])


def _enter(judge: Judge, value: Known, index: int) -> Known:
    """A carry as the first round finds it; a key moves into the loop."""
    if isinstance(value, Fault):
        return value
    try:
        value = judge.use(value, once=True)
        if isinstance(value.key, Keys):
            site = (*judge.path, -2, index)
            judge.consume(value.key, "a loop", site)
            axes = (None,) * len(value.tags)
            key = Keys(("carry", *site), None, axes, value.key.constant)
            return replace(value, key=key)
        return value
    except (Clash, Unsupported) as error:
        return judge.fault(error, [value])


def _next(judge: Judge, carry: list[Known], results: list[Known]) -> list[Known]:
    """The carry of any round so far and of the next one."""
    found = []
    for index, (before, after) in enumerate(zip(carry, results, strict=True)):
        if isinstance(before, Value) and isinstance(after, Value):
            if before.key is not None and after.key is not None:
                after = _handed_on(judge, before, after, index)
        found.append(judge.merge([before, after]))
    return found


def _handed_on(judge: Judge, before: Value, after: Value, index: int) -> Known:
    """A key that the body hands to the next round, where it counts as the carried one."""
    try:
        judge.consume(after.key, "the next round", (*judge.path, -3, index))
        if after.key.constant != before.key.constant:
            raise Unsupported("a random key is a constant in the first round only")
        return replace(after, key=before.key)
    except (Clash, Unsupported) as error:
        return judge.fault(error, [before, after])


def _leave(judge: Judge, value: Known, index: int) -> Known:
    """A carry after the last round."""
    if isinstance(value, Value) and isinstance(value.key, Keys):
        root, constant = ("end", *judge.path, index), value.key.constant
        return replace(value, key=Keys(root, None, value.key.axes, constant))
    return value


def _settled(before: list[Known], after: list[Known]) -> bool:
    pairs = list(zip(before, after, strict=True))
    if any(isinstance(a, Fault) != isinstance(b, Fault) for a, b in pairs):
        return False
    values = [(a, b) for a, b in pairs if isinstance(a, Value) and isinstance(b, Value)]
    return same([a for a, _ in values], [b for _, b in values])
