"""The studies behind figures 5 to 7: small runs from end to end, and claims that can fail."""

import csv
import json
from importlib import import_module

import numpy as np
import pytest

import meta
import rl
from experiments import _curricula, _life_figure, _life_study
from experiments._life_study import Outcome

pytestmark = pytest.mark.usefixtures("cheap_compilation")
FIGURES = ("figure_5", "figure_6", "figure_7")
PARTS, STEPS = 10, 10


@pytest.fixture
def small(monkeypatch):
    """The smallest budget there is."""

    def warm_up(preset):
        lesson = meta.Lesson(rl.envs.ContextualBandits(2), steps=3, lives=1)
        return meta.Curriculum([meta.Stage(lesson, 1, meta.EvolutionStrategy(2, 0.1))])

    monkeypatch.setattr(_curricula, "warm_up", warm_up)
    for name, value in {"MEMBERS": 2, "LIVES": 1}.items():
        monkeypatch.setattr(_curricula, name, {"laptop": value})
    once = {name: {"laptop": 1} for name in _curricula._GENERATIONS}
    monkeypatch.setattr(_curricula, "_GENERATIONS", once)
    monkeypatch.setattr(_curricula, "STEPS", STEPS)
    for module in (_life_study, _life_figure):
        monkeypatch.setattr(module, "PARTS", PARTS)
    monkeypatch.setattr(import_module("experiments.figure_5"), "TASKS", {"cartpole": "CartPole"})
    monkeypatch.setattr(_life_figure, "SEEDS", 2)
    monkeypatch.setattr(_life_figure, "LIVES", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_study_ends_with_json_csv_a_picture_and_claims(name, small, tmp_path, monkeypatch):
    module = import_module(f"experiments.{name}")
    result = module.reproduce("laptop", seed=3, out=tmp_path)
    written = json.loads((tmp_path / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["seeds"] == [3, 4] and written["lives"] == 3
    for told in written["lives_of"].values():
        assert told["total_reward"]["seeds"] == 2 and told["total_reward"]["lives"] == 3
        assert len(told["courses"]["reward"]["mean"]) == PARTS
    assert all(set(c) == {"claim", "measured", "criterion", "holds"} for c in written["claims"])
    with (tmp_path / "laptop.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(written["lives_of"])
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")

    # Again: nothing is trained anew, and the same comes out.
    def never(*args, **kwargs):
        raise AssertionError("a finished training was begun again")

    monkeypatch.setattr("meta.EvolutionStrategy.tell", never)
    again = module.reproduce("laptop", seed=3, out=tmp_path)
    assert again["lives_of"] == result["lives_of"]


@pytest.mark.slow
def test_the_ablation_of_outer_loops_tells_what_each_costs(small, tmp_path, monkeypatch):
    module = import_module("experiments.outer_loops")
    monkeypatch.setattr(module, "_STEPS", {"laptop": 50_000})
    monkeypatch.setattr(module, "_SEEDS", {"laptop": 1})
    result = module.reproduce("laptop", seed=3, out=tmp_path)
    assert json.loads((tmp_path / "laptop.json").read_text()) == json.loads(json.dumps(result))
    costs = result["environment_steps"]
    assert set(costs) == {module.ROOT, *module.LOOPS} == set(result["training_seconds"])
    for name in ("evolution", "from-scratch", "short-lives-first", "persistent"):
        assert costs[name] == pytest.approx(50_000, rel=0.1)
    assert costs["actor-critic"] == pytest.approx(5_000, rel=0.5)
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")


def test_the_claims_on_outer_loops_hold_and_fail():
    module = import_module("experiments.outer_loops")
    good = {(name, module.PROBE): (line(0.0, 1.0), 0.01) for name in module.LOOPS}
    good["evolution", module.PROBE] = (line(0.0, 1.0), 0.0)
    assert [c["holds"] for c in module.claims(outcome_of(good))] == [True, True]
    bad = dict(good)
    bad["from-scratch", module.PROBE] = bad["persistent", module.PROBE] = (line(0.0, 1.0), 0.0)
    bad["evolution", module.PROBE] = (line(0.0, 1.0), 0.01)
    assert [c["holds"] for c in module.claims(outcome_of(bad))] == [False, False]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("preset", ("laptop", "gpu", "paper"))
def test_every_preset_has_rows_and_probes_that_fit(name, preset):
    module = import_module(f"experiments.{name}")
    families = tuple(module.TASKS) if name == "figure_5" else (module.FAMILY,)
    rows = {row.name: row for row in _life_study.contenders(families, preset)}
    probes = module.probes(preset)
    assert set(probes) <= set(rows)
    for row in rows.values():
        assert row.after is None or row.after in rows
        json.dumps(_life_study.describe(row.curriculum))
    for family in families:
        for learner in module.LEARNERS:
            assert len(probes[f"{learner}-{family}"]) == 2


def outcome_of(courses: dict, steps: int = 100) -> Outcome:
    """An outcome with the courses given: (row, probe) -> mean reward by part, and falls."""
    rng = np.random.default_rng(0)
    found = {}
    for pair, (reward, falls) in courses.items():
        noise = rng.normal(0, 0.01, (3, 20, _life_study.PARTS))
        reward = np.broadcast_to(np.asarray(reward, float), noise.shape) + noise
        falls = np.broadcast_to(np.asarray(falls, float), noise.shape)
        found[pair] = {"reward": reward, "falls": falls}
    return Outcome(found, {probe: steps for _, probe in courses}, {}, 0.0)


def line(start: float, end: float):
    return np.linspace(start, end, _life_study.PARTS)


def test_an_outcome_counts_what_happened_in_parts_of_lives():
    parts = _life_study.PARTS
    falls = np.zeros((1, 2, parts))
    falls[0, 0, 0] = falls[0, 1, -1] = 1.0  # every step of a part of 2 steps is a fall
    outcome = Outcome(
        {("a", "b"): {"reward": np.broadcast_to(line(0.0, 1.0), (1, 2, parts)), "falls": falls}},
        {"b": 2 * parts},
        {},
        0.0,
    )
    assert outcome.without("a", "b", "falls") == 0.5
    assert outcome.gap("a", "b", "falls", 0.0, 0.2) == pytest.approx(2 * 2 * parts * 0.2 / 2)
    assert outcome.gap("a", "b", "falls", 0.4, 0.6) == pytest.approx(2 * 2 * parts * 0.2)
    assert outcome.totals("a", "b") == pytest.approx(np.full((1, 2), parts))
    assert outcome.part("a", "b", 0.0, 1.0) == pytest.approx(0.5)
    change, error = outcome.improvement("a", "b")
    assert change == pytest.approx(0.9, abs=0.02) and error == pytest.approx(0.0, abs=1e-9)


def test_the_claims_of_figure_5_hold_and_fail():
    module = import_module("experiments.figure_5")
    good, bad = {}, {}
    for task in module.TASKS:
        for variant in module.VARIANTS:
            probe = f"{task}, {variant}"
            for outcome in (good, bad):
                outcome["random", probe] = (-0.5, 0.05)
            good[f"SymLA-{task}", probe] = (line(0.0, 1.0), line(0.05, -0.05).clip(0))
            bad[f"SymLA-{task}", probe] = (0.5 if variant == "original" else -0.5, 0.0)
            good[f"MetaRNN-{task}", probe] = (1.0 if variant == "original" else -0.5, 0.0)
            bad[f"MetaRNN-{task}", probe] = (0.5, 0.02)
    assert [c["holds"] for c in module.claims(outcome_of(good))] == [True] * 6
    assert [c["holds"] for c in module.claims(outcome_of(bad))] == [False] * 4 + [True, False]


def test_the_claims_of_figure_6_hold_and_fail():
    module = import_module("experiments.figure_6")
    good = {
        ("SymLA-heart-trap", "original"): (line(0.0, 1.0), 0.0),
        ("SymLA-heart-trap", "swapped"): (line(0.0, 1.0), 0.0),
        ("MetaRNN-heart-trap", "original"): (0.5, 0.0),
        ("MetaRNN-heart-trap", "swapped"): (-0.5, 0.0),
    }
    assert [c["holds"] for c in module.claims(outcome_of(good))] == [True, True]
    bad = {
        **good,
        ("SymLA-heart-trap", "swapped"): (line(0.6, 1.0), 0.0),
        ("MetaRNN-heart-trap", "swapped"): (0.5, 0.0),
    }
    assert [c["holds"] for c in module.claims(outcome_of(bad))] == [False, False]


def test_the_claims_of_figure_7_hold_and_fail():
    module = import_module("experiments.figure_7")
    good = {
        ("SymLA-goal-world", "goal-world"): (line(0.0, 1.0), 0.0),
        ("SymLA-goal-world", "cartpole"): (line(0.0, 1.0), 0.0),
        ("MetaRNN-goal-world", "goal-world"): (line(0.0, 1.0), 0.0),
        ("MetaRNN-goal-world", "cartpole, padded"): (0.1, 0.0),
        ("random", "goal-world"): (0.0, 0.0),
        ("random", "cartpole"): (0.0, 0.0),
    }
    assert [c["holds"] for c in module.claims(outcome_of(good))] == [True, True, True]
    falling = {**good, ("random", "cartpole"): (line(0.0, -1.0), 0.0)}
    falling["SymLA-goal-world", "cartpole"] = (line(0.9, 0.0), 0.0)  # it becomes less worse
    falling["MetaRNN-goal-world", "cartpole, padded"] = (line(0.0, -1.0), 0.0)
    assert [c["holds"] for c in module.claims(outcome_of(falling))] == [True, True, True]
    bad = {
        **good,
        ("SymLA-goal-world", "goal-world"): (0.5, 0.0),
        ("SymLA-goal-world", "cartpole"): (-0.1, 0.0),
        ("MetaRNN-goal-world", "cartpole, padded"): (line(0.0, 1.0), 0.0),
    }
    assert [c["holds"] for c in module.claims(outcome_of(bad))] == [False, False, False]
