"""Saving and loading learners: a name, hyper-parameters and arrays; never code."""

import importlib
import importlib.metadata
import importlib.resources
import inspect
import json
import os
from inspect import Parameter

import equinox as eqx
import jax
import jax.random as jr

import rl

from . import _archive

_HOMES = ("rl", "rl.classic", "meta")


def hyperparameters(learner: rl.Learner) -> dict:
    """The arguments that a learner was made with, by the convention of `rl.Learner`.

    **Raises:** `ValueError` if the class does not keep an argument as a field of its name.
    """
    names = [n for n in inspect.signature(type(learner)).parameters if n != "key"]
    missing = [n for n in names if n not in vars(learner)]
    if missing:
        raise ValueError(
            f"{type(learner).__name__} does not keep its argument(s) {', '.join(missing)} as "
            "fields of the same name, so it cannot be rebuilt. Add the fields."
        )
    return {name: getattr(learner, name) for name in names}


def save(path: str | os.PathLike, learner: rl.Learner, notes: dict | None = None) -> None:
    """Save a learner: its class, hyper-parameters, versions and arrays.

    The first lines of the file can be read by eye. It is written whole or not at all.

    **Arguments:**

    - `path`: the file; `.symla` is the customary suffix.
    - `learner`: any learner whose arguments are numbers, strings, booleans, `None` or tuples.
    - `notes`: what else the header shall say (JSON), such as how the learner was trained.

    **Raises:** `ValueError` for arguments that JSON cannot hold (a function, for example).
    """
    arrays = eqx.filter(learner, eqx.is_array)
    header = {**header_of(learner), "notes": notes or {}}
    _archive.write(path, header, _archive.leaves_of(arrays))


def header_of(learner: rl.Learner) -> dict:
    """What an archive says of a learner beside its arrays; an error if it cannot be saved."""
    arguments = hyperparameters(learner)
    for name, value in arguments.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The argument {name}={value!r} of {type(learner).__name__} cannot be saved: only "
                "numbers, strings, booleans, None and tuples of them can. Use a named option."
            ) from error
    return {
        "kind": "learner",
        "class": type(learner).__name__,
        "hyperparameters": arguments,
        "versions": {n: importlib.metadata.version(n) for n in ("symla", "jax", "equinox")},
    }


def load(path: str | os.PathLike, like: rl.Learner | None = None) -> rl.Learner:
    """Load a learner. No code in the file is run: there is none.

    **Arguments:**

    - `path`: a file that `save` wrote.
    - `like`: a learner of the same class and hyper-parameters to fill, for classes of your own;
        those of this library are known by name.

    **Raises:** `FileNotFoundError`; `ArchiveError` (a `ValueError`) if the file is no archive,
    was cut off or changed, names an unknown class or does not fit it.
    """
    header, arrays = _archive.read(path)
    if header.get("kind") != "learner":
        raise _archive.ArchiveError(
            f"{path} holds a {header.get('kind')!r}, not a learner. A training checkpoint is "
            "resumed by training with the same output folder."
        )
    name = header.get("class")
    if like is None:
        like = _rebuild(name, header.get("hyperparameters"), path)
    elif type(like).__name__ != name:
        raise _archive.ArchiveError(
            f"{path} holds a {name}, but `like` is a {type(like).__name__}."
        )
    else:
        _compare(header.get("hyperparameters"), like, path)
    dynamic, static = eqx.partition(
        like, lambda x: eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)
    )
    return eqx.combine(_archive.fill(dynamic, arrays, path), static)


def _compare(saved: object, like: rl.Learner, path: str | os.PathLike) -> None:
    """See that `like` has the hyper-parameters of the file, or the default where it names none."""
    given = json.loads(json.dumps(hyperparameters(like), default=repr))
    parameters = inspect.signature(type(like)).parameters
    defaults = {
        k: parameters[k].default for k in given if parameters[k].default is not Parameter.empty
    }
    defaults = json.loads(json.dumps(defaults, default=repr))
    saved = {**defaults, **(saved if isinstance(saved, dict) else {})}
    different = [k for k in sorted(given | saved) if given.get(k) != saved.get(k)]
    if different:
        changes = "; ".join(f"{k}: {saved.get(k)} there, {given.get(k)} here" for k in different)
        raise _archive.ArchiveError(f"{path} does not fit `like` ({changes}).")


def _rebuild(name: object, arguments: object, path: str | os.PathLike) -> rl.Learner:
    """A learner of a known class with the given arguments, and shapes in place of its arrays."""
    for home in _HOMES:
        cls = vars(importlib.import_module(home)).get(str(name))
        if isinstance(cls, type) and issubclass(cls, rl.Learner) and not inspect.isabstract(cls):
            break
    else:
        raise _archive.ArchiveError(
            f"{path} holds a learner of class {name!r}, which this version does not know. For a "
            "class of your own, pass a learner of it as `like`."
        )
    if not isinstance(arguments, dict):
        raise _archive.ArchiveError(f"{path}: its hyper-parameters are missing.")
    parameters = inspect.signature(cls).parameters
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        raise _archive.ArchiveError(
            f"{path}: {name} has no argument {', '.join(unknown)} in this version."
        )
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    try:
        key = {"key": jr.key(0)} if "key" in parameters else {}
        return eqx.filter_eval_shape(lambda: cls(**arguments, **key))
    except Exception as error:
        raise _archive.ArchiveError(
            f"{path}: cannot make a {name} from its hyper-parameters: {error}"
        ) from error


def pretrained_names() -> list[str]:
    """The names that `pretrained` knows."""
    files = importlib.resources.files("pretrained").iterdir()
    return sorted(f.name.removesuffix(".symla") for f in files if f.name.endswith(".symla"))


def pretrained(name: str) -> rl.Learner:
    """A meta-trained learner that ships with the package; its card is beside it.

    **Raises:** `ValueError` for an unknown name, with those there are.
    """
    if name not in pretrained_names():
        raise ValueError(
            f"There is no pretrained learner {name!r}; there are: {', '.join(pretrained_names())}."
        )
    with importlib.resources.as_file(
        importlib.resources.files("pretrained") / f"{name}.symla"
    ) as path:
        return load(path)
