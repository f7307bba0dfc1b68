"""How the draws of a random program are recorded, and permuted in its second execution."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from . import _spec
from ._rulebook import Rule, scan_counts
from ._tags import Label, Tag, Value, find

Path = tuple[int, ...]


class Draw(NamedTuple):
    """How the bits of one draw are permuted.

    - `labels`: of its axes.
    - `shape`, `dtype`: of the bits.
    - `nested`: whether it is in a loop or a branch.
    - `rounds`: the label over which the outermost loop around it is a map, if it is one.
    - `clear`: whether that is all that may permute it.
    """

    labels: tuple[str | None, ...]
    shape: tuple[int, ...]
    dtype: Any
    nested: bool
    rounds: str | None
    clear: bool

    def act(self, bits: Any, permutations: Mapping[str, np.ndarray]) -> np.ndarray:
        """The bits, permuted."""
        axes = tuple(_spec.Axis(label or "t", label) for label in self.labels)
        return np.asarray(_spec.act(_spec.Spec(axes), np.asarray(bits), permutations))


class Noise:
    """What the certifier says of the bits that are drawn from keys that are not constant."""

    def __init__(self):
        self.bits: dict[Path, Value] = {}
        self.maps: dict[Path, Tag] = {}
        self.loops: set[Path] = set()
        self.branches: set[Path] = set()

    def watched(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        """The rules; some note on the way what they say."""

        def draw(judge: Any, values: list, results: list) -> None:
            key = getattr(values[0], "key", None)
            if key is not None and not key.constant:
                self.bits[_path(judge)] = results[0]

        def loop(judge: Any, values: list, results: list) -> None:
            self.loops.add(_path(judge))

        def branch(judge: Any, values: list, results: list) -> None:
            self.branches.add(_path(judge))

        def scan(judge: Any, values: list, results: list) -> None:
            loop(judge, values, results)
            params = judge.equations[-1].params
            if scan_counts(params)[1] == 0 and not params["reverse"]:
                stacked = [value.tags[0] for value in results if isinstance(value, Value)]
                self.maps.update({_path(judge): tag for tag in stacked[:1]})

        notes = {"random_bits": draw, "while": loop, "scan": scan, "cond": branch}
        return dict(rules) | {
            name: _noting(rules[name], note) for name, note in notes.items() if name in rules
        }

    def draws(self) -> dict[Path, "Draw"]:
        """How each draw is permuted, now that everything is decided."""
        found = {}
        for path, bits in self.bits.items():
            if not isinstance(bits, Value):
                continue
            around = [loop for loop in self.loops if path[: len(loop)] == loop]
            over = [name for loop in around if (name := _label(self.maps.get(loop)))]
            # A map over a label goes through its rounds in another order.
            outermost = self.maps.get(min(around, key=len)) if around else None
            clear = not over or len(over) == 1 and _label(outermost) is not None
            found[path] = Draw(
                labels=tuple(_label(tag) for tag in bits.tags),
                shape=bits.shape,
                dtype=bits.dtype,
                nested=bool(around) or any(path[: len(at)] == at for at in self.branches),
                rounds=over[0] if over else None,
                clear=clear,
            )
        return found


def _path(judge: Any) -> Path:
    return tuple(map(int, judge.path))


def _label(tag: Tag | None) -> str | None:
    found = None if tag is None else find(tag)
    return found.name if isinstance(found, Label) else None


def _noting(rule: Rule, note: Callable[[Any, list, list], None]) -> Rule:
    def apply(judge: Any, equation: Any, values: list) -> Any:
        results = rule.apply(judge, equation, values)
        note(judge, values, results if isinstance(results, list) else [results])
        return results

    return replace(rule, apply=apply)


class Draws:
    """The bits that are drawn in one execution, in the order in which they are drawn."""

    def __init__(self, draws: Mapping[Path, Draw]):
        self.draws = draws
        self.seen: dict[Path, list[np.ndarray]] = {}
        self.waiting: dict[Path, deque] = {}
        self.permutations: dict[str, np.ndarray] = {}
        self.uneven = False

    def record(self, path: Path, bits: Any) -> Any:
        """Keep what is drawn."""
        if path in self.draws:
            self.seen.setdefault(path, []).append(np.asarray(bits))
        return bits

    def again(self, permutations: Mapping[str, np.ndarray]) -> "Draws":
        """The same, to be drawn once more and permuted."""
        again = Draws(self.draws)
        again.permutations = dict(permutations)
        for path, bits in self.seen.items():
            label = self.draws[path].rounds
            if label is not None:
                order = permutations[label]
                size, left = divmod(len(bits), len(order))
                again.uneven |= left > 0
                bits = [bits[size * r + i] for r in order for i in range(size)]
            again.waiting[path] = deque(bits)
        return again

    def replay(self, path: Path, bits: Any) -> Any:
        """What was drawn here before, permuted; bits of constant keys are numbers like others."""
        if path not in self.draws:
            return bits
        if not self.waiting.get(path):
            self.uneven = True
            return bits
        return self.draws[path].act(self.waiting[path].popleft(), self.permutations)


def repeated(drawn: Iterable[np.ndarray]) -> bool:
    """Whether the same words were drawn at two places."""
    words = [x.reshape(-1) for x in drawn if x.dtype.itemsize >= 4]
    joined = np.concatenate(words) if words else np.zeros(0)
    return len(np.unique(joined)) < len(joined)
