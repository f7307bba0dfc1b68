"""The tables of RL2: small runs from end to end, exact references, and claims that can fail."""

import csv
import itertools
import json

import jax.random as jr
import numpy as np
import pytest

import meta
import rl
from experiments import _rl2_study, rl2_bandits
from experiments._rl2_study import LEARNED, Budget, Case, Outcome

pytestmark = pytest.mark.usefixtures("cheap_compilation")
TINY = Budget(2, 4, 2, 2, 1e-2, 0.5, 0.1, 0.9, 0.9, 3)


@pytest.fixture
def small(monkeypatch):
    """The smallest budget there is, on short lives."""
    bandits, processes = rl.envs.BernoulliBandits(2), rl.envs.TabularMDPs(2, 2, episode_steps=2)
    random = {"random": rl.classic.RandomPlayer()}
    players = {**random, "UCB1": rl.classic.UCB1(), "greedy": rl.classic.GreedyPosteriorMean()}
    psrl = {"PSRL": rl.classic.PSRL(2), "PSRL, prior mean 0": rl.classic.PSRL(2, prior_mean=0.0)}
    level = {"Bayes-optimal": 2.0}
    columns = [
        Case("duan-10", "A", bandits, 3, players, level, {"old": 1.0}),
        Case("duan-100", "B", bandits, 4, players),
        Case("wang-uniform", "C", bandits, 3, random, level),
        Case("duan-mdp-10", "D", processes, 4, psrl),
    ]
    monkeypatch.setattr(rl2_bandits, "cases", lambda: columns)
    monkeypatch.setattr(
        rl2_bandits, "budgets", lambda preset: {case.name: TINY for case in columns}
    )
    monkeypatch.setattr(rl2_bandits, "SEEDS", {"laptop": 2})
    monkeypatch.setattr(rl2_bandits, "LIVES", 5)
    return columns


