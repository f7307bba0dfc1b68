"""MetaGenRL's experiments: all views of made-up lives, and a small run from end to end."""

import csv
import dataclasses
import json
import math

import jax.random as jr
import numpy as np
import pytest
from known import Probe as OneStep, ProbeParams
from plan_cases import assert_learners_fit

import meta
import rl
from experiments import (
    _figures,
    _objective_figure,
    _objective_settings,
    _objective_study,
    metagenrl,
)
from experiments._objective_settings import Setting
from experiments._objective_study import ObjectiveOutcome, Search

pytestmark = pytest.mark.usefixtures("cheap_compilation")
PARTS = 50


def tiny(setting: Setting, world: rl.TaskDistribution) -> Setting:
    """The laptop's setting with one small world in place of all of its own."""
    budget = dataclasses.replace(
        setting.budget,
        agents=4,
        steps=500,
        generation=100,
        test_steps=100,
        agent={
            **{"hidden_sizes": (4,), "capacity": 50, "warm_up": 4},
            **{"batch_size": 2, "segment_length": 2},
        },
        objective={},
        inner={"annealing": 50},
        restarts=(100, 200),
        populations=(4, 8),
        epg={"hidden_sizes": (4,), "buffer": 64},
        epg_search=(4, 2, 64),
        rl2_search=(4, 2, 8),
        seeds=2,
        lives=2,
    )
    return dataclasses.replace(setting, worlds=dict.fromkeys(setting.worlds, world), budget=budget)


@pytest.fixture
def small(monkeypatch):
    world = rl.FixedTask(rl.Task(OneStep(continuous=True), ProbeParams(per_action=1.0)))
    chosen = tiny(_objective_settings.setting("laptop"), world)
    monkeypatch.setattr(_objective_figure, "setting", lambda preset: chosen)
    return chosen


@pytest.fixture
def made_up(small, monkeypatch):
    """Learners that nobody trained, in lives that nobody lived."""

    def train(search: Search, *, seed: int, out, progress: bool):
        out.mkdir(parents=True)
        lessons = [str(lesson.name) for lesson in search.lessons]
        with (out / "metrics.jsonl").open("w") as file:
            for generation in range(search.marks[-1]):
                names = [f"fitness_mean/{name}" for name in lessons] if len(lessons) > 1 else []
                line = {"generation": generation + 1, "seconds": 0.5, "fitness_mean": 1.0 + seed}
                file.write(json.dumps(line | dict.fromkeys(names, 2.0)) + "\n")
        return dict.fromkeys(search.learners, rl.classic.RandomPlayer())

    def looked(learner, probe, *, seed: int, lives: int, out):
        noise = jr.normal(jr.key(len(str(out)) + seed), (lives, PARTS))
        slope = 3.0 if "MetaGenRL" in str(out) else -0.1
        return np.asarray(noise) * 0.1 + slope * np.linspace(0.0, 1.0, PARTS)

    monkeypatch.setattr(_objective_study, "train", train)
    monkeypatch.setattr(_objective_study, "looked", looked)


