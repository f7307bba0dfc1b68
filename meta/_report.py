"""What a long training tells: a progress bar, JSON lines, TensorBoard; and how it is stopped."""

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path


class Reporter:
    """Writes the records of a training where they are wanted; a context manager."""

    def __init__(
        self,
        folder: Path | None,
        done: int,
        total: int,
        *,
        progress: bool,
        tensorboard: bool,
    ):
        """**Arguments:**

        - `folder`: where `metrics.jsonl` goes, or `None`. Lines of generations after `done`, which
            a run that was killed may have left, are dropped.
        - `done`, `total`: generations done already, and in all.
        - `progress`: whether to show a bar.
        - `tensorboard`: whether to write TensorBoard's event files.
        """
        self._file = self._bar = self._task = self._board = None
        if tensorboard:
            self._board = _tensorboard(folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "metrics.jsonl"
            kept = [line for line in recorded(folder) if line["generation"] <= done]
            # In one step, so that no crash can take the lines of earlier runs away.
            renewed = path.with_suffix(".tmp")
            renewed.write_text("".join(json.dumps(line) + "\n" for line in kept))
            renewed.replace(path)
            self._file = path.open("a")
        if progress:
            self._bar, self._task = _bar(done, total)

    def __enter__(self) -> "Reporter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def status(self, text: str) -> None:
        """Show a word beside the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, status=text)

    def generations(self, rows: list[dict]) -> None:
        """Report the records of some generations."""
        self._write(rows)
        last = rows[-1]
        if self._bar is not None and self._task is not None:
            fitness = last["fitness_mean"]
            text = "no finite fitness" if fitness is None else f"fitness {fitness:.2f}"
            text += f", {last['steps_per_second'] / 1e3:,.0f} thousand steps/s"
            self._bar.update(self._task, completed=last["generation"], status=text)

    def test(self, row: dict) -> None:
        """Report a meta-test."""
        self._write([{**row, "test": True}])
        if self._bar is not None:
            numbers = ", ".join(
                f"{k} {'not finite' if v is None else f'{v:.2f}'}"
                for k, v in row.items()
                if k != "generation"
            )
            self._bar.console.print(f"generation {row['generation']}: {numbers}")

    def _write(self, rows: list[dict]) -> None:
        if self._file is not None:
            self._file.writelines(json.dumps(row) + "\n" for row in rows)
            self._file.flush()
        if self._board is not None:
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, int | float) and name not in ("generation", "test"):
                        self._board.add_scalar(name, value, row["generation"])


def recorded(folder: str | Path) -> list[dict]:
    """What the runs of `meta.train` in a folder have recorded of their generations and meta-tests.

    One record for each line of `metrics.jsonl`: none before the first generation, and none of a
    line that was cut off when a run was killed, or after it.

    **Arguments:** `folder`: the option `out` of `meta.train`.
    """
    path, found = Path(folder) / "metrics.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _bar(done: int, total: int):
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("generation"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    return bar, bar.add_task("generation", total=total, completed=done, status="")


def _tensorboard(folder: Path | None):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError("`tensorboard` needs the extra `tb`: pip install 'symla[tb]'.") from error
    return SummaryWriter(str(folder))


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question that the loop asks between two chunks.

    A second signal acts at once, as usual. Outside the main thread, where Python allows no
    handlers, signals keep their effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    caught, before = [], {}

    def handler(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handler)
    try:
        yield lambda: bool(caught)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
