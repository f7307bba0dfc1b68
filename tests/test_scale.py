"""Devices, memory, and what a command runs on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical, on_devices
from toys import STRATEGY, VECTOR, Oracles, train

import meta
from experiments import _scale
from experiments._hosts import Hosts, parse_hosts
from experiments.cli import main
from meta import Portion, _compile, _generation, _program

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ROOT = Path(__file__).parent.parent
KINDS = ("population", "pair", "none")

# Four devices

FOUR = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
import meta, toys
from meta import _generation

MOVES = r"= (.*?) (all-reduce|all-gather|all-to-all|collective-\\w+|reduce-scatter)(?:-start)?\\("

def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)

def moved(text):
    sizes = []
    for line in text.splitlines():
        if found := re.search(MOVES, line):
            shapes = re.findall(r"\\w+\\[([\\d,]*)\\]", found[1])
            sizes.append(sum(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes))
    return sizes

result = {"devices": len(jax.devices())}
for kind in ("population", "pair", "none"):
    strategy = meta.EvolutionStrategy(16, 0.2, common_random_numbers=kind)
    learner, ends = toys.Vector(1000, key=toys.KEY), []
    for count in (1, 4):
        program = _generation.Generations(
            learner, toys.Oracles(), strategy, steps=2, lives=3, key=toys.KEY,
            fitness=toys.closeness, devices=jax.devices()[:count],
        )
        portion = program.portions()[-1]
        begin = meta.TrainState(jax.numpy.asarray(0), strategy.init(learner, key=toys.KEY))
        state = program.place(begin)
        compiled = program.compile(state, 3, portion)
        ends.append(compiled.run(state))
        result[kind + " portions"] = [*result.get(kind + " portions", []), portion]
    close(*ends)
    text = compiled.text()
    result[kind + " moves"] = moved(text)
    result[kind + " noise"] = sorted({int(n) for n in re.findall(r"u32\\[(\\d+),1000\\]", text)})
half = lambda state, *_: int(state.generation) >= 3
toys.train(out="run", devices=jax.devices()[1:3], callback=half)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def four(tmp_path_factory, cheap_compilation):
    """What a process with four devices found, and its folder with a training half done."""
    folder = tmp_path_factory.mktemp("four")
    return on_devices(FOUR, 4, folder), folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_four_devices_do_what_one_does(four, kind):
    found, _ = four
    assert found["devices"] == 4
    assert found[f"{kind} portions"] == [[16, 3], [4, 3]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_devices_exchange_fitness_and_gradient_and_nothing_else(four, kind):
    # 16 members of 1000 parameters: moving them, or their noise, would be 16000 numbers.
    found, _ = four
    assert max(found[f"{kind} moves"]) == 1000 and 16 in found[f"{kind} moves"]
    assert sum(found[f"{kind} moves"]) <= 2 * (1000 + 16)
    # Each device draws the noise of its own two pairs.
    assert found[f"{kind} noise"] == [2]


@pytest.mark.slow
def test_a_training_on_four_devices_goes_on_with_one(four):
    _, folder = four
    result, whole = train(out=folder / "run"), train()
    assert [row["generation"] for row in result.history] == [4, 5, 6, 7]
    for ours, expected in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(whole.state), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("population", "antithetic", "devices", "message"),
    [
        (64, True, 3, r"64 cannot .* in whole pairs among 3 devices; take 2 .* population of 66"),
        (6, True, 2, "6 cannot .* among 2 devices; take 1 of them, or a population of 8"),
        (6, False, 4, "6 cannot be shared out evenly among 4 devices; take 3 .* population of 8"),
    ],
)
def test_a_population_that_does_not_divide(population, antithetic, devices, message):
    strategy = meta.EvolutionStrategy(
        population, antithetic=antithetic, common_random_numbers="population"
    )
    with pytest.raises(ValueError, match=message):
        _generation._check_shares(strategy, devices)
    _generation._check_shares(strategy, 1)


# Memory


@pytest.mark.parametrize("groups", [1, 6, 12])
@pytest.mark.parametrize("portion", [(12, 2), (6, 8), (2, 8), (1, 8), (1, 2), (12, 8)])
def test_portions_make_a_whole(groups, portion):
    members = {"x": jnp.arange(12.0) ** 2}
    keys = jr.split(jr.key(0), (groups, 8))

    def score(member, keys):
        return jax.vmap(lambda key: member["x"] * jr.uniform(key))(keys).sum()

    found = _generation.score_by_portion(score, members, keys, portion=Portion(*portion))
    group = np.arange(12) * groups // 12
    uniform = np.asarray(jax.vmap(jax.vmap(jr.uniform))(keys), np.float64)
    expected = np.arange(12.0) ** 2 * uniform.sum(1)[group]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_less_memory_gives_smaller_portions_and_the_same_result():
    options: dict = dict(strategy=meta.EvolutionStrategy(4, 0.2), lives=256, generations=2)
    whole = train(**options)
    assert whole.portion == (4, 256) and whole.devices == 1
    assert whole.memory is not None
    result = train(**options, memory=whole.memory - 1)
    assert result.memory is not None and 0 < result.memory < whole.memory
    assert result.portion is not None and np.prod(result.portion) < 4 * 256
    for ours, expected in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(whole.state), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def program(shared: meta.CommonRandomNumbers = "pair"):
    """A program of generations, to be looked at."""
    return _generation.Generations(
        VECTOR,
        Oracles(),
        meta.EvolutionStrategy(12, common_random_numbers=shared),
        steps=2,
        lives=4,
        key=jr.key(0),
        fitness=meta.total_reward,
        devices=jax.devices()[:1],
    )


def test_pairs_are_not_taken_apart_but_into_members():
    few = [(1, 1), (1, 2), (1, 4)]
    assert program().portions() == [*few, (2, 4), (4, 4), (6, 4), (12, 4)]
    members = [(n, 4) for n in (2, 3, 4, 6, 12)]
    assert program(shared="population").portions() == [*few, *members]


def test_the_largest_portion_that_fits_is_found(monkeypatch):
    # As if a program needed 100 bytes, and 10 for each life.
    def compiled(self, state, length, portion):
        asked.append(portion)
        needed = 100 + 10 * portion.members * portion.lives
        return _program.Compiled(lambda state: (state, {}), needed, lambda: "")

    asked, state = [], meta.TrainState(jnp.asarray(0), STRATEGY.init(VECTOR, key=jr.key(0)))
    monkeypatch.setattr(_generation.Generations, "compile", compiled)
    for memory, portion in {580: 12, 579: 6, 340: 6, 339: 4, 180: 2, 179: 1, 140: 1}.items():
        assert program().fit(state, 1, memory)[0] == (portion, 4)
    assert program().fit(state, 1, 139)[0] == (1, 2)
    assert program().fit(state, 1, 110)[0] == (1, 1)
    asked.clear()
    assert program().fit(state, 1, None)[0] == (12, 4) and asked == [(12, 4)]
    message = "`memory` of 109 bytes is too little: one life of one member at a time needs 110 by"
    with pytest.raises(ValueError, match=message):
        program().fit(state, 1, 109)
    with pytest.raises(ValueError, match="`memory` must be at least 1, got 0"):
        train(memory=0)


def test_memory_is_no_part_of_what_a_training_is(tmp_path):
    train(out=tmp_path, generations=1, chunk=1, memory=10**9)
    assert train(out=tmp_path, generations=2, chunk=1).finished


# The compiler


def test_options_of_the_compiler_are_for_the_cpu_only(monkeypatch):
    known = meta.compiler_options("cpu")
    assert known == meta.compiler_options("cpu") and set(known) <= set(_compile._CPU)
    assert meta.compiler_options("gpu") == {} == meta.compiler_options("tpu")
    monkeypatch.setitem(_compile._CPU, "xla_cpu_no_such_option", True)
    assert meta.compiler_options("cpu") == known


# The command line


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("8 gb", 8 * 10**9),
        ("8GiB", 8 * 2**30),
        ("1.5M", 1_500_000),
        ("500MiB", 500 * 2**20),
        ("2TB", 2 * 10**12),
        ("64k", 64_000),
        ("123", 123),
        ("123B", 123),
    ],
)
def test_sizes_of_memory(text, size):
    assert _scale.parse_memory(text) == size
    assert _scale.parse_memory(None) is None


def test_sizes_are_shown_with_their_unit():
    assert [_scale.show_bytes(n) for n in (999, 1500, 2_340_000, 8 * 10**9)] == [
        "999 bytes",
        "1.5 kB",
        "2.34 MB",
        "8 GB",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--memory 8XB", "`--memory` is a size such as 8GB or 500MiB; got '8XB'."),
        ("--memory 0", "`--memory` is a size"),
        ("--memory -1GB", "`--memory` is a size"),
        ("--devices 0", "`--devices` is all, or a number of at least 1; got '0'."),
        ("--devices some", "`--devices` is all, or a number"),
        ("--process 0", "belong together"),
        ("--coordinator a:1 --processes 2", "belong together"),
        ("--coordinator a --processes 2 --process 0", "is HOST:PORT of process 0"),
        ("--coordinator a:b --processes 2 --process 0", "is HOST:PORT of process 0"),
        ("--coordinator a:70000 --processes 2 --process 0", "is HOST:PORT of process 0"),
        ("--coordinator a:1 --processes 2 --process 2", "`--process` must be from 0 to 1"),
        ("--coordinator a:1 --processes 2 --process -1", "`--process` must be from 0 to 1"),
        ("--coordinator a:1 --processes 0 --process 0", "`--processes` must be at least 1"),
    ],
)
def test_mistakes_are_one_plain_line_before_anything_starts(line, message, capsys, monkeypatch):
    monkeypatch.setattr("experiments._train._train", lambda *_: pytest.fail("it began"))
    words = line.replace(" -1", "=-1").split()
    with pytest.raises(SystemExit) as ended:
        main(["train", *words, "--json"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and message in said.err


def test_hosts_are_read():
    assert parse_hosts("node:123", 4, 3) == Hosts("node:123", 4, 3)
    assert parse_hosts("[::1]:123", 1, 0) == Hosts("[::1]:123", 1, 0)
    assert parse_hosts(None, None, None) is None


def pretend(monkeypatch, here, processes=1):
    class Device:
        platform = "cpu"

        def __init__(self, process):
            self.process_index = process

    everything = [Device(p) for p in range(processes) for _ in range(here)]
    monkeypatch.setattr(jax, "devices", lambda: everything)
    monkeypatch.setattr(jax, "local_device_count", lambda: here)
    monkeypatch.setattr(jax, "process_count", lambda: processes)


@pytest.mark.parametrize(
    ("here", "processes", "parts", "taken"),
    [(1, 1, 32, 1), (4, 1, 32, 4), (6, 1, 32, 4), (7, 1, 1, 1), (3, 2, 12, 3), (4, 2, 12, 3)],
)
def test_all_devices_are_those_that_share_evenly(monkeypatch, here, processes, parts, taken):
    pretend(monkeypatch, here, processes)
    devices, note = _scale.choose_devices(None, parts, "lives")
    each = [sum(d.process_index == p for d in devices) for p in range(processes)]
    assert each == [taken] * processes
    assert (note is None) == (taken == here)
    assert note is None or f"Using {taken} of {here} devices: {parts} lives cannot" in note


def test_a_number_of_devices_is_what_was_asked_for(monkeypatch):
    pretend(monkeypatch, 4, 2)
    assert len(_scale.choose_devices(3, 32)[0]) == 6
    with pytest.raises(ValueError, match="`--devices` asks for 5, but JAX has only 4 here .cpu."):
        _scale.choose_devices(5, 32)


def cores(code: str, **variables: str) -> int:
    code = f"from experiments import _scale; {code}; import jax; print(len(jax.devices('cpu')))"
    env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**env, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_one_device_for_each_core_unless_somebody_chose():
    pin = "import os; os.sched_getaffinity = lambda _: {0, 3, 7}"
    if not hasattr(os, "sched_getaffinity"):
        pin = "import os; os.cpu_count = lambda: 3"
    assert cores(f"{pin}; _scale.use_all_cores()") == 3
    flag = "--xla_force_host_platform_device_count=2"
    assert cores(f"{pin}; _scale.use_all_cores()", XLA_FLAGS=flag) == 2
    late = "import jax; jax.devices()"
    assert cores(f"{pin}; {late}; _scale.use_all_cores()") == 1


# The cache of compiled programs


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As if JAX had not been imported, in a home of its own."""
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that whatever is set below is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def kept() -> str | None:
    return os.environ.get("JAX_COMPILATION_CACHE_DIR")


