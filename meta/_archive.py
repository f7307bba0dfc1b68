"""A file of arrays under a readable header. Reading one runs no code and guesses nothing."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

MAGIC = b"symla-archive 1\n"
_KINDS = "biuf"  # what NumPy calls booleans, integers (signed or not) and floats


class ArchiveError(ValueError):
    """A file that is not what it should be: wrong kind, cut, changed or of another shape."""


def write(path: str | os.PathLike, header: dict, arrays: Sequence[np.ndarray]) -> None:
    """Write an archive, whole or not at all.

    **Arguments:**

    - `path`: the file. It is replaced in one step, so a reader, or a crash, never sees half.
    - `header`: what JSON can hold. `arrays` and `sha256` are added to it.
    - `arrays`: NumPy arrays of booleans, integers or floats.
    """
    path = Path(path)
    arrays = [np.asarray(a) for a in arrays]
    odd = sorted({a.dtype.name for a in arrays if a.dtype.kind not in _KINDS})
    if odd:
        raise ValueError(f"An archive holds booleans, integers and floats, not {', '.join(odd)}.")
    payload = b"".join(np.ascontiguousarray(_little(a)).tobytes() for a in arrays)
    header = {
        **header,
        "arrays": [{"shape": list(a.shape), "dtype": a.dtype.name} for a in arrays],
    }
    header = json.loads(json.dumps(header, allow_nan=False))
    header["sha256"] = digest(header, payload)
    line = json.dumps(header, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + line + payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_header(path: str | os.PathLike) -> dict:
    """The header of an archive, without its arrays."""
    return _open(Path(path))[0]


def read(path: str | os.PathLike) -> tuple[dict, list[np.ndarray]]:
    """The header and the arrays of an archive.

    **Raises:** `FileNotFoundError`; `ArchiveError` if the file is not an archive, was cut off,
    or does not match its own hash.
    """
    header, payload = _open(Path(path))
    try:
        shapes = [tuple(int(n) for n in entry["shape"]) for entry in header["arrays"]]
        dtypes = [np.dtype(str(entry["dtype"])) for entry in header["arrays"]]
        expected = str(header["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: its header does not describe its arrays ({error}).") from error
    if any(d.kind not in _KINDS for d in dtypes):
        raise ArchiveError(f"{path}: holds types other than booleans, integers and floats.")
    if any(n < 0 for shape in shapes for n in shape):
        raise ArchiveError(f"{path}: its header gives an array a size below zero.")
    sizes = [math.prod(s) * d.itemsize for s, d in zip(shapes, dtypes, strict=True)]
    if sum(sizes) != len(payload):
        raise ArchiveError(
            f"{path}: {len(payload)} bytes of arrays where the header says {sum(sizes)}; the file "
            "was cut off or changed. Copy it anew, or take an earlier one."
        )
    if digest(header, payload) != expected:
        raise ArchiveError(f"{path}: the file does not match its hash; it was damaged.")
    arrays, start = [], 0
    for shape, dtype, size in zip(shapes, dtypes, sizes, strict=True):
        raw = np.frombuffer(
            payload, dtype.newbyteorder("<"), count=size // dtype.itemsize, offset=start
        )
        arrays.append(raw.astype(dtype).reshape(shape))
        start += size
    return header, arrays


def digest(header: dict, payload: bytes) -> str:
    """The hash of all that an archive says, but for the hash itself."""
    rest = {name: value for name, value in header.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode() + payload).hexdigest()


def _open(path: Path) -> tuple[dict, bytes]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ArchiveError(
            f"{path} is not an archive of symla (version 1): it begins with {content[:16]!r}."
        )
    line, newline, payload = content[len(MAGIC) :].partition(b"\n")
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path}: its header is not JSON ({error}).") from error
    if not newline or not isinstance(header, dict):
        raise ArchiveError(f"{path}: its header is cut off or not an object.")
    return header, payload


def _little(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def leaves_of(tree: PyTree[Array]) -> list[np.ndarray]:
    """The arrays of a tree for `write`; random keys as their data."""
    return [
        np.asarray(jr.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in map(jnp.asarray, jax.tree.leaves(tree))
    ]


def fill(
    like: PyTree[Array | jax.ShapeDtypeStruct],
    arrays: Sequence[np.ndarray],
    path: str | os.PathLike,
) -> PyTree:
    """A tree like `like` with the arrays of an archive in place of its arrays (or shapes).

    **Raises:** `ArchiveError` if their number, shapes or types differ.
    """
    leaves, structure = jax.tree.flatten(like)
    if len(leaves) != len(arrays):
        raise ArchiveError(f"{path}: holds {len(arrays)} arrays where {len(leaves)} are expected.")
    filled = []
    for position, (leaf, array) in enumerate(zip(leaves, arrays, strict=True)):
        leaf = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.asarray(leaf)
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        expected = jax.eval_shape(jr.key_data, leaf) if is_key else leaf
        if expected.shape != array.shape or expected.dtype != array.dtype:
            raise ArchiveError(
                f"{path}: array {position} is {array.dtype.name}{list(array.shape)} where "
                f"{expected.dtype.name}{list(expected.shape)} is expected."
            )
        value = jnp.asarray(array)
        if is_key:
            value = jr.wrap_key_data(value, impl=jr.key_impl(cast(Array, leaf)))
        filled.append(value)
    return jax.tree.unflatten(structure, filled)
