"""Tasks as the command line names them, read and checked.

`NAME[:KEY=VALUE,...][+WRAPPER[=VALUE][:KEY=VALUE,...]]...`, for example
`cartpole:reward=sparse,length=0.25..1+distract=4..12+permute`. Nothing here needs JAX.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from ._names import nearest, parse_arms, show_arms, unknown
from ._task_entries import Option, TaskEntry, Value
from ._task_table import STANDARD, TASKS, WRAPPERS


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """A task with all that was said of it: nothing is built yet.

    - `text`: what was typed.
    - `name`: of its entry in `TASKS`.
    - `options`: what was given for its options and parameters.
    - `wrappers`: the names of what is put around, the innermost first, with the arguments.
    """

    text: str
    name: str
    options: Mapping[str, Value]
    wrappers: tuple[tuple[str, Mapping[str, Value]], ...] = ()

    @property
    def entry(self) -> TaskEntry:
        """What it is a case of."""
        return TASKS[self.name]

    @property
    def is_bandit(self) -> bool:
        """Whether it is a Bernoulli bandit, whatever is put around."""
        return self.entry.factory == "BernoulliBandits"

    @property
    def arms(self) -> int | tuple[int, int] | None:
        """The arms of a bandit, `None` for others."""
        return self.options.get("arms", 2) if self.is_bandit else None  # pyright: ignore

    def with_arms(self, arms: int | tuple[int, int]) -> "TaskSpec":
        """The same bandit with so many arms, given by `--arms`.

        **Raises:** `ValueError` for other tasks, or one whose arms are given twice.
        """
        if not self.is_bandit:
            raise ValueError(
                f"`--arms` is for bandits, but the task is {self.text}: see its options in `symla "
                "list tasks`."
            )
        if "arms" in self.options:
            raise ValueError(f"Give arms once: by `--arms`, or by arms= in {self.text}.")
        spec = dataclasses.replace(self, options={**self.options, "arms": arms})
        _check_arms(spec)
        return spec


def parse_task(text: str, arms: str | None = None) -> TaskSpec:
    """Read a task.

    **Arguments:**

    - `text`: `NAME[:KEY=VALUE,...][+WRAPPER[=VALUE][:KEY=VALUE,...]]...`
    - `arms`: of a bandit, if they were given apart: `"8"` or `"2-8"`.

    **Raises:** `ValueError` for a name, an option or a value that cannot be, in one line.
    """
    head, *around = text.strip().split("+")
    name, _, said = head.partition(":")
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    options = _read_options(f"the task {name}", said, TASKS[name].known)
    spec = TaskSpec(text.strip(), name, options, tuple(map(_read_wrapper, around)))
    _check_arms(spec)
    return spec if arms is None else spec.with_arms(parse_arms(arms))


def _read_wrapper(text: str) -> tuple[str, Mapping[str, Value]]:
    head, _, said = text.partition(":")
    name, equals, value = head.partition("=")
    if name not in WRAPPERS:
        raise unknown("wrapper", name, WRAPPERS)
    entry = WRAPPERS[name]
    arguments = _read_options(f"the wrapper {name}", said, entry.options)
    if not equals and entry.needed:
        raise ValueError(f"+{name} needs a value, +{name}={entry.value.form}: {entry.value.help}.")
    if equals:
        read = entry.value.read(f"The value of +{name}", value)
        values = read if len(entry.arguments) > 1 else (read,)
        assert isinstance(values, tuple)
        arguments.update(zip(entry.arguments, values, strict=True))
    return name, arguments


def _read_options(owner: str, said: str, known: Mapping[str, Option]) -> dict[str, Value]:
    options: dict[str, Value] = {}
    for word in said.split(",") if said else ():
        key, equals, value = word.partition("=")
        key = key.strip().replace("-", "_")
        if key not in known:
            hint = nearest(key, known) if known else "It has none."
            raise ValueError(f"{owner.capitalize()} has no option {key!r}. {hint}")
        if not equals:
            raise ValueError(f"{key} of {owner} needs a value: {key}={known[key].form}.")
        if key in options:
            raise ValueError(f"{key} of {owner} is given twice.")
        options[key] = known[key].read(f"{key} of {owner}", value.strip())
    return options


def _check_arms(spec: TaskSpec) -> None:
    arms = spec.arms
    kind = spec.entry.fixed.get("kind", "independent")
    if arms is not None and kind != "independent" and arms != 2:
        raise ValueError(
            f"The task {spec.name} has exactly 2 arms, got {show_arms(arms)}. For other numbers "
            "take bandit-independent."
        )


def parse_tasks(texts: Sequence[str], arms: str | None = None) -> tuple[TaskSpec, ...]:
    """Read several tasks, different ones; `standard` stands for `STANDARD`.

    **Raises:** `ValueError` for one that cannot be, or that is there twice, or for none.
    """
    words = [word for text in texts for word in (STANDARD if text == "standard" else (text,))]
    if not words:
        raise ValueError("Name at least one task; `symla list tasks` shows them.")
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"The task {word} is there twice.")
    return tuple(parse_task(word, arms) for word in words)
