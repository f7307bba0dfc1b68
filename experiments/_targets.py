"""From what the command line says to an object that can be certified."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import proofs

from ._names import nearest, unknown
from .table_1 import ENTRIES


@contextlib.contextmanager
def importable_from_here() -> Iterator[None]:
    """Within: modules of the current folder can be imported, as with `python -m`."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def find_target(target: str) -> Any:
    """What is to be certified, from what the command line says.

    **Raises:** `ValueError` if it is not there, or nothing is claimed of it.
    """
    for entry in ENTRIES:
        if entry.name == target:
            return entry.target()
    module, colon, name = target.partition(":")
    if colon and module != "pretrained" and not Path(target).exists():
        if not (module and name):
            raise ValueError(f"{target!r} is not MODULE:NAME, such as my_layer:layer.")
        return _check(_attribute(_import(module, name), module, name), target)
    if target.endswith(".py") or Path(f"{target}.py").is_file():
        raise ValueError(
            f"Say what of {target} is to be certified: {_dotted(target)}:NAME, where NAME is an "
            "object that it makes."
        )
    if colon or Path(target).exists() or Path(target).suffix:
        from ._builders import load_learner

        return load_learner(target)
    error = unknown("learner", target, [entry.name for entry in ENTRIES])
    raise ValueError(f"{error} An object of your own is MODULE:NAME, such as my_layer:layer.")


def _dotted(path: str) -> str:
    """The name under which a file can be imported, as far as that can be told."""
    return path.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")


def _import(module: str, name: str) -> ModuleType:
    if module.endswith(".py") or "/" in module or "\\" in module:
        raise ValueError(
            f"{module!r} is a path. Name the module as in an import: {_dotted(module)}:{name}."
        )
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"There is no module {error.name!r}. Run the command in the folder that "
                f"{error.name.partition('.')[0]} is in, or install it."
            ) from None
        raise _broken(module, error) from None
    except SystemExit:
        raise ValueError(
            f"The module {module} ends Python when it is imported. Put what it runs under "
            '`if __name__ == "__main__":`.'
        ) from None
    except Exception as error:
        raise _broken(module, error) from None


def _broken(module: str, error: Exception) -> ValueError:
    """What to say of a module that raises: the error, and the last line of it that is no ours."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((f for f in reversed(frames) if not f.filename.startswith("<")), None)
    # A mistake of syntax says its place itself, and no line of the module has run.
    where = f", at {frame.filename}:{frame.lineno}" if frame else ""
    where = "" if isinstance(error, SyntaxError) else where
    return ValueError(from_here(f"The module {module} cannot be imported{where}: {said}"))


def _attribute(module: ModuleType, path: str, name: str) -> Any:
    """What a dotted name stands for in a module."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            hint = nearest(part, _names_in(found))
            raise ValueError(f"{path} has no {part!r}. {hint}")
        found, path = getattr(found, part), f"{path}.{part}"
    return found


def _names_in(thing: Any) -> list[str]:
    names = [name for name in dir(thing) if not name.startswith("_")]
    return [name for name in names if not isinstance(getattr(thing, name, None), ModuleType)]


def _check(thing: Any, target: str) -> Any:
    """Refuse what nothing is claimed of, and say how to claim something."""
    if isinstance(thing, type):
        raise ValueError(
            f"{target} is a class. Make an object of it in the module, such as "
            f"`layer = {thing.__name__}(...)`, and certify that."
        )
    known = proofs.claim_of.dispatch(type(thing)) is not proofs.claim_of.dispatch(object)
    if known or hasattr(thing, "__equivariance__"):
        return thing
    if callable(thing):
        raise ValueError(
            f"{target} does not say how it transforms. Put a specification for each argument and "
            "for the result over it: @proofs.equivariant('A B, A -> B')."
        )
    raise ValueError(
        f"{target} is of type {type(thing).__name__}. What can be certified is a vsml.Layer, a "
        "vsml.Network, an rl.Learner, a proofs.Claim, or a function under @proofs.equivariant."
    )


def from_here(value: Any) -> Any:
    """The same with paths that begin at the current folder."""
    if isinstance(value, str):
        return value.replace(f"{os.getcwd()}{os.sep}", "")
    if isinstance(value, dict):
        return {name: from_here(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [from_here(one) for one in value]
    return value
