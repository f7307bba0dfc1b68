"""Meta-training can be stopped anywhere, and goes on with nothing but itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.random as jr
import optax
import pytest
from compilation import OPTIMISED
from helpers import assert_trees_identical, logged, make
from toys import GENERATIONS, KEY, STRATEGY, VECTOR, Oracles, Vector, train

import meta
import rl
from meta import ArchiveError, EvolutionStrategy, _archive, _compile
from rl.envs import BernoulliBandits

# Most of the time here is spent in the compiler.
pytestmark = pytest.mark.usefixtures("cheap_compilation")


def until(generation):
    return lambda state, learner, row: int(state.generation) >= generation


def timeless(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "steps_per_second")} for r in rows]


def assert_same_training(result, folder, whole):
    """The same bits of everything, and every generation once in the metrics."""
    assert result.finished and int(result.state.generation) == GENERATIONS
    assert_trees_identical(result.state, whole.state)
    assert_trees_identical(result.learner, whole.learner)
    assert timeless(logged(folder)) == timeless(whole.history)
    saved = meta.load(folder / "learner.symla", whole.learner)
    assert_trees_identical(saved, whole.learner)


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted training."""
    return train(chunk=GENERATIONS)


# Stop and go


@pytest.mark.parametrize(
    ("stops", "chunks"), [((1, 3, 6), (1, 2, 3, 3)), ((2,), (2, 3)), ((3, 4), (3, 1, 10))]
)
def test_a_training_that_was_stopped_equals_one_that_was_not(tmp_path, whole, stops, chunks):
    for stop, chunk in zip(stops, chunks, strict=False):
        result = train(out=tmp_path, chunk=chunk, callback=until(stop))
        assert not result.finished and int(result.state.generation) == stop
        assert result.history[-1]["generation"] == stop
    result = train(out=tmp_path, chunk=chunks[-1])
    assert [row["generation"] for row in result.history] == list(range(stops[-1] + 1, 8))
    assert_same_training(result, tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "learner", [make(rl.MetaRNN, 1, 2, 3), make(rl.SymLA, 4, 2, 2)], ids=["MetaRNN", "SymLA"]
)
def test_so_does_one_of_a_learner_that_learns_with_all_optimisations(
    tmp_path, learner, monkeypatch
):
    for option in OPTIMISED.items():
        monkeypatch.setitem(_compile._CPU, *option)
    if jax.default_backend() == "cpu":
        assert set(OPTIMISED) <= set(meta.compiler_options())
    tasks, strategy = BernoulliBandits(2), EvolutionStrategy(4, 0.1)
    options: dict = dict(steps=3, lives=2, generations=2, key=KEY)
    whole = meta.train(learner, tasks, strategy, **options)
    options |= dict(out=tmp_path, chunk=1)
    meta.train(learner, tasks, strategy, **options, callback=until(1))
    result = meta.train(learner, tasks, strategy, **options)
    assert result.finished and len(result.history) == 1
    assert_trees_identical(result.state, whole.state)
    assert_trees_identical(meta.load(tmp_path / "learner.symla"), whole.learner)
    assert timeless(logged(tmp_path)) == timeless(whole.history)


def test_all_of_the_state_is_needed(tmp_path, whole):
    # The check above does notice what is missing: here, the moments of the optimiser.
    train(out=tmp_path, callback=until(3))
    path = tmp_path / "checkpoint.symla"
    header, arrays = _archive.read(path)
    mean = max(i for i, a in enumerate(arrays) if a.shape == (3,) and (a >= 0).all())
    _archive.write(path, header, [0 * a if i == mean else a for i, a in enumerate(arrays)])
    result = train(out=tmp_path)
    with pytest.raises(AssertionError):
        assert_same_training(result, tmp_path, whole)


def test_a_finished_training_is_not_repeated(tmp_path, whole):
    train(out=tmp_path, chunk=GENERATIONS)
    again = train(out=tmp_path, callback=lambda *_: pytest.fail("it went on"))
    assert again.history == [] and again.compile_seconds == 0.0
    assert_same_training(again, tmp_path, whole)
    longer = train(out=tmp_path, generations=GENERATIONS + 2)
    assert [row["generation"] for row in longer.history] == [8, 9]
    assert [row["generation"] for row in logged(tmp_path)] == list(range(1, 10))
    with pytest.raises(ValueError, match="already holds 9 generations, more than the 7"):
        train(out=tmp_path)


def test_what_a_killed_run_leaves_behind(tmp_path, whole):
    # Killed after the metrics of a chunk were written, before its checkpoint, within a line.
    train(out=tmp_path, callback=until(3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"generation": 4, "fitness_mean": 99.0}) + '\n{"generation": 5, "fi')
    (tmp_path / ".checkpoint.symla.abc123").write_bytes(_archive.MAGIC + b'{"kind": "ch')
    assert_same_training(train(out=tmp_path), tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_after_the_chunk(tmp_path, whole, number):
    before = signal.getsignal(number)

    def callback(state, learner, row):
        if int(state.generation) == 2:
            os.kill(os.getpid(), number)

    result = train(out=tmp_path, chunk=1, callback=callback)
    assert not result.finished and int(result.state.generation) == 2
    assert signal.getsignal(number) == before
    assert_same_training(train(out=tmp_path), tmp_path, whole)


def test_an_impatient_second_signal(tmp_path, whole):
    def callback(state, learner, row):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, chunk=2, callback=callback)
    assert signal.getsignal(signal.SIGINT) == before
    assert_same_training(train(out=tmp_path), tmp_path, whole)


