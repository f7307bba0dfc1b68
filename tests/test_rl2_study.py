"""Plain and meta-learned actor-critics: a small run from end to end, and claims that can fail."""

import csv
import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import rl
from experiments import _agent_study, rl2_study
from experiments._agent_study import (
    META,
    METHODS,
    PLAYERS,
    SESSIONS,
    Arena,
    Budget,
    Outcome,
    Run,
    StillLearning,
)
from experiments._bar_charts import BarPanel, bars

pytestmark = pytest.mark.usefixtures("cheap_compilation")
TINY = Budget(6, 2, {"instance": 2, "distribution": 3}, 1e-2, 1e-2, 0.9, 4, (3,), 3)


@pytest.fixture
def small(monkeypatch):
    """The smallest study there is: one bandit."""
    arena = Arena("bandit", "Bandit", rl.envs.BernoulliBandits(3), "its arms", TINY)
    monkeypatch.setattr(rl2_study, "arenas", lambda preset: [arena])
    monkeypatch.setattr(rl2_study, "has_brax", lambda: False)
    monkeypatch.setattr(rl2_study, "SEEDS", {"laptop": 2})
    monkeypatch.setattr(rl2_study, "LIVES", 3)
    return arena


def told(result: dict, tmp_path) -> None:
    """What every study of `small` leaves behind."""
    written = json.loads((tmp_path / "laptop.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["seeds"] == [3, 4] and written["lives"] == 3
    assert "quadruped is left out" in written["left_out"]
    assert len(written["environments"]["bandit"]["instance"]["probs"]) == 3
    pairs = [f"{session}: {player}->bandit" for session in SESSIONS for player in PLAYERS]
    assert list(written["test"]) == list(written["training"]) == pairs
    assert set(written["test_still_learning"]) == {pair for pair in pairs if META not in pair}
    for pair in pairs:
        numbers = written["test"][pair]
        assert (numbers["seeds"], numbers["lives"]) == (2, 3)
        assert len(written["training"][pair]["seed_means"]) == 2
    assert all(set(c) == {"claim", "measured", "criterion", "holds"} for c in written["claims"])
    with (tmp_path / "laptop.csv").open() as file:
        rows = {(r["session"], r["player"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * (len(PLAYERS) + 1)
    assert float(rows["instance", "A2C"]["still_learning_mean"]) >= 0
    assert rows["instance", "MetaA2C"]["still_learning_mean"] == ""
    assert rows["instance", "untrained"]["training_mean"] == ""
    assert (tmp_path / "laptop.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_study_trains_all_players_and_does_not_repeat_itself(small, tmp_path, monkeypatch):
    result = rl2_study.reproduce("laptop", seed=3, out=tmp_path)
    told(result, tmp_path)
    for pair, training in result["training"].items():
        # As many steps for all, up to a whole number of a plain agent's rollouts.
        lived = (2 if pair.startswith("instance") else 3) * 2 * 6
        assert lived - 2 * 4 < training["environment_steps"] <= lived
        assert 0 <= result["test"][pair]["mean"] <= 6

    def never(*args, **kwargs):
        raise AssertionError("a finished training was begun again")

    monkeypatch.setattr("rl.classic.train", never)
    monkeypatch.setattr("meta.train", never)
    again = rl2_study.reproduce("laptop", seed=3, out=tmp_path)
    assert again["test"] == result["test"] and again["training"] == result["training"]


@pytest.fixture
def trained(monkeypatch):
    """What is trained; nothing is, and all earn different amounts."""
    done = []

    def teach(is_meta: bool):
        def train(arena, session, name, *, seed, lives, out, bar):
            done.append((arena.name, session, is_meta, name, seed))
            earned = 10.0 * len(done)
            on = [] if is_meta else [0.5] * lives
            return Run([1.0, earned], [earned + i for i in range(lives)], on, 24, 0.5)

        return train

    monkeypatch.setattr(_agent_study, "_trained", teach(False))
    monkeypatch.setattr(_agent_study, "_meta_trained", teach(True))
    monkeypatch.setattr(_agent_study, "_newborn", lambda *_, seed, lives: [1.0 * seed] * lives)
    return done


def test_a_study_ends_with_json_csv_a_picture_and_claims(small, trained, tmp_path):
    result = rl2_study.reproduce("laptop", seed=3, out=tmp_path)
    told(result, tmp_path)
    # Every player with every seed, once in each session.
    assert len(set(trained)) == len(trained) == 2 * len(PLAYERS) * 2
    number = 1 + trained.index(("bandit", "distribution", True, "A3C", 3))
    pair = "distribution: MetaA3C->bandit"
    assert result["test"][pair]["seed_means"] == [10.0 * number + 1, 10.0 * number + 11]
    assert result["training"][pair]["seed_means"] == [10.0 * number, 10.0 * number + 10]
    assert result["training"][pair]["seconds"] == 1.0
    assert result["test_still_learning"]["instance: A2C->bandit"]["mean"] == 0.5
    assert result["untrained"]["instance: bandit"]["seed_means"] == [3.0, 4.0]


def test_what_is_finished_is_not_repeated(small, trained, tmp_path, monkeypatch):
    first = rl2_study.reproduce("laptop", seed=3, out=tmp_path)
    (tmp_path / "runs/bandit/instance/A3C/seed-4/result.json").unlink()
    before = len(trained)
    again = rl2_study.reproduce("laptop", seed=3, out=tmp_path)
    assert trained[before:] == [("bandit", "instance", False, "A3C", 4)]
    changed = {pair for pair in first["test"] if first["test"][pair] != again["test"][pair]}
    assert changed == {"instance: A3C->bandit"}
    # With other settings it is another study.
    other = dataclasses.replace(small, budget=dataclasses.replace(TINY, rate=0.5))
    monkeypatch.setattr(rl2_study, "arenas", lambda preset: [other])
    with pytest.raises(ValueError, match=r"other settings \(rate\); give another folder"):
        rl2_study.reproduce("laptop", seed=3, out=tmp_path)


def test_an_unknown_preset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="laptop, gpu, paper"):
        rl2_study.reproduce("desktop", out=tmp_path)


@pytest.mark.parametrize("preset", rl2_study.PRESETS)
def test_every_preset_has_all_environments(preset, monkeypatch):
    compared = rl2_study.arenas(preset)
    assert len({arena.name for arena in compared}) == len(compared) == 7
    # The quadruped comes last, and only where it can be simulated.
    monkeypatch.setattr(rl2_study, "has_brax", lambda: False)
    without = rl2_study.arenas(preset)
    assert [arena.name for arena in compared] == [*(arena.name for arena in without), "quadruped"]
    assert set(compared[-1].tasks.sample(key=jax.random.key(0)).metrics) == {"falls"}
    compared = without
    assert rl2_study.SEEDS[preset] >= 3 and rl2_study.LIVES == 100
    for arena in compared:
        json.dumps(dataclasses.asdict(arena.budget))
        for session in SESSIONS:
            assert arena.budget.environment_steps(session) >= arena.budget.rollout
    assert compared[-1].tasks.spaces.continuous
    if preset == "paper":
        steps = {arena.name: arena.budget.environment_steps for arena in compared}
        for name, longest in (("bandit-10", 100), ("lunar-lander", 1000)):
            assert steps[name]("instance") == pytest.approx(1000 * longest, rel=0.05)
            assert steps[name]("distribution") == pytest.approx(10_000 * longest, rel=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_in_a_life_and_across_lives(name):
    plain = _agent_study.plain_agent(METHODS[name], TINY)
    across = _agent_study.outer_loop(METHODS[name], TINY)
    assert type(plain).__name__ == name
    for setting in ("gae_lambda", "entropy_weight", "discount", "max_gradient_norm"):
        assert getattr(plain, setting) == getattr(across, setting)
    assert not across.across_episodes
    assert (plain.gae_lambda == 1.0) == (plain.entropy_weight == 0.0) == (name == "A2C")


def test_an_instance_is_one_task_and_a_distribution_is_many(small):
    def arms(session: str, seed: int):
        return small.session(session).sample(key=jax.random.key(seed)).params.probs

    np.testing.assert_array_equal(arms("instance", 1), arms("instance", 2))
    np.testing.assert_array_equal(arms("instance", 1), arms("distribution", _agent_study.INSTANCE))
    assert not np.allclose(arms("distribution", 1), arms("distribution", 2))


def test_an_agent_that_still_learns_begins_with_what_it_knows(getkey):
    tasks = rl.envs.BernoulliBandits(3)
    agent = _agent_study.plain_agent(METHODS["A3C"], TINY)
    knowledge = agent.newborn(tasks.spaces, key=getkey())
    learner = StillLearning(agent, knowledge)
    born = learner.init(tasks.spaces, key=getkey())
    assert born.knowledge is knowledge and int(born.steps) == 0
    task = tasks.sample(key=getkey())
    # The first update is before the action after a whole rollout.
    life = rl.lifetime(learner, task, steps=TINY.rollout + 1, key=getkey())
    learned = life.final.learner.knowledge.networks.actor
    before = knowledge.networks.actor
    assert not np.allclose(learned.weights[0], before.weights[0])


def outcome(instance: dict[str, float], distribution: dict[str, float]) -> tuple[Outcome, list]:
    """Two arenas in which players earn what is given, a little more or less with each seed."""
    arenas = [
        Arena(name, name, rl.envs.BernoulliBandits(2), "", TINY) for name in ("left", "right")
    ]
    means = {"instance": instance, "distribution": distribution}
    runs = {
        (session, arena.name, player): [
            Run(
                [0.0],
                [
                    means[session].get(f"{player}-{arena.name}", means[session][player])
                    + nudge * (1 if META in player else -1)
                ]
                * 4,
                [],
                1,
                0.0,
            )
            for nudge in (-0.1, 0.0, 0.1)
        ]
        for session in SESSIONS
        for arena in arenas
        for player in PLAYERS
    }
    untrained = {(s, arena.name): np.zeros((3, 4)) for s in SESSIONS for arena in arenas}
    return Outcome(runs, untrained, 0.0), arenas


PLAIN_BETTER = {"A2C": 2.0, "A3C": 2.0, "MetaA2C": 1.0, "MetaA3C": 1.0}
META_BETTER = {"A2C": 1.0, "A3C": 1.0, "MetaA2C": 2.0, "MetaA3C": 2.0}
EQUAL = dict.fromkeys(PLAYERS, 1.0)
LITTLE = {**EQUAL, "MetaA2C": 1.05, "MetaA3C": 1.05}


@pytest.mark.parametrize(
    ("instance", "distribution", "held"),
    [
        (PLAIN_BETTER, META_BETTER, [True] * 6),
        (EQUAL, EQUAL, [False, False, False, True, True, True]),
        (META_BETTER, PLAIN_BETTER, [False] * 6),
        # Within the errors, above is not above.
        (LITTLE, LITTLE, [False, False, False, True, True, True]),
        (EQUAL, {**META_BETTER, "A3C": 2.0}, [False, False, False, True, True, True]),
        ({**EQUAL, "MetaA2C": 1.5}, META_BETTER, [True, True, True, False, False, False]),
        (EQUAL, {**META_BETTER, "A2C-left": 2.5}, [False, True, True, True, True, True]),
        ({**EQUAL, "A3C-left": 0.5}, META_BETTER, [True, True, True, False, True, False]),
    ],
)
def test_claims_can_hold_and_fail(instance, distribution, held):
    found = rl2_study.claims(*outcome(instance, distribution))
    assert [claim["holds"] for claim in found] == held


def test_advantages_are_on_the_scale_of_each_environment():
    found, _ = outcome(EQUAL, {**META_BETTER, "A2C-left": 20.0, "MetaA2C-left": 40.0})
    np.testing.assert_allclose(found.advantage("distribution", "left", "A2C"), [19.8, 20, 20.2])
    assert found.scale("distribution", "left") == pytest.approx(40.0)
    assert found.scale("distribution", "right") == pytest.approx(2.0)
    # A half of each scale.
    assert found.relative_advantage("distribution", "A2C").mean() == pytest.approx(0.5)


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved, which are not written."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self))
    return figures


def test_bars_show_means_and_deviations(saved, tmp_path):
    first = BarPanel(
        "Bandit",
        {
            "training": {"A": np.asarray([1.0, 3.0]), "B": np.asarray([4.0, 4.0])},
            "test": {"B": np.asarray([-1.0, -2.0])},
        },
        {"untrained": 0.5},
    )
    second = BarPanel("CartPole", {"test": {"A": np.asarray([5.0, 7.0])}})
    rows = {"above": [first, second], "below": [second]}
    bars(tmp_path / "new" / "x.png", "A study", rows, label="reward", note="A note.")
    (figure,) = saved
    left, right, below, empty = figure.axes
    assert [bar.get_height() for bar in left.patches] == [2.0, 4.0, -1.5]
    assert [bar.get_height() for bar in right.patches] == [6.0]
    assert [bar.get_height() for bar in below.patches] == [6.0]
    assert not empty.axison
    colours = [bar.get_facecolor() for bar in left.patches]
    assert colours[1] == colours[2] != colours[0] == right.patches[0].get_facecolor()
    low, high = left.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((2 - math.sqrt(2), 2 + math.sqrt(2)))
    said = [text.get_text() for text in figure.findobj(Text)]
    for words in ("A study", "A note.", "above", "below", "Bandit", "A", "B", "untrained"):
        assert said.count(words) == 1
    assert "bar: mean of 2 trainings\nline: standard deviation" in said


def test_bars_refuse_what_they_cannot_show(tmp_path):
    with pytest.raises(ValueError, match="at least one panel, got none"):
        bars(tmp_path / "x.png", "", {"": []}, label="")
    many = BarPanel("", {"": {name: np.zeros(1) for name in "abcdefg"}})
    with pytest.raises(ValueError, match="There can be 6 players in a chart, got a, b, c, d, e"):
        bars(tmp_path / "x.png", "", {"": [many]}, label="")
