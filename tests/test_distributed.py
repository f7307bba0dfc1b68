"""Many processes, one training: real processes, which are stopped and killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import logged

import meta
from meta import _archive

ROOT = Path(__file__).parent.parent
OPTIONS = (
    "--learner metarnn --hidden-size 2 --steps 3 --population 8 --lives 2 --test-every 0"
).split()
FOREVER = ["--generations", "1000000", "--chunk", "1"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


def start(out: Path, cache: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.cli", "train", *OPTIONS, "--out", str(out)]
    return subprocess.Popen(
        [*command, *options],
        cwd=cache,
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def two(out: Path, cache: Path) -> Iterator[list[subprocess.Popen]]:
    """Two processes of one training, once they have done some generations; dead afterwards."""
    before = generation(out)
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    both = [start(out, cache, *FOREVER, *where, "--process", str(i)) for i in (0, 1)]
    deadline = time.monotonic() + 300  # on a busy machine, to start takes minutes
    try:
        while generation(out) < before + 3:
            for process in both:
                assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield both
    finally:
        for process in both:
            process.kill()
            process.communicate()


def generation(out: Path) -> int:
    path = out / "checkpoint.symla"
    return meta.read_header(path)["generation"] if path.exists() else 0


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.slow
def test_processes_that_are_stopped_and_killed(tmp_path):
    out, cache = tmp_path / "run", tmp_path / "cache"
    cache.mkdir()
    # An interrupt of one ends both, in good order.
    with two(out, cache) as (first, second):
        second.terminate()
        said, errors = first.communicate(timeout=120)
        assert (first.returncode, second.wait(timeout=120)) == (130, 130), errors
        assert second.communicate() == ("", "")
        assert "Stopped after" in said and "--coordinator" in said
    done = generation(out)
    # One that is killed ends the other, which says so in one line.
    for victim in (1, 0):
        with two(out, cache) as both:
            both[victim].kill()
            _, errors = both[1 - victim].communicate(timeout=120)
            assert both[1 - victim].returncode not in (0, None)
            (line,) = lines(errors)
            assert line.startswith("symla: error: ") and "lost another one" in line
            assert "symla train" in line and str(out) in line
        assert generation(out) > done
        done = generation(out)
    # One goes on alone, as if nothing had happened.
    rest = ["--generations", str(done + 5), "--chunk", "1000", "--devices", "1"]
    for process in [start(f, cache, *rest, "--json") for f in (out, tmp_path / "whole")]:
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert json.loads(said)["generations_done"] == done + 5
    checkpoints = [_archive.read(f / "checkpoint.symla")[1] for f in (out, tmp_path / "whole")]
    for ours, whole in zip(*checkpoints, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-3, atol=1e-4)
    rows = logged(out)
    assert [row["generation"] for row in rows] == list(range(1, done + 6))


@pytest.mark.slow
def test_processes_that_were_asked_for_different_things(tmp_path):
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    both = [
        start(tmp_path / "run", tmp_path, *FOREVER, *where, "--process", str(i), "--seed", str(i))
        for i in (0, 1)
    ]
    try:
        for process in both:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 2 and len(lines(errors)) == 1
            assert "The processes were asked for different trainings" in errors
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert not (tmp_path / "run/checkpoint.symla").exists()


def test_one_process_has_nothing_to_agree_on():
    from meta import _hosts

    assert _hosts.is_first() and jax.process_count() == 1
    assert _hosts.any_of(True) and not _hosts.any_of(False)
    _hosts.check_same(b"anything")
    tree = {"a": np.arange(3)}
    assert _hosts.from_first(tree) is tree
    with pytest.raises(ValueError, match="a mistake"), _hosts.exchange():
        raise ValueError("a mistake")
    with pytest.raises(ValueError, match="at least one device"):
        _hosts.check_devices([])


def test_the_last_word(tmp_path):
    # A process that is gone without a word leaves one; one that takes it back does not.
    pytest.importorskip("fcntl")  # where processes fork
    code = (
        "import os, signal, sys; from experiments._hosts import _LastWord\n"
        "word = _LastWord('never'); word.becomes(sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for word in ("It is gone.", ""):
        done = subprocess.run(
            [sys.executable, "-c", code, word], cwd=ROOT, capture_output=True, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        assert done.stderr.decode() == (word and f"{word}\n")
