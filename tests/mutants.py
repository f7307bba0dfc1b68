"""Certifiers with one rule weakened, made by changing the text of one function."""

import contextlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import proofs
from proofs import (
    _keys,
    _rulebook,
    _rules,
    _rules_control,
    _rules_index,
    _rules_random,
    _rules_shape,
    _tags,
    _walk,
)


class Mutant(NamedTuple):
    """A function, or a method, in which one piece of text stands for another."""

    target: Any
    old: str
    new: str
    noise: bool = False  # whether it matters for programs that draw only


JUDGE, LEDGER = _walk.Judge, _keys.Ledger
REORDER = "tags[axis] = in_order(judge, tags[axis], "
MUTANTS = {
    # order
    "cumsum keeps a label": Mutant(
        _rules.cumulative, "in_order(judge, tags[axis],", "(lambda *x: x[1])(judge, tags[axis],"
    ),
    "cumsum of a constant is one": Mutant(
        _rules.in_order, "isinstance(tag, Fixed)", "isinstance(tag, Fixed | type(UNI))"
    ),
    "labels are in order": Mutant(_rules.in_order, "if isinstance(tag, Label):", "if False:"),
    "what is undecided stays so": Mutant(_rules.in_order, "decide(tag, judge.origin())", "pass"),
    "rev keeps a label": Mutant(
        _rules_shape.reverse, 'in_order(judge, tags[axis], "reverses")', "tags[axis]"
    ),
    "rev takes positions as they are": Mutant(
        _rules_shape.reverse,
        "not isinstance(find(tags[axis]), Uni)",
        "isinstance(find(tags[axis]), Label)",
    ),
    "slice keeps a label": Mutant(
        _rules_shape.slicing, "not whole and not isinstance(find(tag), Uni)", "False"
    ),
    "slice of undecided": Mutant(
        _rules_shape.slicing,
        "not whole and not isinstance(find(tag), Uni)",
        "not whole and isinstance(find(tag), Label)",
    ),
    "reshape merges labels": Mutant(
        _rules_shape.reshape,
        'in_order(judge, value.tags[axis], "merges or splits")\n            for',
        "None\n            for",
    ),
    "reshape makes constants": Mutant(
        _rules_shape.reshape,
        "elif not all(isinstance(find(value.tags[axis]), Uni) for axis in ins):",
        "elif not any(isinstance(find(value.tags[axis]), Uni) for axis in ins):",
    ),
    "concatenate makes constants": Mutant(
        _rules_shape.concatenate,
        "len(values) == 1 else Fixed(judge.origin())",
        "all(isinstance(find(v.tags[axis]), Uni) for v in values) else Fixed('')",
    ),
    "concatenate takes labels": Mutant(
        _rules_shape.concatenate, "in_order(judge, value.tags[axis],", "(value.tags[axis],"
    ),
    "stack makes constants": Mutant(
        _rules_shape.concatenate,
        "tags.insert(axis, Fixed(judge.origin()))",
        "tags.insert(axis, UNI)",
    ),
    "split keeps a label": Mutant(
        _rules_shape.split,
        "(unstacks or len(equation.outvars) > 1) and not isinstance(find(tags[axis]), Uni)",
        "False",
    ),
    "tile keeps constants of what it repeats": Mutant(
        _rules_shape.tile, 'tag = in_order(judge, tag, "repeats")', "tag = UNI"
    ),
    "pad keeps a label": Mutant(
        _rules_shape.pad, "in_order(judge, tags[axis],", "(lambda *x: x[0])(tags[axis],"
    ),
    "transpose forgets the order": Mutant(
        _rules_shape.transpose, "[value.tags[axis] for axis in order]", "value.tags"
    ),
    "broadcast forgets the places": Mutant(
        _rules_shape.broadcast,
        "enumerate(places)",
        "enumerate(sorted(places, reverse=True))",
    ),
    "reduce drops the first axis": Mutant(
        _rules.reduction, "if axis not in axes", "if axis >= len(axes)"
    ),
    "two labels are one": Mutant(
        _tags.join, "if one == other:", "if isinstance(one, Label) and isinstance(other, Label):"
    ),
    "a label is in order": Mutant(
        _tags.join,
        "raise Clash(_clash(one, other))",
        "return one if isinstance(one, Label) else other",
    ),
    "an order is a label's": Mutant(
        _tags.join,
        "raise Clash(_clash(one, other))",
        "return one if isinstance(one, Fixed) else other",
    ),
    "constants win": Mutant(
        _tags.join,
        "if isinstance(one, Uni):\n        return other",
        "if isinstance(one, Uni):\n        return one",
    ),
    "a contraction is not checked": Mutant(
        _rules.dot, "judge.join_tags([pick(left, over_left), pick(right, over_right)])\n", "\n"
    ),
    "a batch has the tags of the left": Mutant(
        _rules.dot,
        "judge.join_tags([pick(left, batch_left), pick(right, batch_right)]) if",
        "list(pick(left, batch_left).tags) if",
    ),
    "products the wrong way round": Mutant(
        _rules.dot,
        "tags += [tag for axis, tag in enumerate(value.tags) if axis not in used]",
        "tags = [*[t for axis, t in enumerate(value.tags) if axis not in used], *tags]",
    ),
    "all but the first operand is forgotten": Mutant(
        JUDGE.join_tags, "for value in values:", "for value in values[:1]:"
    ),
    "unknown primitives are elementwise": Mutant(JUDGE._unknown, "if value.labels:", "if False:"),
    # choices
    "argmax is a number": Mutant(
        _rules.argument, "return judge.out(rest, positions=tag)", "return judge.out(rest)"
    ),
    "argmax of a constant is a position": Mutant(
        _rules.argument,
        "    if isinstance(tag, Fixed | Uni):\n",
        "    if isinstance(tag, Uni):\n        tag = Var(value.shape[axis], False, '')\n"
        "    if isinstance(tag, Fixed):\n",
    ),
    "argmax in few bits is a position": Mutant(
        _rules.argument, 'not holds_positions(equation.params["index_dtype"])', "False"
    ),
    "argmax of noise is a number": Mutant(
        _rules.argument, "isinstance(tag, Fixed | Uni)", "isinstance(tag, Fixed | Uni | Var)", True
    ),
    "sort keeps a label": Mutant(_rules.sort, "tags[axis] = Fixed(judge.origin())", "pass"),
    "sort by equals": Mutant(
        _rules.sort, "if all(isinstance(find(key.tags[axis]), Uni) for key in keys):", "if False:"
    ),
    "sort forgets what it sorts along": Mutant(
        _rules.sort, "judge.join_tags([*keys, *payload])", "judge.join_tags(keys)"
    ),
    "sort sorts positions": Mutant(
        _rules.sort, "[judge.number(value) for value in values[:count]]", "values[:count]"
    ),
    "top_k gives numbers": Mutant(
        _rules.top_k, "judge.out(tags, 1, positions=tag)", "judge.out(tags, 1)"
    ),
    "top_k of a constant keeps it": Mutant(
        _rules.top_k,
        "tags[axis] = Fixed(judge.origin())",
        "tags[axis] = tag if isinstance(tag, Uni) else Fixed('')",
    ),
    "a choice between arrays forgets the chooser": Mutant(
        _rules.select, "[chooser, *cases]", "cases"
    ),
    "a choice between arrays is the first": Mutant(
        _rules.select, "**judge.join_entries(cases)", "**judge.join_entries(cases[:1])"
    ),
    # positions
    "arithmetic on positions gives numbers": Mutant(
        _rules.arithmetic,
        "[judge.plain(value) for value in values]",
        "[replace(value, positions=None) for value in values]",
    ),
    "arithmetic on positions gives positions": Mutant(
        _rules.elementwise,
        "return arithmetic(judge, values)",
        "found = entries(values[0]) if values[0].known is None else {}\n"
        "    return judge.out(judge.join_tags(values), **found)",
    ),
    "positions are compared with numbers": Mutant(
        _rules.comparison,
        "return arithmetic(judge, values)",
        "return judge.out(judge.join_tags(values))",
    ),
    "positions are in order": Mutant(
        _rules.comparison, 'name in ("eq", "ne"):\n        judge', "True:\n        judge"
    ),
    "positions along two labels are compared": Mutant(
        _rules.comparison, "judge.join_entries(values)\n", "\n"
    ),
    "none is no number below the first": Mutant(
        _rules.comparison, "if not left.optional:", "if True:"
    ),
    "positions wrap around": Mutant(_rules.holds_positions, ">= 4", ">= 1"),
    "none is a great number": Mutant(
        _rules.convert, 'value.optional and np.dtype(dtype).kind == "u"', "False"
    ),
    "positions become numbers": Mutant(
        _rules.convert, "arithmetic(judge, [value])", "judge.out(value.tags)"
    ),
    "sums of positions": Mutant(_rules.reduction, "judge.number(values[0])", "values[0]"),
    "the first is none": Mutant(JUDGE.join_entries, "value.known < 0", "value.known <= 0"),
    "none is forgotten": Mutant(JUDGE.join_entries, '"optional": optional', '"optional": False'),
    "numbers among positions": Mutant(
        JUDGE.join_entries,
        "raise Clash(f\"positions along '{tag}' meet numbers that are none\")",
        "pass",
    ),
    "positions along two labels": Mutant(
        JUDGE.join_entries,
        "positions = join(positions, value.positions or UNI, self.sizes)",
        "positions = value.positions",
    ),
    "numbers of undecided positions": Mutant(JUDGE._plain, "decide(tag, self.origin())", "pass"),
    "numbers of undecided positions in noise": Mutant(
        JUDGE._plain, "pending=(*value.pending, tag)", "pending=()", True
    ),
    "iota is the same everywhere": Mutant(
        _rules_shape.iota, "return judge.out(tags, positions=tags[axis])", "return judge.out(tags)"
    ),
    "iota is constant": Mutant(
        _rules_shape.iota,
        "tags[axis] = Var(shape[axis], noise=False, origin=judge.origin())",
        "pass",
    ),
    "iota in few bits": Mutant(
        _rules_shape.iota,
        'not holds_positions(equation.params["dtype"])',
        'np_kind(equation.params["dtype"]) == "f"',
    ),
    # indices
    "any size can be indexed": Mutant(
        _rules_index.place,
        "isinstance(positions, Label) and judge.sizes[positions.name] != size",
        "False",
    ),
    "none is moved into range": Mutant(
        _rules_index.place, "if optional and not drops:", "if False:"
    ),
    "a number in a label": Mutant(
        _rules_index.place,
        'return in_order(judge, tag, f"{what} at a fixed position of")',
        "return tag",
    ),
    "a position in any axis": Mutant(
        _rules_index.place, "return join(tag, positions, judge.sizes)", "return tag"
    ),
    "fillers are positions": Mutant(
        _rules_index.gather, "value.positions is not None and drops and not inside", "False"
    ),
    "fillers of none are positions": Mutant(
        _rules_index.gather, "inside and known and not optional", "inside and known"
    ),
    "the order of index columns": Mutant(
        _rules_index.gather,
        'in_order(judge, indices.tags[-1], "reads indices in the order of")',
        "None",
    ),
    "a whole window stays where it is": Mutant(
        _rules_index.gather, "if not (size == length and clips):", "if not size == length:"
    ),
    "a window starts at a position": Mutant(
        _rules_index._plain_column, "if isinstance(find(positions), Label):", "if False:"
    ),
    "a part read of a label": Mutant(
        _rules_index.gather,
        "elif size != length and not isinstance(find(tag), Uni):",
        "elif False:",
    ),
    "columns the wrong way round": Mutant(
        _rules_index.columns, "list(indices.parts)", "list(indices.parts)[::-1]"
    ),
    "gather batches are not checked": Mutant(
        _rules_index.gather, "join(batch[where], value.tags[axis], judge.sizes)", "batch[where]"
    ),
    "a start is any number": Mutant(_rules_index.dynamic_slice, "judge.number(start)", "None"),
    "an element written in a constant": Mutant(
        _rules_index.dynamic_update_slice, "tag = Fixed(judge.origin())", "pass"
    ),
    "what is written is forgotten": Mutant(
        _rules_index.dynamic_update_slice,
        "tags.append(join(tag, update.tags[axis], judge.sizes))",
        "tags.append(tag)",
    ),
    "overwriting twice": Mutant(
        _rules_index._written_once, "isinstance(tag, Label) and unique", "isinstance(tag, Label)"
    ),
    "a point written in a constant": Mutant(
        _rules_index.scatter,
        "tags[axis] = Fixed(judge.origin()) if isinstance(find(tag), Uni) else tag",
        "tags[axis] = tag",
    ),
    "points are not compared": Mutant(
        _rules_index.scatter, "join(updates.tags[axis], tag, judge.sizes)\n", "tag\n"
    ),
    "written windows are forgotten": Mutant(
        _rules_index.scatter,
        "tags[axis] = join(tag, updates.tags[across], judge.sizes)",
        "tags[axis] = tag",
    ),
    "a part written of a label": Mutant(
        _rules_index.scatter,
        'tags[axis] = in_order(judge, tag, "writes a part of")',
        "tags[axis] = tag",
    ),
    # loops, branches, calls
    "a carry over a label": Mutant(
        _rules_control.scan, "if count and not isinstance(find(over), Uni):", "if False:"
    ),
    "one round is enough": Mutant(_rules_control._settled, "return same(", "return True or same("),
    "maps over two labels": Mutant(
        _rules_control.scan, "over = join(over, value.tags[0], judge.sizes)", "over = value.tags[0]"
    ),
    "rounds are all alike": Mutant(_rules_control.scan, "over = Fixed(judge.origin())", "pass"),
    "a carry is what it was": Mutant(
        _rules_control._next, "judge.merge([before, after])", "before"
    ),
    "a carry is what it becomes": Mutant(
        _rules_control._next, "judge.merge([before, after])", "after"
    ),
    "each loop goes on as long as all": Mutant(
        _rules_control._until_done, "join(a, b, judge.sizes)", "b"
    ),
    "a branch is the first": Mutant(_rules_control.cond, "judge.merge(group)", "group[0]"),
    "numbers that were known stay": Mutant(JUDGE.merge, "known = None\n", "pass\n"),
    # noise and keys
    "noise is another at each use": Mutant(
        _rules_random._new_axes, "noise=True", "noise=False", True
    ),
    "noise is constant": Mutant(
        _rules_random._new_axes, "[Fixed(judge.origin())] * len(shape)", "[UNI] * len(shape)", True
    ),
    "constant keys draw ideal noise": Mutant(
        _rules_random._new_axes,
        "if value.key is None or value.key.constant:",
        "if value.key is None:",
        True,
    ),
    "keys are drawn from again": Mutant(
        _rules_random.random_bits, "judge.consume(value.key,", "(value.key,", True
    ),
    "keys are split again": Mutant(
        _rules_random.random_split, "judge.consume(value.key,", "(value.key,", True
    ),
    "keys are folded again": Mutant(
        _rules_random.random_fold_in, "judge.consume(value.key,", "(value.key,", True
    ),
    "keys folded with anything differ": Mutant(
        LEDGER.consume, "data is not None and datum is not None", "True", True
    ),
    "keys of branches are never both used": Mutant(_keys._exclusive, "and not a.loops", "", True),
    "keys overlap only if they are the same": Mutant(
        _keys._overlap,
        "if one is None or other is None:\n        return True",
        "if one is None or other is None:\n        return False",
        True,
    ),
    "a key is carried on after its use": Mutant(
        _rules_control._handed_on, "judge.consume(after.key,", "(after.key,", True
    ),
    "a row of keys is used again": Mutant(
        _rules_control._row, "judge.consume(value.key,", "(value.key,", True
    ),
    "keys are what they hold": Mutant(
        _rules_random.random_unwrap,
        "if value.key is not None and not value.key.constant:",
        "if False:",
        True,
    ),
}


