"""Cards of learners that public commands make."""

import dataclasses
import json

import jax.random as jr
import pytest

import meta
import rl
from experiments import _cards, pretrain

pytestmark = pytest.mark.usefixtures("cheap_compilation")
TASK = "cartpole+permute"
RECIPE = _cards.Recipe(
    command="symla train --curriculum x --seed {seed}",
    file="s-{seed}/learner.symla",
    folders=("s-{seed}",),
    told="A learner for a test.",
    tests=((TASK, "order no", (_cards.Rival("random", 7, 2),)),),
    limits="None.",
)


@pytest.mark.slow
def test_a_card_tells_scores_rivals_command_and_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(_cards, "LIVES", 4)
    runs, to = tmp_path / "runs", tmp_path / "to"
    stage = runs / "s-5" / "stage-0-a"
    stage.mkdir(parents=True)
    to.mkdir()
    lines = [json.dumps({"seconds": 20.5}), json.dumps({"seconds": 21.5})]
    (stage / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    learner = rl.SymLA(hidden_size=2, key=jr.key(0))
    meta.save(runs / "s-5" / "learner.symla", learner)
    reports = _cards.make("some-name", RECIPE, runs=runs, to=to, seed=5)
    card, header = (to / "some-name.md").read_text(), meta.read_header(to / "some-name.symla")
    assert card.startswith("# some-name\n\nA learner for a test.")
    report = reports[TASK]
    own = f"{report['no_fall_at_last']:.1%} without a fall in the last fifth"
    row = next(line for line in card.splitlines() if line.startswith(f"| `{TASK}` | order no |"))
    assert own in row and f"{report['reward_mean']:.2f} ± {report['reward_sem']:.2f}" in row
    assert f"| `{TASK}` | random, 2 lives | 7 |" in card
    assert f"| `{TASK}` | **some-name** | 500 |" in card
    assert "`symla train --curriculum x --seed 5`" in card and "\n42 seconds" in card
    assert json.loads(json.dumps(header))["notes"]["scores"][TASK]["reward_mean"] == pytest.approx(
        report["reward_mean"]
    )


def test_a_card_says_what_observations_are_normalised():
    plain, normalised = (
        rl.SymLA(hidden_size=2, normalise=how, key=jr.key(0)) for how in ("none", "running")
    )
    assert "normalised" not in _cards._kind(plain) and "normalised" in _cards._kind(normalised)


def test_a_card_says_what_an_objective_is_blind_to():
    plain, mirrored = (
        meta.MetaGenRL((4, 3), units=2, mirrored=how, key=jr.key(0)) for how in (False, True)
    )
    assert "layers of 4 and 3" in _cards._kind(plain) and "blind" not in _cards._kind(plain)
    assert "blind to the sign of actions" in _cards._kind(mirrored)


def test_a_learner_that_was_not_made_yet_is_said_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="Run `symla train --curriculum x --seed 0 --out"):
        _cards.make("n", RECIPE, runs=tmp_path, to=tmp_path, seed=0)


def test_every_recipe_has_tasks_that_the_command_line_knows():
    for recipe in pretrain.MADE.values():
        for task, _, rivals in recipe.tests:
            assert _cards.parse_task(task).text
            for rival in rivals:
                assert _cards._player(rival, task)
        assert dataclasses.asdict(recipe)["command"].format(seed=3).startswith("symla ")


def test_a_name_without_a_recipe_lists_all(tmp_path):
    with pytest.raises(ValueError, match="symla-bandit-2, .*symla-general"):
        pretrain.make("nothing", runs=tmp_path, to=tmp_path)
