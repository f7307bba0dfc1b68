import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import rl
from benchmarks import floor, growth, machine, plots, same, suite
from benchmarks.cases import CASES, PRESETS, Case, small
from benchmarks.programs import Program
from benchmarks.waves import waves
from experiments._names import BENCH_CASES, BENCH_PRESETS
from experiments.cli import main

pytestmark = pytest.mark.usefixtures("cheap_compilation")
TINY = dataclasses.replace(small(PRESETS["laptop"]["control"]), steps=3)
RATES = {"operations_per_second": 1e9, "bytes_per_second": 1e9}
AGENT_OF = same.agent_of


@pytest.mark.parametrize(
    "name",
    ["control", *(pytest.param(n, marks=pytest.mark.slow) for n in ("bandit", "image", "wide"))],
)
def test_ours_and_the_rival_compute_the_same_numbers(name):
    found = same.compare(small(PRESETS["laptop"][name]), key=jr.key(1))
    assert found.same, found
    assert found.decisions == 4 * 2 * 12


def swapped_gates(learner: rl.SymLA):
    agent = AGENT_OF(learner)
    rows = jnp.roll(jnp.arange(4 * learner.hidden_size), learner.hidden_size)
    return eqx.tree_at(lambda a: a.cell.weight_hh, agent, agent.cell.weight_hh[rows])


@pytest.mark.slow
def test_a_rival_that_does_something_else_is_found_out(monkeypatch):
    monkeypatch.setattr(same, "agent_of", swapped_gates)
    case = dataclasses.replace(small(PRESETS["laptop"]["bandit"]), hidden_size=8)
    found = same.compare(case, key=jr.key(1))
    assert not found.same
    monkeypatch.setattr(suite, "compare", lambda *_, **__: found)
    with pytest.raises(ValueError, match="At bandit, ours and the rival differ"):
        suite.run("laptop", ["bandit"], 1, lambda _: None)


@pytest.mark.parametrize("error", ["different_actions", "reward_error", "mean_error"])
def test_one_difference_is_enough(error):
    equal = same.Comparison(10, 0, 1e-6, 1e-6)
    assert equal.same
    assert not dataclasses.replace(equal, **{error: 1}).same
    assert not dataclasses.replace(equal, **{error: float("nan")}).same


def test_the_command_line_knows_the_cases_and_presets():
    assert BENCH_CASES == CASES
    assert BENCH_PRESETS == tuple(PRESETS)
    assert all(tuple(cases) == CASES for cases in PRESETS.values())


@pytest.mark.parametrize("case", PRESETS["laptop"].values(), ids=lambda case: case.name)
def test_the_sizes_are_those_of_the_tasks(case):
    spaces = case.tasks.spaces
    assert (spaces.observation_size, spaces.num_actions) == (case.inputs, case.outputs)
    assert case.sizes()["layers"] == 1


def test_waves_pay_for_what_was_seen_and_end_after_ten_steps():
    task = waves(3, 5).sample(key=jr.key(0))
    record = ("rewards", "actions", "observations", "truncated")
    life = rl.lifetime(rl.classic.RandomPlayer(), task, steps=25, key=jr.key(2), record=record)
    seen, actions = np.asarray(life.observations), np.asarray(life.actions)
    assert len(set(actions.tolist())) == 5
    np.testing.assert_allclose(
        np.asarray(life.rewards), seen[np.arange(25), actions % 3], rtol=1e-6
    )
    assert np.flatnonzero(np.asarray(life.truncated)).tolist() == [9, 19]
    assert len(np.unique(seen[[0, 10, 20]], axis=0)) == 3  # every episode has its own phase


def test_the_floor_counts_what_must_be_computed():
    case = PRESETS["laptop"]["control"]
    cells, projections, heads = 4 * 2 * 16 * 64, (4 * 9 + 2 * 9 + 1) * 64, 16 * 8 * (4 + 2)
    operations = 2 * 2 * (cells + projections + heads)
    assert floor.operations_per_step(case, case.learner) == operations
    moved = 2 * 2 * (2 * 4 * 2 * 16) * 4
    assert floor.bytes_per_step(case, case.learner) == moved
    steps = 64 * 16 * 100
    assert floor.floor_seconds(case, RATES) == pytest.approx(steps * operations / 1e9)
    slow_memory = {**RATES, "bytes_per_second": 1e6}
    assert floor.floor_seconds(case, slow_memory) == pytest.approx(steps * moved / 1e6)


def test_layers_add_up_in_the_floor():
    case = dataclasses.replace(PRESETS["laptop"]["image"], inputs=8, outputs=8, hidden_sizes=(8,))
    single = dataclasses.replace(case, hidden_sizes=())
    assert floor.bytes_per_step(case, case.learner) == 2 * floor.bytes_per_step(
        single, single.learner
    )


