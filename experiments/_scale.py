"""What a command runs on: devices, memory, and the cache of compiled programs."""

import os
import re
import sys
from pathlib import Path

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_FORCED = "xla_force_host_platform_device_count"


def parse_devices(text: str) -> int | None:
    """Read `"all"` (`None`), or a number of devices.

    **Raises:** `ValueError` if it is neither.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"`--devices` is all, or a number of at least 1; got {text!r}.")
    return int(text)


def parse_memory(text: str | None) -> int | None:
    """Read a size such as `"8GB"` or `"500MiB"`, in bytes.

    **Raises:** `ValueError` if it is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    power = _POWERS[match[2]] if match else 0
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** power) if match else 0
    if size < 1:
        raise ValueError(f"`--memory` is a size such as 8GB or 500MiB; got {text!r}.")
    return size


def show_bytes(size: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def use_all_cores() -> None:
    """Let JAX have one CPU device for each core, because it runs a program on about one.

    To be called before JAX starts; after that it does nothing.
    """
    use_cpu_devices(usable_cores())


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cpu_devices(count: int) -> None:
    """Let JAX have so many CPU devices, unless its user has chosen a number or JAX has started."""
    import jax

    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or _FORCED in os.environ.get("XLA_FLAGS", "")
    if chosen or getattr(jax.config, "jax_num_cpu_devices", -1) > 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # JAX has started
        return


def choose_devices(
    asked: int | None, parts: int, of_what: str = "pairs of members"
) -> tuple[list, str | None]:
    """The devices that share the work of a generation, and what is to be said of them.

    **Arguments:**

    - `asked`: how many of each process; `None` for as many as can share it evenly.
    - `parts`: how many equal parts the work has.
    - `of_what`: what these are, for people.

    **Raises:** `ValueError` if there are not so many.
    """
    import jax

    processes, here = jax.process_count(), jax.local_device_count()
    count, note = asked, None
    if count is None:
        fitting = [n for n in range(1, here + 1) if parts % (n * processes) == 0]
        count = max(fitting, default=1)
        if count < here:
            note = (
                f"Using {count} of {here} devices: {parts} {of_what} cannot be shared out evenly "
                "among more."
            )
    if count > here:
        kind = jax.devices()[0].platform
        raise ValueError(f"`--devices` asks for {count}, but JAX has only {here} here ({kind}).")
    chosen, taken = [], dict.fromkeys(range(processes), 0)
    for device in jax.devices():
        if taken[device.process_index] < count:
            taken[device.process_index] += 1
            chosen.append(device)
    return chosen, note


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder, so that they start at once again.

    To be called before JAX is imported; after that, and where `JAX_COMPILATION_CACHE_DIR` says
    where they go, it does nothing.
    """
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"cannot write to {folder}")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        sys.stderr.write(f"symla: compiled programs are not kept: {error}\n")
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)


def cache_folder() -> Path:
    """Where compiled programs are kept, by the custom of the operating system."""
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/symla/jax"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData/Local") / "symla/Cache/jax"
    custom = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    base = Path(custom) if os.path.isabs(custom) else Path.home() / ".cache"
    return base / "symla/jax"
