import json
import re

import jax.random as jr
import numpy as np
import pytest

import meta
import rl
from experiments import _builders, _evaluate
from experiments._evaluate import SHUFFLED, report, verdict
from experiments.cli import main

pytestmark = pytest.mark.usefixtures("cheap_compilation")
BANDITS = rl.envs.BernoulliBandits(2)


def test_a_learner_and_its_controls_live_the_same_lives():
    learner = rl.classic.GreedyPosteriorMean()
    result = report(learner, BANDITS, steps=40, lives=300, seed=2, frozen=(0.2, 0.2))
    assert list(result["controls"]) == [
        SHUFFLED,
        "frozen after 8",
        "random player",
    ]
    direct = meta.evaluate(
        learner, BANDITS, steps=40, lives=300, key=_builders.test_key(2), parts=10
    )
    assert result["reward_mean"] == pytest.approx(direct.mean())
    assert result["regret_sem"] == pytest.approx(direct.sem("regret"))
    mean, sem = direct.improvement()
    assert result["improvement"]["reward"] == pytest.approx({"mean": mean, "sem": sem})
    for name, parts in result["parts"].items():
        assert len(parts) == 10
        total = result[f"{name}_mean"]
        assert 4 * sum(parts) == pytest.approx(total, rel=1e-5)
    # Until it is frozen, a control does exactly what the learner does.
    late = result["controls"]["frozen after 8"]
    for name, parts in late["parts"].items():
        assert parts[:2] == pytest.approx(result["parts"][name][:2], rel=1e-6)
        assert parts[2:] != pytest.approx(result["parts"][name][2:], rel=1e-6)
    for control in result["controls"].values():
        behind = result["reward_mean"] - control["reward_mean"]
        assert control["behind"]["mean"] == pytest.approx(behind, abs=1e-4)
        assert "controls" not in control
    assert verdict(result).startswith("It learns: it gains 0.")
    random = result["controls"]["random player"]["regret_mean"]
    assert result["regret_mean"] < late["regret_mean"] < random == pytest.approx(40 / 6, rel=0.15)


def test_lives_without_a_fall_at_last():
    tasks, player = _builders.make_tasks("cartpole"), rl.classic.RandomPlayer()
    result = report(player, tasks, steps=60, lives=100, seed=2, controls=False)
    key = _builders.test_key(2)
    direct = meta.evaluate(player, tasks, steps=60, lives=100, key=key, parts=5)
    assert direct.by_part is not None
    share = float((direct.by_part["falls"][:, -1] == 0).mean())
    assert 0.2 < share < 0.9
    assert result["no_fall_at_last"] == pytest.approx(share)
    assert "no_fall_at_last" not in report(
        player, BANDITS, steps=5, lives=2, seed=0, controls=False
    )


def change(mean: float, sem: float | None = 0.1) -> dict:
    return {"mean": mean, "sem": sem}


@pytest.mark.parametrize(
    ("gain", "behind", "says"),
    [
        (change(0.5), change(2.0), "It learns: it gains 0.50 ± 0.10 a step"),
        (change(0.2), change(2.0), "Its rewards matter: with its rewards shuffled"),
        (change(0.5), change(0.2), "It gains 0.50 ± 0.10 a step .* but not by its rewards"),
        (change(-0.5), change(-2.0), "No sign of learning: it gains -0.50 ± 0.10"),
    ],
)
def test_the_verdict(gain, behind, says):
    result = {"improvement": {"reward": gain}, "controls": {SHUFFLED: {"behind": behind}}}
    assert re.match(says, verdict(result))


def test_one_life_has_no_errors(capsys):
    main("evaluate --learner random --lives 1 --steps 3 --task cartpole".split())
    said = capsys.readouterr().out
    assert "random on cartpole: mean ± s.e. of 1 lives of 3 steps" in said
    assert "±" not in said.replace("mean ± s.e.", "") and "It learns" not in said


def test_controls_are_for_meta_trained_learners(tmp_path, capsys, monkeypatch):
    asked = []

    def fake(learner, tasks, *, controls, frozen, **options):
        asked.append((controls, frozen, options["steps"]))
        return options

    monkeypatch.setattr(_evaluate, "report", fake)
    path = tmp_path / "a.symla"
    meta.save(path, rl.SymLA(2, key=jr.key(0)))
    for line in (
        f"--learner {path}",
        f"--learner {path} --no-controls --task acrobot",
        f"--learner {path} --frozen 0.25 --steps 9",
        "--learner random --task contextual-bandit",
    ):
        main(["evaluate", *line.split(), "--json"])
    assert asked == [
        (True, (0.1, 0.5), 100),
        (False, (0.1, 0.5), 500),
        (True, (0.25,), 9),
        (False, (0.1, 0.5), 100),
    ]
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result.get("arms") for result in results] == [2, None, 2, None]


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [((5, 2), "that is +pad=5x2."), ((4, 4), "that is +pad=4x4."), ((3, 2), "pad the task")],
)
def test_a_learner_of_fixed_size_gets_advice(sizes, advice, getkey):
    learner = rl.MetaRNN(sizes[0], sizes[1], 2, key=getkey())
    tasks = _builders.make_tasks("cartpole")
    with pytest.raises(ValueError) as caught:
        _evaluate.check_fits(learner, tasks)
    assert advice in str(caught.value) and "\n" not in str(caught.value)
    assert ("+pad" in str(caught.value)) == (advice != "pad the task")
    if sizes == (5, 2):
        _evaluate.check_fits(learner, _builders.make_tasks("cartpole+pad=5x2"))


def test_a_random_player_in_a_continuous_task():
    life = rl.lifetime(
        rl.classic.RandomPlayer(),
        _builders.make_tasks("pendulum").sample(key=jr.key(0)),
        steps=200,
        key=jr.key(1),
        record=("actions",),
    )
    actions = np.asarray(life.actions)
    assert actions.shape == (200, 1) and actions.min() < -0.9 and actions.max() > 0.9
    assert np.abs(actions).max() <= 1 and np.abs(actions.mean()) < 0.15


def test_numbers_have_the_digits_that_their_errors_allow():
    shown = {
        (12.3456, 1.26): "12.3 ± 1.3",
        (0.98765, 0.0123): "0.988 ± 0.012",
        (512.3, 25.0): "512 ± 25",
        (1.5, None): "1.500",
        (0.0, 0.0): "0.000 ± 0.000",
    }
    assert {pair: _evaluate._with_error(*pair) for pair in shown} == shown