@pytest.mark.slow
def test_a_study_ends_with_json_csv_a_picture_and_claims(small, tmp_path, monkeypatch):
    result = rl2_bandits.reproduce("laptop", seed=3, out=tmp_path)
    written = json.loads((tmp_path / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["seeds"] == [3, 4] and written["lives"] == 5
    pairs = [(name, case) for case in small for name in (LEARNED, *case.players)]
    assert list(written["total_reward"]) == [f"{name}->{case.name}" for name, case in pairs]
    for name, case in pairs:
        numbers = written["total_reward"][f"{name}->{case.name}"]
        assert numbers["seeds"] == 2 and numbers["lives"] == 5
        course = written["courses"][f"{name}->{case.name}"]
        assert len(course) == case.steps
        assert sum(course) == pytest.approx(numbers["mean"], abs=0.01)
    assert all(set(c) == {"claim", "measured", "criterion", "holds"} for c in written["claims"])
    with (tmp_path / "laptop.csv").open() as file:
        rows = {(row["case"], row["player"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(pairs) + 3  # two levels, and one that only a paper has
    assert rows["duan-10", "old"]["published"] == "1.0"
    assert rows["duan-10", "old"]["total_reward_mean"] == ""
    assert rows["wang-uniform", "Bayes-optimal"]["level"] == "2.0"
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")

    # Again: nothing is trained anew, and the same comes out.
    def never(*args, **kwargs):
        raise AssertionError("a finished training was begun again")

    monkeypatch.setattr("meta.ActorCritic.live", never)
    again = rl2_bandits.reproduce("laptop", seed=3, out=tmp_path)
    assert again["total_reward"] == result["total_reward"]


def test_an_unknown_preset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="laptop, gpu, paper"):
        rl2_bandits.reproduce("desktop", out=tmp_path)


def test_every_preset_has_a_budget_for_each_case(monkeypatch):
    monkeypatch.setattr(rl2_bandits, "_MDPS_KNOWN", 3)
    columns = rl2_bandits.cases()
    assert len({case.name for case in columns}) == len(columns) == 5
    for preset in rl2_bandits.PRESETS:
        assert rl2_bandits.SEEDS[preset] >= 1
        spent = rl2_bandits.budgets(preset)
        assert set(spent) == {case.name for case in columns}
        for case in columns:
            budget = spent[case.name]
            row = budget.row(case)
            (stage,) = row.curriculum.stages
            assert stage.generations == budget.generations
            assert stage.lessons[0].lives % budget.minibatches == 0
            strategy = stage.strategy
            assert isinstance(strategy, meta.ActorCritic)
            assert strategy.entropy_weight_at(0) == pytest.approx(budget.entropy_weight)
            last = strategy.entropy_weight_at(budget.generations)
            assert last == pytest.approx(budget.last_entropy_weight)
    paper = {case.name: rl2_bandits.budgets("paper")[case.name] for case in columns}
    assert {case.steps * paper[case.name].lives for case in columns} == {240_000}


def played(arms: int, pulls: int) -> float:
    """The best expected number of wins, over all orders of arms and without any symmetry."""

    def value(wins: tuple[int, ...], losses: tuple[int, ...], left: int) -> float:
        if not left:
            return 0.0
        best = 0.0
        for arm in range(arms):
            chance = (wins[arm] + 1) / (wins[arm] + losses[arm] + 2)
            won = tuple(n + (i == arm) for i, n in enumerate(wins))
            lost = tuple(n + (i == arm) for i, n in enumerate(losses))
            best = max(
                best,
                chance * (1 + value(won, losses, left - 1))
                + (1 - chance) * value(wins, lost, left - 1),
            )
        return best

    return value((0,) * arms, (0,) * arms, pulls)


def test_the_best_total_is_that_of_all_plays_and_of_two_arms():
    for arms, pulls in itertools.product((1, 2, 3), (1, 2, 4)):
        assert _rl2_study.best_total(arms, pulls) == pytest.approx(played(arms, pulls), abs=1e-12)
    two = 20 * 2 / 3 - rl.classic.bayes_optimal_regret("independent", 20)
    assert _rl2_study.best_total(2, 20) == pytest.approx(two, abs=1e-9)
    assert _rl2_study.best_total(5, 10) == pytest.approx(6.659987874779542, abs=1e-9)


def test_those_who_know_the_process_earn_what_planning_says():
    tasks, expected = rl.envs.TabularMDPs(3, 2, episode_steps=4), []
    for key in jr.split(jr.key(5), 3):
        params = tasks.sample(key=key).params
        transitions, rewards = np.asarray(params.transitions), np.asarray(params.rewards)
        values = np.zeros(3)
        for _ in range(4):
            values = np.max(rewards + np.einsum("abc,c->ab", transitions, values), axis=1)
        expected.append(7 * values[0])
    known = _rl2_study.known_total(tasks, 7, seed=5, count=3)
    assert known == pytest.approx(np.mean(expected), rel=1e-5)


def test_all_that_is_measured_is_drawn(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: saved.append(self))
    player = {"random": rl.classic.RandomPlayer()}
    case = Case(
        "a",
        "A case",
        rl.envs.BernoulliBandits(2),
        3,
        player,
        {"best": 9.0},
        {LEARNED: 8.5, "old": 7.0},
    )
    numbers = {"mean": 5.0, "sem": 0.25}
    result = {"preset": "laptop", "seeds": [0, 1], "lives": 7}
    result["total_reward"] = {f"{LEARNED}->a": numbers, "random->a": numbers}
    rl2_bandits.draw(result, [case], tmp_path / "x.png")
    (figure,) = saved
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["old", "random", LEARNED]
    drawn = {
        tuple(np.ravel(line.get_xydata())) for line in axes.lines if len(line.get_xdata()) == 1
    }
    assert {(8.5, 2.0), (7.0, 0.0), (5.0, 2.0), (5.0, 1.0)} <= drawn
    assert axes.get_title(loc="left") == "A case"
    assert "2 meta-trainings x 7 lives" in figure.get_suptitle()


def outcome_of(values: dict[tuple[str, str], float]) -> Outcome:
    totals = {pair: np.full((3, 4), value) for pair, value in values.items()}
    return Outcome(totals, {}, {}, 0.0)


@pytest.fixture
def columns(monkeypatch):
    monkeypatch.setattr(rl2_bandits, "_MDPS_KNOWN", 3)
    return rl2_bandits.cases()


def test_the_claims_hold_of_the_papers_and_fail_of_twins(columns):
    good = {(case.name, name): value for case in columns for name, value in case.published.items()}
    good["duan-mdp-10", "PSRL, prior mean 0"] = 138.6
    for case in columns:
        if case.name.startswith("wang"):
            good[case.name, LEARNED] = case.levels["Bayes-optimal"] - 1.9
    assert [c["holds"] for c in rl2_bandits.claims(outcome_of(good), columns)] == [True] * 4
    worse = {
        ("duan-10", LEARNED): 6.59,
        ("duan-100", LEARNED): 77.9,
        ("wang-uniform", LEARNED): good["wang-uniform", LEARNED] - 0.2,
        ("duan-mdp-10", LEARNED): 148.5,
    }
    for i, (pair, value) in enumerate(worse.items()):
        told = rl2_bandits.claims(outcome_of({**good, pair: value}), columns)
        assert [c["holds"] for c in told] == [j != i for j in range(4)]
        assert all(isinstance(number, float) for number in told[i]["measured"].values())
