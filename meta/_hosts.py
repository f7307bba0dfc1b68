"""What the processes of one training tell each other. One process alone tells nothing."""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import PyTree

Devices = Sequence[jax.Device]


class LostProcessError(RuntimeError):
    """Another process of the same training ended, or cannot be reached any more."""


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def check_devices(devices: Devices) -> None:
    """Refuse devices that leave a process of the training without work.

    **Raises:** `ValueError`.
    """
    if not devices:
        raise ValueError("`devices` must be at least one device, got none.")
    idle = set(range(jax.process_count())) - {d.process_index for d in devices}
    if idle:
        raise ValueError(
            f"`devices` must have one of each process; there is none of process {min(idle)}."
        )


def any_of(flag: bool) -> bool:
    """Whether the flag is up in any process; all must ask."""
    return bool(_gather(np.asarray(flag)).any())


def check_same(digest: bytes) -> None:
    """Refuse to go on unless all processes have the same digest.

    **Raises:** `ValueError`.
    """
    all_of_them = _gather(np.frombuffer(digest, np.uint8))
    if (all_of_them != all_of_them[:1]).any():
        raise ValueError(
            "The processes were asked for different trainings. Start all of them with the same "
            "options, but for the number of the process."
        )


def from_first(tree: PyTree) -> PyTree:
    """The arrays that the first process has."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    with exchange():
        return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def whole(array: jax.Array) -> np.ndarray:
    """The values of an array of which every process may have a part; all must ask."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    with exchange():
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def _gather(value: np.ndarray) -> np.ndarray:
    """The values of all processes."""
    if jax.process_count() == 1:
        return value[None]
    from jax.experimental import multihost_utils

    with exchange():
        return np.asarray(multihost_utils.process_allgather(value)).reshape(-1, *value.shape)


@contextlib.contextmanager
def exchange() -> Iterator[None]:
    """Where processes wait for each other, and one may wait in vain.

    **Raises:** `LostProcessError` in place of what the library of the exchange has to say.
    """
    try:
        yield
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        if jax.process_count() == 1:
            raise
        reason = " ".join(str(error).split())[:200]
        raise LostProcessError(
            f"Process {jax.process_index()} of {jax.process_count()} lost another one ({reason})."
        ) from error