def test_an_error_in_the_callback_loses_nothing(tmp_path, whole):
    def callback(state, learner, row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(out=tmp_path, chunk=2, callback=callback)
    assert_same_training(train(out=tmp_path), tmp_path, whole)


CHILD = """
import json, sys, time
folder, tests, settings = sys.argv[1:]
import jax
for name, value in json.loads(settings).items():
    jax.config.update(name, value)
sys.path.insert(0, tests)
import toys
result = toys.train(out=folder, chunk=1, callback=lambda *_: time.sleep(0.2))
print("finished", result.finished)
"""


def started(folder, settings):
    """A process that trains, when it has done a generation or two."""
    tests = Path(__file__).parent
    settings = json.dumps({**settings, "jax_default_matmul_precision": "highest"})
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(tests), settings],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tests.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 240
    have = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    while not metrics.exists() or len(metrics.read_text().splitlines()) < have + 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_processes_that_are_killed_and_terminated(tmp_path, whole, cheap_compilation):
    process = started(tmp_path, cheap_compilation)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = meta.read_header(tmp_path / "checkpoint.symla")["generation"]
    assert 1 <= done < GENERATIONS and not (tmp_path / "learner.symla").exists()
    process = started(tmp_path, cheap_compilation)
    process.terminate()
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "finished False\n"), errors
    assert done < meta.read_header(tmp_path / "checkpoint.symla")["generation"] < GENERATIONS
    assert meta.load(tmp_path / "learner.symla", VECTOR) is not None
    assert_same_training(train(out=tmp_path), tmp_path, whole)


# Other trainings in the folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    train(out=folder, chunk=1, callback=until(1))
    return folder


RATE = optax.exponential_decay(0.05, 3, 0.8)  # that of `STRATEGY`


def strategy(**changes):
    names = ("population", "std", "optimizer", "shaping", "antithetic", "common_random_numbers")
    return EvolutionStrategy(**{**{n: getattr(STRATEGY, n) for n in names}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "steps: 2 there, 3 now"),
        ({"lives": 4}, "lives: 3 there, 4 now"),
        ({"key": jr.key(6)}, r"key: \[0, 5\] there, \[0, 6\] now"),
        ({"learner": make(Vector, seed=1)}, "initial: "),
        ({"learner": make(Vector, 4)}, "'size': 3.* there, .*'size': 4"),
        ({"learner": make(Vector, 3, "other")}, "'plain'.* there, .*'other'"),
        ({"tasks": Oracles(2.0)}, r"tasks: Oracles\(\) there, Oracles\(scale=2.0\) now"),
        ({"fitness": meta.total_reward}, "fitness: closeness there, total_reward now"),
        ({"strategy": strategy(population=6)}, "'population': 4.* there, .*'population': 6"),
        ({"strategy": strategy(shaping="zscore")}, "'shaping': 'rank'.* there, .*'zscore'"),
        ({"strategy": strategy(common_random_numbers="none")}, "strategy: .*'pair'.*'none'"),
        (
            {"strategy": strategy(antithetic=False, common_random_numbers="none")},
            "strategy: .*'antithetic': True.* there, .*'antithetic': False",
        ),
        ({"strategy": strategy(std=0.3)}, r"std: \[0.3\S*, .*\] there, \[0.3, 0.3.*\] now"),
        ({"strategy": strategy(optimizer=optax.adam(0.02))}, r"optimizer: \[.*\] there"),
        ({"strategy": strategy(optimizer=optax.sgd(0.05))}, r"optimizer: \[.*\] there"),
        ({"strategy": strategy(optimizer=optax.adam(RATE, b1=0.8))}, r"optimizer: \[.*\] there"),
        ({"strategy": strategy(optimizer=optax.adam(RATE, b2=0.99))}, r"optimizer: \[.*\] there"),
        ({"strategy": strategy(optimizer=optax.adamw(RATE))}, r"optimizer: \[.*\] there"),
    ],
)
def test_another_training_is_refused_and_the_difference_named(begun, changes, message):
    before = {p.name: p.read_bytes() for p in begun.iterdir()}
    with pytest.raises(ValueError, match=f"holds another training .*{message}.*Choose another"):
        train(out=begun, **changes)
    assert {p.name: p.read_bytes() for p in begun.iterdir()} == before


def test_a_damaged_checkpoint_is_refused(begun, tmp_path):
    path = tmp_path / "checkpoint.symla"
    whole_file = (begun / "checkpoint.symla").read_bytes()
    path.write_bytes(whole_file[:-3])
    with pytest.raises(ArchiveError, match="cut off"):
        train(out=tmp_path)
    path.write_bytes((begun / "learner.symla").read_bytes())
    with pytest.raises(ArchiveError, match="is not a checkpoint but a 'learner'"):
        train(out=tmp_path)
    header, arrays = _archive.read(begun / "checkpoint.symla")
    _archive.write(path, header, arrays[:-1])
    with pytest.raises(ArchiveError, match="arrays where"):
        train(out=tmp_path)
