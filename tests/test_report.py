"""What a training tells, and how it is stopped, without a training."""

import contextlib
import os
import signal
import sys
import threading

import pytest
from helpers import logged

import meta
from meta import _report


def row(generation, **changes):
    numbers = {"fitness_mean": 0.5, "fitness_max": 1.5, "failed_members": 0}
    return {"generation": generation, **numbers, "steps_per_second": 2500, **changes}


def reporter(folder, done=0, total=4, progress=False, tensorboard=False):
    return _report.Reporter(folder, done, total, progress=progress, tensorboard=tensorboard)


# Lines of JSON


def test_rows_are_lines(tmp_path):
    with reporter(tmp_path / "new") as report:
        report.generations([row(1), row(2, fitness_mean=None)])
        # They are there at once, whatever becomes of the process.
        assert [line["generation"] for line in logged(tmp_path / "new")] == [1, 2]
        report.test({"generation": 2, "arms/reward": 3.0})
        report.generations([row(3)])
    assert logged(tmp_path / "new") == [
        row(1),
        row(2, fitness_mean=None),
        {"generation": 2, "arms/reward": 3.0, "test": True},
        row(3),
    ]


def test_what_was_recorded_can_be_read_again(tmp_path):
    assert meta.recorded(tmp_path / "nowhere") == []
    (tmp_path / "metrics.jsonl").touch()  # of a run that was killed before its first generation
    assert meta.recorded(tmp_path) == []
    with reporter(tmp_path) as report:
        report.generations([row(1), row(2, fitness_mean=None)])
        report.test({"generation": 2, "arms/reward": 3.0})
    whole = [row(1), row(2, fitness_mean=None), {"generation": 2, "arms/reward": 3.0, "test": True}]
    assert meta.recorded(str(tmp_path)) == whole
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"generation": 3, "fitness_me')  # killed on the way
    assert meta.recorded(tmp_path) == whole


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path):
    with reporter(tmp_path) as report:
        report.generations([row(1), row(2)])
        report.test({"generation": 2, "arms/reward": 1.0})
        report.generations([row(3), row(4)])
        report.test({"generation": 4, "arms/reward": 2.0})
    with reporter(tmp_path, done=2) as report:
        assert [(x["generation"], "test" in x) for x in logged(tmp_path)] == [
            (1, False),
            (2, False),
            (2, True),
        ]
        report.generations([row(3, fitness_mean=9.0)])
    assert logged(tmp_path)[-1] == row(3, fitness_mean=9.0)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, cut):
    with reporter(tmp_path) as report:
        report.generations([row(1), row(2), row(3)])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-cut])
    complete = 3 if cut == 1 else 2  # only the end of the line is missing
    with reporter(tmp_path, done=3) as report:
        report.generations([row(4)])
    assert [x["generation"] for x in logged(tmp_path)] == [*range(1, complete + 1), 4]


def test_a_failure_while_renewing_the_file_keeps_the_old_one(tmp_path, monkeypatch):
    with reporter(tmp_path) as report:
        report.generations([row(1), row(2)])

    def crash(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(_report.Path, "replace", crash)
    with pytest.raises(OSError):
        reporter(tmp_path, done=1)
    assert [x["generation"] for x in logged(tmp_path)] == [1, 2]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with reporter(None) as report:
        report.status("compiling")
        report.generations([row(1)])
        report.test({"generation": 1, "arms/reward": 1.0})
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


# The bar


def test_the_bar_on_a_plain_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    with reporter(None, done=1, progress=True) as report:
        report.status("compiling")
        report.generations([row(2, fitness_mean=-1.234)])
        report.test({"generation": 2, "arms/reward": 3.456, "arms/regret": None})
    written = capsys.readouterr().out
    assert "generation 2: arms/reward 3.46, arms/regret not finite" in written
    assert "2/4" in written and "fitness -1.23, 2 thousand steps/s" in written


def test_the_bar_says_when_all_failed(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    with reporter(None, progress=True) as report:
        report.generations([row(4, fitness_mean=None)])
    assert "4/4" in (written := capsys.readouterr().out) and "no finite fitness" in written


# TensorBoard


def scalars(folder):
    """Every scalar in the event files of a folder, by hand: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        content, position = path.read_bytes(), 0
        while position < len(content):
            size = int.from_bytes(content[position : position + 8], "little")
            event = Event.FromString(content[position + 12 : position + 12 + size])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            position += size + 16
    return found


def test_event_files(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra `tb`")
    with reporter(tmp_path, tensorboard=True) as report:
        report.generations([row(1), row(2, fitness_mean=None)])
        report.test({"generation": 2, "arms/reward": 3.0})
    assert scalars(tmp_path) == {
        "fitness_mean": [(1, 0.5)],
        "fitness_max": [(1, 1.5), (2, 1.5)],
        "failed_members": [(1, 0.0), (2, 0.0)],
        "steps_per_second": [(1, 2500.0), (2, 2500.0)],
        "arms/reward": [(2, 3.0)],
    }


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"extra `tb`: pip install 'symla\[tb\]'"):
        reporter(tmp_path, tensorboard=True)


# Interrupts


@contextlib.contextmanager
def restored():
    """Whatever a test does to the handlers, they are put back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_question(number):
    with restored() as before:
        with _report.deferred_interrupts() as interrupted:
            assert not interrupted()
            os.kill(os.getpid(), number)
            assert interrupted() and interrupted()
        assert {n: signal.getsignal(n) for n in before} == before


def test_the_second_signal_acts():
    with restored() as before:
        with pytest.raises(KeyboardInterrupt):
            with _report.deferred_interrupts() as interrupted:
                os.kill(os.getpid(), signal.SIGINT)
                assert interrupted()
                os.kill(os.getpid(), signal.SIGINT)
        assert {n: signal.getsignal(n) for n in before} == before


def test_handlers_come_back_after_an_error():
    with restored() as before:
        with pytest.raises(ZeroDivisionError), _report.deferred_interrupts():
            raise ZeroDivisionError
        assert {n: signal.getsignal(n) for n in before} == before


def test_other_threads_leave_the_handlers_alone():
    seen = []

    def run():
        before = signal.getsignal(signal.SIGINT)
        with _report.deferred_interrupts() as interrupted:
            seen.append((interrupted(), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
