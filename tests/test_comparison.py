"""The comparison of learned algorithms: that all fit, and what is told of made-up lives."""

import csv
import json
import math

import jax.random as jr
import numpy as np
import pytest
from plan_cases import assert_learners_fit

import rl
from experiments import _objective_study, comparison
from experiments._life_study import Probe
from experiments.comparison import FAMILIES, GENERAL, KINDS, LEARNED

pytestmark = pytest.mark.usefixtures("cheap_compilation")
COLUMNS = [f"{of}, {kind}" for of in FAMILIES for kind in KINDS]


def test_every_learner_fits_its_lessons_and_tests():
    plan, rows = comparison.plan("laptop")
    assert set(plan.probes) == {*plan.players, *(search.name for search in plan.searches)}
    assert_learners_fit([plan])
    for name in (*LEARNED, GENERAL, "random", "PPO"):
        assert list(rows[name]) == COLUMNS
    assert list(rows["TD3"]) == [f"point, {kind}" for kind in KINDS]
    assert list(rows["UCB1"]) == [f"bandit, {kind}" for kind in KINDS]


def test_larger_machines_spend_more():
    laptop, gpu = comparison.BUDGETS["laptop"], comparison.BUDGETS["gpu"]
    assert tuple(comparison.BUDGETS) == comparison.PRESETS
    assert gpu.members > laptop.members and gpu.agent_steps > laptop.agent_steps


@pytest.mark.parametrize("of", FAMILIES)
def test_tests_are_what_they_are_called(of):
    """Permuted ones have the sizes of the seen one, resized ones have others."""
    family = FAMILIES[of]
    sizes = {}
    for kind in KINDS:
        spaces = family.tasks(kind).spaces
        sizes[kind] = (spaces.observation_size, spaces.num_actions)
        assert spaces.continuous is family.continuous
        padded = family.tasks(kind, padded=True).spaces
        assert (padded.observation_size, padded.num_actions) == family.sizes
    assert sizes["seen"] == sizes["permuted"] != sizes["resized"]
    assert len(set(family.tests.values())) == len(KINDS)


@pytest.fixture
def made_up(monkeypatch):
    """Learners that nobody trained, in lives that nobody lived: `good` of them become better."""

    def train(search, *, seed, out, progress):
        out.mkdir(parents=True)
        line = {"generation": 1, "seconds": 0.5, "fitness_mean": 1.0}
        (out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        return dict.fromkeys(search.learners, rl.classic.RandomPlayer())

    def looked(learner, probe, *, seed, lives, out):
        noise = np.asarray(jr.normal(jr.key(len(str(out)) + seed), (lives, 50)))
        good = any(name in out.name for name in ("SymLA", "LPG", "EPG"))
        return noise * 0.1 + good * np.linspace(0.0, 3.0, 50)

    monkeypatch.setattr(_objective_study, "train", train)
    monkeypatch.setattr(_objective_study, "looked", looked)
    monkeypatch.setattr(comparison, "_step_time", lambda make, probe: 2.0)


def test_it_tells_and_shows_what_was_measured(made_up, tmp_path):
    result = comparison.reproduce("laptop", seed=3, out=tmp_path)
    written = json.loads((tmp_path / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result)) and written["seeds"] == [3, 4, 5]
    with (tmp_path / "laptop.csv").open() as file:
        rows = {(row["learner"], row["world"]): row for row in csv.DictReader(file)}
    for (name, column), row in rows.items():
        assert column in COLUMNS
        good = any(kind in name for kind in ("SymLA", "LPG", "EPG"))
        assert float(row["last_fifth_mean"]) == pytest.approx(2.7 * good, abs=0.15)
    assert [claim["holds"] for claim in written["claims"]] == [True] * 4
    assert all(math.isfinite(x) for c in written["claims"] for x in c["measured"].values())
    cost = written["costs"]["MetaGenRL on point"]
    assert cost["meta_parameters"] == 15_529 and cost["microseconds_per_step"] == 2.0
    assert cost["environment_steps_of_meta_training"] == 32 * 16_000
    assert written["costs"]["PPO"]["environment_steps_of_meta_training"] is None
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_takes_time():
    probe = Probe("bandit, seen", FAMILIES["bandit"].tasks("seen"), 200)
    assert 0.0 < comparison._step_time(rl.classic.RandomPlayer, probe) < 1e4
