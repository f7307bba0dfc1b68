"""The studies behind figures 3 and 4: small runs from end to end, and claims that can fail."""

import csv
import dataclasses
import json
from importlib import import_module

import numpy as np
import pytest

from experiments._bandit_study import Outcome

pytestmark = pytest.mark.usefixtures("cheap_compilation")
FIGURES = ("figure_3", "figure_4")


def small(module, monkeypatch):
    """Give a figure the smallest budget there is."""

    def less(budget):
        return dataclasses.replace(
            budget, population=2, lives=1, generations=1, meta_seeds=2, test_lives=3
        )

    original = module.trainings
    rows = [
        dataclasses.replace(row, budget=less(row.budget))
        for row in original("laptop")
        if row.name in ("2", "8", "2-sum", "SymLA-easy", "MetaRNN-easy")
    ]
    monkeypatch.setattr(module, "trainings", lambda preset: rows)
    return rows


@pytest.fixture
def figure_4(monkeypatch):
    module = import_module("experiments.figure_4")
    monkeypatch.setattr(module, "SIZES", (2, 8))
    monkeypatch.setattr(module, "PAPER", {2: (4.2, 120.0), 8: (12.0, 13.0)})
    monkeypatch.setattr(module, "STEPS", 5)
    monkeypatch.setattr(module, "PLAYERS", {"random": module.PLAYERS["random"]})
    return module, small(module, monkeypatch)


@pytest.mark.slow
def test_a_study_ends_with_json_csv_a_picture_and_claims(figure_4, tmp_path, monkeypatch):
    module, rows = figure_4
    result = module.reproduce("laptop", seed=3, out=tmp_path)
    written = json.loads((tmp_path / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["seeds"] == [3, 4]
    assert set(written["regret"]) == {f"{row.name}->{test}" for row in rows for test in (2, 8)}
    for numbers in written["regret"].values():
        assert numbers["seeds"] == 2 and numbers["lives"] == 3
        assert 0 <= numbers["mean"] <= 5
    for claim in written["claims"]:
        assert set(claim) == {"claim", "measured", "criterion", "holds"}
        assert isinstance(claim["holds"], bool)
    with (tmp_path / "laptop.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) * 2
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")

    # Again: nothing is trained anew, and the same comes out.
    def never(*args, **kwargs):
        raise AssertionError("a finished training was begun again")

    monkeypatch.setattr("meta.EvolutionStrategy.tell", never)
    again = module.reproduce("laptop", seed=3, out=tmp_path)
    assert again["regret"] == result["regret"]


@pytest.mark.parametrize("name", FIGURES)
def test_an_unknown_preset_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="laptop, gpu, paper"):
        import_module(f"experiments.{name}").reproduce("desktop", out=tmp_path)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("preset", ("laptop", "gpu", "paper"))
def test_every_preset_has_trainings_that_can_be_made(name, preset):
    import jax

    rows = import_module(f"experiments.{name}").trainings(preset)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.budget.meta_seeds == 3 and row.budget.test_lives == 100
        assert row.budget.strategy().population == row.budget.population
        json.dumps(row.budget.describe())
    jax.eval_shape(
        lambda key: rows[0].learner(key).network.layers[0].cell.recurrent, jax.random.key(0)
    )


def outcome_4(change=lambda a, b, value: value):
    """What the paper reports of figure 4, but with regrets that 100 pulls can have."""
    module = import_module("experiments.figure_4")
    rows = [str(a) for a in module.SIZES] + ["2-sum"]
    regrets = {}
    for row in rows:
        for b, value in zip(module.SIZES, module.PAPER[int(row.split("-")[0])], strict=True):
            regrets[row, str(b)] = np.full((3, 4), change(row, b, min(value, 40.0) - 0.01))
    return Outcome(regrets, {}, 0.0)


def test_the_claims_of_figure_4_hold_of_the_paper_and_fail_of_twins():
    claims = import_module("experiments.figure_4").claims
    held = [c["holds"] for c in claims(outcome_4(), "2-sum")]
    assert held == [True, True, True, True]
    worse = claims(outcome_4(lambda a, b, v: v + (a == "8" and b == 8)), "2-sum")
    assert [c["holds"] for c in worse] == [False, True, True, True]
    lost = claims(outcome_4(lambda a, b, v: v + 9 * (a == "12" and b == 10)), "2-sum")
    assert [c["holds"] for c in lost] == [True, False, True, True]
    general = claims(outcome_4(lambda a, b, v: 18.0 if a == "2" and b > 2 else v), "2-sum")
    assert [c["holds"] for c in general] == [True, True, False, True]


def outcome_3(symla, metarnn):
    module = import_module("experiments.figure_3")
    value = {"SymLA": symla, "MetaRNN": metarnn}
    return Outcome(
        {
            (f"{name}-{a}", b): np.full((3, 4), value[name])
            for name in module.LEARNERS
            for a in module.KINDS
            for b in module.KINDS
        },
        {},
        0.0,
    )


@pytest.mark.parametrize(
    ("symla", "metarnn", "held"),
    [
        (2.0, 2.0, [True, True, True, True]),
        (3.0, 2.0, [False, False, True, True]),
        (4.0, 4.0, [True, True, True, False]),
        (6.0, 6.0, [True, True, False, False]),
    ],
)
def test_the_claims_of_figure_3_can_hold_and_fail(symla, metarnn, held):
    claims = import_module("experiments.figure_3").claims(outcome_3(symla, metarnn))
    assert [c["holds"] for c in claims] == held


def test_test_lives_have_keys_of_their_own():
    import jax

    from experiments._bandit_study import TEST_STREAM

    key = jax.random.key(0)
    test = jax.random.split(jax.random.fold_in(key, TEST_STREAM), 100)
    _, train_key = jax.random.split(key)
    trained = jax.random.split(train_key, 3)
    data = jax.random.key_data
    assert not (data(test)[:, None] == data(trained)[None]).all(-1).any()