@pytest.mark.parametrize("name", metagenrl.EXPERIMENTS)
def test_every_experiment_tells_and_shows_what_was_measured(name, made_up, tmp_path):
    figure = _figures.load(f"metagenrl-{name}")
    assert figure.presets == ("laptop", "gpu", "paper") and name.split("-")[0] in figure.description
    out = tmp_path / f"metagenrl-{name}"
    result = figure.reproduce("laptop", seed=3, out=out)
    written = json.loads((out / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["figure"] == f"metagenrl-{name}" and written["seeds"] == [3, 4]
    assert written["meta_training"]
    assert all(set(c) == {"claim", "measured", "criterion", "holds"} for c in written["claims"])
    assert all(math.isfinite(x) for c in written["claims"] for x in c["measured"].values())
    with (out / "laptop.csv").open() as file:
        rows = {f"{row['learner']}->{row['world']}": row for row in csv.DictReader(file)}
    assert set(rows) == set(written["lives_of"])
    for pair, row in rows.items():
        assert float(row["last_fifth_mean"]) == pytest.approx(
            written["lives_of"][pair]["last_fifth"]["mean"], abs=1e-4
        )
        wanted = 2.7 if "MetaGenRL" in pair else 0.0
        assert float(row["last_fifth_mean"]) == pytest.approx(wanted, abs=0.15)
    assert (out / "laptop.png").read_bytes().startswith(b"\x89PNG")


def test_table_1_holds_where_learned_objectives_are_above_all_others(made_up, tmp_path):
    """As made up here: they become better, and nothing else does."""
    result = metagenrl.EXPERIMENTS["table-1"].reproduce("laptop", out=tmp_path / "one")
    assert [claim["holds"] for claim in result["claims"]] == [True] * 5


def test_errors_do_not_tell_the_values_that_are_not_to_be_known():
    """And there is one that knows both values without errors, to compare with."""
    searches = metagenrl._figure_5(_objective_settings.setting("laptop")).plan.searches
    learners = [search.learner(jr.key(0)) for search in searches]
    found = set()
    for learner in learners:
        assert isinstance(learner, meta.MetaGenRL)
        found.add((learner.value_input, learner.error_input))
    assert found == {("both", True), ("both", False), ("current", False), ("none", False)}


def outcome(**courses: float) -> ObjectiveOutcome:
    """Lives that go from 0 to a number, in a world called `world`."""
    noise = np.asarray(jr.normal(jr.key(0), (3, 2, PARTS))) * 0.1
    found = {
        (name, "world"): {"reward": noise + end * np.linspace(0.0, 1.0, PARTS)}
        for name, end in courses.items()
    }
    return ObjectiveOutcome(found, {"world": 100}, {}, 0.0)


def test_statements_can_fail():
    from experiments import _objective_claims as claims

    lived = outcome(good=3.0, poor=0.0)
    assert claims.difference(lived, "good", "poor", "world")[0] == pytest.approx(2.7, abs=0.1)
    assert claims.progress_of(lived, "good", "world")[0] == pytest.approx(2.7, abs=0.1)
    for one, other, holds in (("good", "poor", True), ("poor", "good", False)):
        found = {"x": claims.difference(lived, one, other, "world")}
        assert claims.claim("Better.", found)["holds"] is holds
        told = claims.claim("No better.", found, criterion="not", holds=claims.no_better)
        assert told["holds"] is not holds


@pytest.mark.parametrize("preset", _objective_settings.PRESETS)
def test_every_preset_has_plans_whose_learners_fit(preset):
    if preset != "laptop":
        pytest.importorskip("brax", reason="needs the extra `brax`")
    setting = _objective_settings.setting(preset)
    plans = [view(setting).plan for _, view in metagenrl._ALL.values()]
    assert all(plan.probes and plan.searches for plan in plans)
    assert_learners_fit(plans)


def test_bodies_need_brax(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"symla\[brax\]"):
        _objective_settings.setting("gpu")


@pytest.mark.parametrize(
    ("marks", "expected"), [((7,), 10), ((5, 10, 15), 5), ((24, 48, 72), 8), ((3, 7), 1)]
)
def test_calls_end_where_learners_are_kept(marks, expected):
    assert _objective_study._chunk(marks) == expected


@pytest.mark.slow
def test_trainings_and_lives_are_not_repeated(small, tmp_path, monkeypatch):
    """Figure 4, whose meta-training has stages, and what follows it."""
    budget = dataclasses.replace(small.budget, seeds=1)
    chosen = dataclasses.replace(small, budget=budget)
    monkeypatch.setattr(_objective_figure, "setting", lambda preset: chosen)
    figure, out = metagenrl.EXPERIMENTS["figure-4"], tmp_path / "figure-4"
    search = chosen.metagenrl(chosen.main)
    folder = tmp_path / "metagenrl-laptop" / search.name / "seed-5"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").touch()  # as if it had been killed before the first generation
    result = figure.reproduce("laptop", seed=5, out=out)
    kept = sorted(path.name for path in folder.glob("generation-*.symla"))
    assert kept == [f"generation-{mark}.symla" for mark in (1, 2, 3, 4, 5)]
    first, last = (meta.load(folder / kept[k]) for k in (0, -1))
    assert isinstance(first, meta.MetaGenRL) and isinstance(last, meta.MetaGenRL)
    assert (first.neural_objective.head_weight != last.neural_objective.head_weight).any()
    assert set(result["lives_of"]) == {
        f"{name}->{chosen.unseen}" for name in (*search.learners, "random")
    }

    def never(*args, **kwargs):
        raise AssertionError("what is finished was begun again")

    monkeypatch.setattr(_objective_study, "look", never)
    monkeypatch.setattr("meta._population.PopulationGenerations.fit", never)
    (folder / kept[-1]).unlink()  # as if it had been stopped between checkpoint and learner
    again = figure.reproduce("laptop", seed=5, out=out)
    assert again["lives_of"] == result["lives_of"]
    with pytest.raises(AssertionError, match="begun again"):  # another seed has other lives
        figure.reproduce("laptop", seed=6, out=out)
