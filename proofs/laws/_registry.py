"""What a law is, which there are, and how they are put to an object."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import rl
import vsml

from .._cases import Situation
from .._execution import at_path, first_difference

About = Literal["layer", "network", "learner", "lifetime", "environment", "evolution"]
_SITUATION = {f.name for f in fields(Situation)}
LAWS: dict[str, "Law"] = {}
"""Every law by its name."""


@dataclass(frozen=True, eq=False)
class Law:
    """An equation that objects of some kinds keep. Call it with such an object.

    - `name`, `equation`: what it is called and what it says.
    - `about`: the kinds of objects it speaks of.
    - `test`: the function that raises `AssertionError` where the law is broken.
    - `when`: whether it applies to this object of these kinds.
    - `situation`: what it looks at by default.
    """

    name: str
    equation: str
    about: tuple[str, ...]
    test: Callable[..., None]
    when: Callable[[Any], bool]
    situation: Situation

    def __call__(self, subject: Any, situation: Situation | None = None, **options: Any) -> None:
        """Put an object to the law.

        **Arguments:**

        - `subject`: a layer, network, learner, task, lifetime or evolution strategy.
        - `situation`: what happens to it, such as `proofs.strategies.situations` draw.
        - `options`: fields of the situation (`sizes`, `seed`, ...) or options of this law.

        **Raises:** `AssertionError` if it breaks the law; `TypeError` if the law is about other
        things, or has no such option.
        """
        if kind_of(subject) not in self.about:
            raise TypeError(
                f"The law `{self.name}` is about {' and '.join(self.about)}, got "
                f"{type(subject).__name__}."
            )
        unknown = sorted(set(options) - _SITUATION - set(self.options))
        if unknown:
            raise TypeError(
                f"The law `{self.name}` has no option {', '.join(unknown)}; it has "
                f"{', '.join([*sorted(_SITUATION), *self.options])}."
            )
        changes = {name: value for name, value in options.items() if name in _SITUATION}
        rest = {name: value for name, value in options.items() if name not in _SITUATION}
        self.test(subject, replace(situation or self.situation, **changes), **rest)

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it has of its own."""
        return tuple(inspect.signature(self.test).parameters)[2:]

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.equation})"


def law(
    equation: str,
    *,
    about: About | tuple[About, ...],
    when: Callable[[Any], bool] = lambda subject: True,
    situation: Situation | None = None,
) -> Callable[[Callable[..., None]], Law]:
    """Make a law of a function `(subject, situation, **options)` that raises `AssertionError`.

    Its docstring should say why the equation holds, and what breaks it.

    **Arguments:**

    - `equation`: what holds, in plain signs.
    - `about`: the kinds of objects that it speaks of.
    - `when`: whether it applies to an object of these kinds; always by default.
    - `situation`: what it looks at by default.
    """
    kinds = (about,) if isinstance(about, str) else tuple(about)
    unknown = sorted(set(kinds) - set(get_args(About)))
    if unknown:
        raise ValueError(f"`about` can be {', '.join(get_args(About))}; got {', '.join(unknown)}.")

    def register(test: Callable[..., None]) -> Law:
        name = test.__name__
        if name in LAWS and LAWS[name].test.__module__ != test.__module__:
            raise ValueError(f"There is a law of the name `{name}` already; choose another.")
        made = Law(name, equation, kinds, test, when, situation or Situation())
        object.__setattr__(made, "__doc__", test.__doc__)
        LAWS[name] = made
        return made

    return register


def kind_of(subject: Any) -> str:
    """Which kind of object this is, in the words of `Law.about`.

    **Raises:** `TypeError` if no law is about such objects.
    """
    if isinstance(subject, vsml.Layer):
        return "layer"
    if isinstance(subject, vsml.Network):
        return "network"
    if isinstance(subject, rl.Learner):
        return "learner"
    if isinstance(subject, rl.Task | rl.TaskDistribution):
        return "environment"
    if all(hasattr(subject, name) for name in ("init", "ask", "tell", "mean")):
        return "evolution"
    if callable(subject) and {"learner", "task", "steps"} <= _parameters(subject):
        return "lifetime"
    raise TypeError(
        "Laws are about a vsml.Layer, vsml.Network, rl.Learner, rl.Task or rl.TaskDistribution, "
        "a function like rl.lifetime, and objects with init, ask, tell and mean; got "
        f"{type(subject).__name__}."
    )


def _parameters(subject: Callable) -> set[str]:
    try:
        return set(inspect.signature(subject).parameters)
    except (TypeError, ValueError):
        return set()


def about(subject: Any) -> list[Law]:
    """All laws that apply to an object, for a loop or a parametrized test."""
    kind = kind_of(subject)
    return [law for law in LAWS.values() if kind in law.about and law.when(subject)]


def check(subject: Any, situation: Situation | None = None, **options: Any) -> list[Law]:
    """Put an object to every law that applies to it.

    **Arguments:**

    - `subject`, `situation`: as for a law.
    - `options`: fields of the situation, and options of laws, each for the laws that have it.

    **Returns:**

    The laws, all of which hold.

    **Raises:** `AssertionError` that tells of every law that is broken, or raises an error.
    """
    laws, failures = about(subject), []
    known = _SITUATION.union(*(law.options for law in laws))
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"No law about a {kind_of(subject)} has the option {', '.join(unknown)}; there are "
            f"{', '.join(sorted(known))}."
        )
    for one in laws:
        chosen = {k: v for k, v in options.items() if k in _SITUATION or k in one.options}
        try:
            one(subject, situation, **chosen)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            text = re.sub(r"\n", "\n    ", f"{kind}{error}")
            failures.append(f"{one.name}, {one.equation}\n    {text}")
    if failures:
        name = getattr(subject, "__name__", type(subject).__name__)
        raise AssertionError(
            f"{name} breaks {len(failures)} of {len(laws)} laws:\n- " + "\n- ".join(failures)
        )
    return laws


def assert_same(actual: Any, expected: Any, what: str, *, one: str, other: str) -> None:
    """Two trees are the same bit for bit. `one` and `other` name them in the message."""
    found = first_difference(expected, actual)
    if found is not None:
        path, index, x, y, count = found
        raise AssertionError(
            f"{what}: {at_path(path)} is not the same in {count} of {x.size} entries, first at "
            f"{list(index)}: {one} has {y[index]}, {other} has {x[index]}."
        )
