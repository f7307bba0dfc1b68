"""One process of many: it joins the others, and has a last word where they are lost."""

import contextlib
import dataclasses
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

_HEARTBEAT = 30  # seconds of silence after which a process counts as lost
_LONGEST_END = 3600  # seconds that the others wait for the tests of the first at the end


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Which process of how many this is, and where they meet.

    - `coordinator`: `HOST:PORT` of process 0.
    - `processes`, `process`: how many there are, and the number of this one, from 0.
    """

    coordinator: str
    processes: int
    process: int


def parse_hosts(
    coordinator: str | None, processes: int | None, process: int | None
) -> Hosts | None:
    """Read the three options that make a process one of many; `None` where there are none.

    **Raises:** `ValueError` if some are missing or cannot be.
    """
    if coordinator is None and processes is None and process is None:
        return None
    if coordinator is None or processes is None or process is None:
        raise ValueError(
            "`--coordinator`, `--processes` and `--process` belong together: give all three to "
            "every process, or none."
        )
    host, colon, port = coordinator.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"`--coordinator` is HOST:PORT of process 0, such as 10.0.0.1:12345; got "
            f"{coordinator!r}."
        )
    if processes < 1:
        raise ValueError(f"`--processes` must be at least 1, got {processes}.")
    if not 0 <= process < processes:
        raise ValueError(
            f"`--process` must be from 0 to {processes - 1} (`--processes` is {processes}), got "
            f"{process}."
        )
    return Hosts(coordinator, processes, process)


@contextlib.contextmanager
def joined(hosts: Hosts | None, out: Path, resume: str) -> Iterator[None]:
    """Be one of many processes, if there are many, until all of them are done.

    A process that fails ends at once, with one line that says why, so that the others notice. What
    the libraries below Python print goes to `process-I.log` in `out`.

    **Arguments:**

    - `hosts`: which process this is.
    - `out`: the folder of the training.
    - `resume`: the command that goes on with it.
    """
    if hosts is None:
        yield
        return
    who = f"symla: error: process {hosts.process} of {hosts.processes}"
    log = out / f"process-{hosts.process}.log"
    on = f"Start all processes again to go on, or fewer (details: {log}): {resume}"
    out.mkdir(parents=True, exist_ok=True)
    last_word = _LastWord(f"{who} could not meet the others at {hosts.coordinator}. {on}")
    streams = _Streams(log)
    try:
        _start(hosts)
        last_word.becomes(
            f"{who} was ended, or lost another one; the checkpoint of the last chunk is in {out}. "
            f"{on}"
        )
        with streams.ours():
            yield
        import jax

        jax.distributed.shutdown()
    except BaseException as error:
        _end(error, who, on, streams, last_word)
    last_word.becomes("")
    streams.restore()


def _start(hosts: Hosts) -> None:
    import jax

    # It would catch SIGTERM, and we do.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        hosts.coordinator,
        hosts.processes,
        hosts.process,
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=_HEARTBEAT,
        shutdown_timeout_seconds=_LONGEST_END,
    )


def _end(
    error: BaseException, who: str, on: str, streams: "_Streams", last_word: "_LastWord"
) -> NoReturn:
    """End this process at once: in good order it would wait for others that may be gone."""
    import meta

    text, status = " ".join(str(error).split()) or type(error).__name__, 2
    if isinstance(error, SystemExit):
        text, status = "", error.code if isinstance(error.code, int) else 1
    elif isinstance(error, KeyboardInterrupt):
        text, status = f"{who} was interrupted. {on}", 130
    elif isinstance(error, meta.LostProcessError):
        text, status = f"symla: error: {text} {on}", 1
    elif isinstance(error, ValueError | OSError):
        text = f"{who}: {text}"
    else:
        text, status = f"{''.join(traceback.format_exception(error))}{who}: a fault", 1
    last_word.becomes("")
    streams.restore()
    if text:
        sys.stderr.write(text + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _LastWord:
    """Says a line when this process ends without having taken it back.

    JAX ends a process whose coordinator is gone from a thread of its own, and Python is not asked.
    So another process, which does nothing else, waits for the end of this one.
    """

    def __init__(self, line: str):
        self._pipe = None
        if not hasattr(os, "fork"):
            return
        ear, self._pipe = os.pipe()
        if os.fork() == 0:
            os.close(self._pipe)
            _wait_and_say(ear)
        os.close(ear)
        self.becomes(line)

    def becomes(self, line: str) -> None:
        """Change the line; an empty one is not said."""
        if self._pipe is not None:
            os.write(self._pipe, f"{line}\n".encode())


def _wait_and_say(ear: int) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(0)
    os.close(1)
    heard = b""
    while more := os.read(ear, 4096):
        heard += more
    line = heard.rstrip(b"\n").rpartition(b"\n")[2] if not heard.endswith(b"\n\n") else b""
    if line:
        os.write(2, line + b"\n")
    os._exit(0)


class _Streams:
    """Sends what is written below Python to a file, and keeps ours where they were."""

    def __init__(self, log: Path):
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        """Within it, `sys.stdout` and `sys.stderr` write where they did before."""
        merged = sys.stdout is sys.stderr
        out, err = (os.fdopen(os.dup(n), "w", buffering=1) for n in self._saved)
        with out, err, contextlib.redirect_stderr(err):
            with contextlib.redirect_stdout(err if merged else out):
                yield

    def restore(self) -> None:
        """Let everything be written where it was before."""
        for number, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, number)