def test_programs_are_kept_in_the_cache_of_the_user(fresh, monkeypatch):
    main(["list", "presets", "--json", "--no-compile-cache"])
    assert kept() is None and not (fresh / "home").exists()
    main(["list", "presets", "--json"])
    assert kept() == str(fresh / "home/.cache/symla/jax") and Path(kept() or "").is_dir()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "xdg"))
    _scale.keep_compiled_programs()
    assert kept() == str(fresh / "xdg/symla/jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    _scale.keep_compiled_programs()
    assert kept() == "mine"


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("darwin", "home/Library/Caches/symla/jax"), ("win32", "home/AppData/Local/symla/Cache/jax")],
)
def test_other_systems_have_other_folders(fresh, monkeypatch, platform, folder):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert _scale.cache_folder() == fresh / folder
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert _scale.cache_folder() == fresh / "home/.cache/symla/jax"


def test_a_folder_that_cannot_be_written_stops_nothing(fresh, monkeypatch, capsys):
    (fresh / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    main(["list", "presets", "--json"])
    said = capsys.readouterr()
    assert kept() is None and json.loads(said.out)
    assert said.err.startswith("symla: compiled programs are not kept: ")
    assert said.err.count("\n") == 1


def test_once_jax_is_there_it_is_left_alone(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    _scale.keep_compiled_programs()
    assert kept() is None


def test_the_state_is_free_of_devices():
    result = train(strategy=STRATEGY, generations=1)
    again = train(strategy=STRATEGY, generations=1)
    assert_trees_identical(result.state, again.state)
    for leaf in jax.tree.leaves((result.state, result.learner)):
        assert not leaf.committed