def modules() -> list[Any]:
    return [m for name, m in sys.modules.items() if name == "proofs" or name.startswith("proofs.")]


@contextlib.contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Within, the certifier has that fault."""
    before = mutant.target
    source = textwrap.dedent(inspect.getsource(before))
    found = source.count(mutant.old)
    if found != 1:
        raise ValueError(
            f"{mutant.old!r} occurs {found} times in {before.__qualname__}, expected once: give "
            "the mutant a text of the function as it is now."
        )
    text = source.replace(mutant.old, mutant.new)
    text = text[text.index("def ") :] if text.startswith("@") else text
    made: dict[str, Any] = {}
    names = vars(_tags) | before.__globals__
    names["np_kind"] = lambda dtype: dtype.kind
    exec(compile(text, "<mutant>", "exec"), names, made)
    after = made[before.__name__]
    owner = {"Judge": JUDGE, "Ledger": LEDGER}.get(before.__qualname__.split(".")[0])
    places = [owner] if owner else modules()
    bound = [(m, k) for m in places for k, v in list(vars(m).items()) if v is before]
    rules = {k: rule for k, rule in _rulebook.RULES.items() if rule.apply is before}
    try:
        for module, name in bound:
            setattr(module, name, after)
        for name, rule in rules.items():
            _rulebook.RULES[name] = proofs.Rule(after, rule.lazy, rule.parts)
        yield
    finally:
        for module, name in bound:
            setattr(module, name, before)
        _rulebook.RULES.update(rules)
