"""What can be said of a task on the command line, and how it is read. Nothing here needs JAX."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from ._names import nearest

Value = str | bool | int | float | tuple[int, int] | tuple[float, float]
Kind = Literal["count", "counts", "sizes", "number", "numbers", "choice", "flag"]
_FORMS: dict[Kind, str] = {
    "count": "N",
    "counts": "N|N..M",
    "sizes": "AxB",
    "number": "X",
    "numbers": "X|X..Y",
    "flag": "yes|no",
}
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


@dataclasses.dataclass(frozen=True)
class Option:
    """Something that can be said of a task.

    - `default`: its value where nothing is said, in the words of the command line.
    - `help`: what it is, with its unit.
    - `kind`: how its value is written; a range is drawn from anew for each life.
    - `least`, `most`: bounds of its numbers, or `None`.
    - `choices`: all values of a `"choice"`.
    """

    default: str
    help: str
    kind: Kind = "count"
    least: int | float | None = None
    most: int | float | None = None
    choices: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """How its value is written."""
        return "|".join(self.choices) if self.kind == "choice" else _FORMS[self.kind]

    def read(self, name: str, text: str) -> Value:
        """The value that a text is.

        **Arguments:**

        - `name`: what the option is called where it was given, for the message.
        - `text`: what was given.

        **Raises:** `ValueError` if it is none.
        """
        if self.kind == "choice":
            if text not in self.choices:
                raise ValueError(f"{name} cannot be {text!r}. {nearest(text, self.choices)}")
            return text
        if self.kind == "flag":
            if text not in _FLAGS:
                raise ValueError(f"{name} must be yes or no, got {text!r}.")
            return _FLAGS[text]
        if self.kind == "sizes":
            least, cross, most = text.partition("x")
            numbers = [_number(least, whole=True), _number(most, whole=True)] if cross else [None]
        else:
            least, dots, most = text.partition("..")
            if dots and self.kind not in ("counts", "numbers"):
                raise ValueError(f"{name} is one number ({self.form}), not a range; got {text!r}.")
            whole = self.kind in ("count", "counts")
            numbers = [_number(least, whole=whole), *([_number(most, whole=whole)] if dots else [])]
        read = [number for number in numbers if number is not None]
        if len(read) < len(numbers):
            hint = " Write a range with two dots." if "-" in text[1:] else ""
            raise ValueError(f"{name} is {self.form}, got {text!r}.{hint}")
        for number in read:
            if self.least is not None and number < self.least:
                raise ValueError(f"{name} must be at least {self.least:g}, got {text!r}.")
            if self.most is not None and number > self.most:
                raise ValueError(f"{name} must be at most {self.most:g}, got {text!r}.")
        if len(read) == 1:
            return read[0]
        if self.kind != "sizes" and read[0] > read[1]:
            raise ValueError(f"{name} is LEAST..MOST, but {text!r} begins with the greater.")
        if self.kind == "numbers" and read[0] <= 0:
            raise ValueError(
                f"{name} is drawn log-uniformly, so that a range must be above 0; got {text!r}."
            )
        return read[0], read[1]


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """A task of the command line.

    - `description`: what it is, in a line.
    - `factory`: the name in `rl.envs` of its distribution, or of its environment.
    - `options`: the arguments of the factory by name.
    - `parameters`: parameters of the environment, fixed or drawn by `rl.envs.Vary`; `None` where
        the factory is a distribution.
    - `fixed`: further arguments of the factory.
    - `steps`: of a life, where nothing is said.
    - `metrics`: what its lives count beside the reward.
    """

    description: str
    factory: str
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Option] | None = None
    fixed: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    steps: int = 500
    metrics: tuple[str, ...] = ()

    @property
    def known(self) -> dict[str, Option]:
        """All that can be said of it."""
        return {**self.options, **(self.parameters or {})}


@dataclasses.dataclass(frozen=True)
class WrapperEntry:
    """Something to put around a task.

    - `description`: what it does, in a line.
    - `factory`: its name in `rl.envs`.
    - `arguments`: which arguments of the factory its value gives.
    - `value`: the option that comes after `=`.
    - `needed`: whether it must be given.
    - `options`: further arguments, after `:`.
    """

    description: str
    factory: str
    arguments: tuple[str, ...]
    value: Option
    needed: bool = False
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)


def _number(text: str, *, whole: bool) -> int | float | None:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text) if whole else float(text)
    if whole or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e-?\d+)?", text):
        return None
    return float(text)