def test_programs_take_turns_in_both_orders():
    ran = []
    timed = {name: Program(lambda name=name: ran.append(name), 1, 0.0, 0) for name in "abc"}
    seconds = suite.in_turns(timed, 3)
    assert "".join(ran) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize(("members", "available", "used"), [(64, 4, 4), (12, 4, 3), (2, 8, 1)])
def test_pairs_are_shared_out_evenly(members, available, used):
    case = dataclasses.replace(TINY, members=members)
    assert len(suite.shares(case, jax.devices() * available)) == used


def test_the_rates_are_those_of_this_machine(monkeypatch):
    monkeypatch.setattr(machine, "_SECONDS", 1e-3)
    monkeypatch.setattr(machine, "_REPEATS", 1)
    monkeypatch.setattr(machine, "SHAPES", [(1, 64)])
    monkeypatch.setattr(machine, "LENGTHS", [2**14])
    found = machine.rates()
    assert all(1e7 < rate < 1e16 for rate in found.values())


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS["laptop"], "control", TINY)
    monkeypatch.setattr(suite, "compare", lambda *_, **__: same.Comparison(1, 0, 0.0, 0.0))
    monkeypatch.setattr(machine, "rates", lambda: RATES)
    # The rival is written for the promotion rules that JAX has by default.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
def test_bench_prints_one_object_that_can_be_drawn(tiny, tmp_path, capsys):
    out = tmp_path / "there" / "bench.json"
    main(["bench", "--cases", "control", "--rounds", "2", "--json", "--out", str(out)])
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert "comparing the numbers" in printed.err
    assert json.loads(out.read_text()) == result
    (case,) = result["cases"]
    assert case["name"] == "control"
    assert case["sizes"] == {**TINY.sizes()}
    assert 0 < case["ratio_low"] <= case["ratio"] <= case["ratio_high"]
    assert case["steps_per_second"] > 0 and case["compile_seconds"] > 0
    assert case["floor_fraction"] == pytest.approx(
        case["steps_per_second"] / case["floor_steps_per_second"], rel=1e-2
    )
    assert {row["what"] for row in result["others"]} == {
        "symla lives",
        "metarnn lives",
        "metarnn generations",
    }
    assert plots.draw(out) == [out.parent / "cases.png"]
    assert (out.parent / "cases.png").stat().st_size > 5000
    from experiments import _bench

    _bench.show_bench(result)
    assert f"{case['ratio']:.2f}" in capsys.readouterr().out


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tiny, tmp_path, monkeypatch, capsys):
    sweep = growth.Sweep("lives", (1, 2), lambda n: dataclasses.replace(TINY, lives=n))
    monkeypatch.setattr(growth, "SWEEPS", {"lives": sweep})
    out = tmp_path / "growth.json"
    main(["bench", "--growth", "--rounds", "1", "--out", str(out)])
    assert "Growth with lives" in capsys.readouterr().out
    (found,) = json.loads(out.read_text())["growth"]
    assert found["sizes"] == [1, 2]
    assert found["peak_bytes"][0] < found["peak_bytes"][1]
    assert "lives" not in found["fixed"]
    assert plots.draw(out) == [tmp_path / "growth-lives.png"]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_a_slope_is_the_exponent_of_the_largest_sizes(exponent):
    sizes = [1, 2, 4, 8, 16]
    values = [100.0, 100.0, *(3.0 * n**exponent for n in sizes[2:])]
    assert growth.slope(sizes, values) == pytest.approx(exponent, abs=1e-9)


@pytest.mark.parametrize("name", growth.SWEEPS)
def test_a_sweep_grows_what_it_says(name):
    sweep = growth.SWEEPS[name]
    field = {"cells": None}.get(name, name)
    for size in sweep.sizes:
        sizes = sweep.case(size).sizes()
        grown = sizes["inputs"] * sizes["outputs"] if field is None else sizes[field]
        assert grown == size


def test_only_results_can_be_drawn(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="neither cases nor growth"):
        plots.draw(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--preset gpus", "Did you mean 'gpu'?"),
        ("--cases control,imag", "Did you mean 'image'?"),
        ("--rounds 0", "`--rounds` must be at least 1, got 0"),
        ("--growth --cases wide", "leave out `--preset` and `--cases`"),
    ],
)
def test_mistakes_are_plain(line, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *line.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_case_is_the_same_work_for_both():
    case = Case("wide", 3, 2, 4, members=4, lives=2, steps=5)
    search = same.search_of(case)
    assert (search.lives, search.steps, search.es.population_size) == (2, 5, 4)
    arrays = jax.tree.leaves(eqx.filter(case.learner, eqx.is_inexact_array))
    assert search.es.num_dims == sum(a.size for a in arrays)
