import pytest

import meta
from experiments import _names
from experiments._curricula import CURRICULA
from experiments._figures import FIGURES
from experiments._loops import LOOPS
from experiments._options import Train
from experiments._presets import PRESETS
from experiments._task_table import TASKS
from experiments._train_settings import command, folder, settings

KNOWN = {
    "task": TASKS,
    "learner": _names.TRAINABLE,
    "player": _names.PLAYERS,
    "command": _names.COMMANDS,
    "figure": FIGURES,
    "preset": PRESETS,
}

STRATEGIES = {
    "evolution": meta.EvolutionStrategy,
    "a2c": meta.ActorCritic,
    "ppo": meta.ActorCritic,
    "critics": meta.CriticGradient,
}


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        ("task", "bandit-indpendent", "bandit-independent"),
        ("task", "Bandit-Hard", "bandit-hard"),
        ("learner", "symla-papr", "symla-paper"),
        ("player", "thomson", "thompson"),
        ("player", "ucb", "ucb1"),
        ("command", "trian", "train"),
        ("command", "evalute", "evaluate"),
        ("figure", "fig-4", "figure-4"),
        ("preset", "lptop", "laptop"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(kind, typed, meant):
    with pytest.raises(ValueError) as caught:
        _names.choose(kind, typed, KNOWN[kind])
    assert str(caught.value) == f"There is no {kind} {typed!r}. Did you mean {meant!r}?"


def test_a_name_like_no_other_lists_them_all():
    with pytest.raises(ValueError, match="There are: demo, train, evaluate, matrix, reproduce,"):
        _names.choose("command", "xyzzy", _names.COMMANDS)
    with pytest.raises(ValueError, match="There are: none"):
        _names.choose("pretrained learner", "symla", ())


@pytest.mark.parametrize("kind", KNOWN)
def test_known_names_are_themselves(kind):
    for name in KNOWN[kind]:
        assert _names.choose(kind, name, KNOWN[kind]) == name


@pytest.mark.parametrize(
    ("text", "arms", "shown"),
    [
        ("8", 8, 8),
        ("2-12", (2, 12), "2-12"),
        ("2..12", (2, 12), "2-12"),
        ("3-3", 3, 3),
        (" 1 ", 1, 1),
    ],
)
def test_arms_are_a_number_or_a_range(text, arms, shown):
    assert _names.parse_arms(text) == arms
    assert _names.show_arms(arms) == shown


@pytest.mark.parametrize(
    "text", ["0", "-3", "5-2", "0-4", "two", "2-", "", "2.5", "1-2-3", "2...3"]
)
def test_arms_that_cannot_be(text):
    with pytest.raises(ValueError, match="--arms"):
        _names.parse_arms(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "symal"}, "Did you mean 'symla'"),
        ({"task": ("bandit-uniforn",)}, "Did you mean 'bandit-uniform'"),
        ({"task": ("cartpole", "cartpole")}, "The task cartpole is there twice"),
        ({"task": ("cartpole",), "arms": "3"}, "`--arms` is for bandits, but the task is cartpole"),
        ({"task": ("cartpole",), "fitness": "regret"}, "regret` is for bandits, .* is cartpole"),
        ({"curriculum": "contrl"}, "There is no curriculum 'contrl'"),
        ({"curriculum": "two", "lives": 3, "arms": "2"}, "leave out --arms, --lives"),
        ({"start": "thompson"}, "thompson has nothing to train"),
        ({"start": "a.symla", "hidden_size": 3}, "`--from` says .*; leave out --hidden-size"),
        ({"start": "a.symla", "reduction": "sum"}, "`--from` says .*; leave out --reduction"),
        ({"learner": "metarnn", "reduction": "sum"}, "option of symla; metarnn has none"),
        ({"reduction": "means"}, "Did you mean 'mean'"),
        ({"start": "a.symla", "normalise": "none"}, "`--from` says .*; leave out --normalise"),
        ({"learner": "metarnn", "normalise": "running"}, "option of symla; metarnn has none"),
        ({"normalise": "runing"}, "Did you mean 'running'"),
        ({"preset": "gpus"}, "Did you mean 'gpu'"),
        ({"fitness": "rewards"}, "Did you mean 'reward'"),
        ({"shaping": "ranks"}, "Did you mean 'rank'"),
        ({"common_random_numbers": "pairs"}, "Did you mean 'pair'"),
        ({"arms": "0"}, "`--arms` must be at least 1"),
        ({"task": ("bandit-hard",), "arms": "3"}, "exactly 2 arms, got 3"),
        ({"lives": -3}, "`--lives` must be at least 1, got -3"),
        ({"steps": 0}, "`--steps` must be at least 1, got 0"),
        ({"generations": 0}, "`--generations` must be at least 1"),
        ({"hidden_size": 0}, "`--hidden-size` must be at least 1"),
        ({"chunk": 0}, "`--chunk` must be at least 1"),
        ({"population": 7}, "`--population` must be even.*got 7. Try 8"),
        ({"population": 0}, "`--population` must be at least 1"),
        ({"std": -0.1}, "`--std` must be above 0, got -0.1"),
        ({"std": float("nan")}, "`--std` must be above 0"),
        ({"learning_rate": 0.0}, "`--learning-rate` must be above 0"),
        ({"test_every": -1}, "`--test-every` must be at least 0"),
        ({"outer_loop": "evolve"}, "There is no outer loop 'evolve'. Did you mean 'evolution'"),
        ({"outer_loop": "critics"}, "meta-trains metagenrl only, got --learner symla"),
        ({"outer_loop": "ppo", "std": 0.1, "shaping": "none"}, "ppo` has .*; .* --shaping, --std"),
        ({"outer_loop": "a2c", "fitness": "regret"}, "no such options; leave out --fitness"),
        ({"learner": "metagenrl", "population": 8}, "critics` has .*; leave out --population"),
        ({"learner": "metagenrl", "test_every": 9}, "critics` has .*; leave out --test-every"),
        ({"discount": 0.9}, "evolution` has no such options; leave out --discount"),
        ({"outer_loop": "ppo", "discount": 1.5}, "`--discount` must be a number from 0 to 1"),
        ({"outer_loop": "a2c", "learning_rate": -1.0}, "`--learning-rate` must be above 0"),
        ({"curriculum": "two", "outer_loop": "ppo"}, "leave out --outer-loop"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_training_that_cannot_be_is_refused(options, message, monkeypatch):
    monkeypatch.setitem(CURRICULA, "two", lambda preset: None)
    with pytest.raises(ValueError, match=message):
        settings(Train(**options))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_training_that_can_be(name):
    how = settings(Train(preset=name))
    preset = vars(PRESETS[name])
    assert {k: how[k] for k in preset if k != "description"} == {
        k: v for k, v in preset.items() if k != "description"
    }


def test_options_override_the_preset():
    how = settings(Train(preset="paper", population=32, learner="metarnn", arms="2-4"))
    assert (how["population"], how["learner"], how["arms"]) == (32, "metarnn", "2-4")
    assert how["std"] == PRESETS["paper"].std
    assert how["hidden_size"] == 48  # the preset's is for the cells of a SymLA
    assert settings(Train(learner="metarnn", hidden_size=7))["hidden_size"] == 7


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", LOOPS)
def test_outer_loops_have_budgets_of_their_own(name, preset):
    learner = LOOPS[name].learner or "metarnn"
    how = settings(Train(outer_loop=name, learner=learner, preset=preset, lives=12))
    assert how["outer_loop"] == name and how["lives"] == 12
    numbers = {**LOOPS[name].numbers[preset], "lives": 12}
    assert {key: how[key] for key in numbers} == numbers
    parts, of_what = LOOPS[name].parts(how)
    assert parts >= 1 and of_what
    assert LOOPS[name].lived(how["steps"]) <= how["steps"]
    assert isinstance(LOOPS[name].strategy(how), STRATEGIES[name])


def test_an_outer_loop_is_that_of_the_learner_unless_it_is_named():
    assert settings(Train())["outer_loop"] == "evolution"
    assert settings(Train(learner="metagenrl"))["outer_loop"] == "critics"
    evolved = settings(Train(learner="metagenrl", outer_loop="evolution"))
    assert evolved["population"] == PRESETS["laptop"].population
    assert settings(Train(start="a.symla", outer_loop="critics"))["outer_loop"] == "critics"


def test_the_reduction_follows_the_curriculum(monkeypatch):
    monkeypatch.setitem(CURRICULA, "two", lambda preset: None)
    assert settings(Train())["reduction"] == "mean"
    assert settings(Train(curriculum="two"))["reduction"] == "scaled"
    assert settings(Train(curriculum="two", reduction="sum"))["reduction"] == "sum"
    assert settings(Train(learner="symla-paper"))["reduction"] is None
    assert settings(Train(curriculum="two"))["normalise"] == "none"
    assert settings(Train(normalise="running"))["normalise"] == "running"
    assert settings(Train(learner="symla-paper"))["normalise"] is None


def test_the_steps_and_the_fitness_follow_the_task():
    def said(**options) -> list[tuple]:
        lessons = settings(Train(**options))["lessons"]
        return [tuple(lesson.values()) for lesson in lessons]

    assert said() == [("bandit-independent", 100, "regret")]
    both = ("bandit-hard+permute", "cartpole:reward=sparse")
    assert said(task=both) == [(both[0], 100, "regret"), (both[1], 500, "reward")]
    assert said(task=both, steps=7, fitness="reward") == [(t, 7, "reward") for t in both]
    how = settings(Train(task=both))
    assert how["task"] == " ".join(both) and how["steps"] is None is how["fitness"]
    assert "arms" not in how and how["lives"] == PRESETS["laptop"].lives


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "symla-bandit-independent-2-laptop-0"),
        ({"arms": "2-8", "seed": 3}, "symla-bandit-independent-2-8-laptop-3"),
        ({"task": ("bandit-independent:arms=4",)}, "symla-bandit-independent-arms-4-laptop-0"),
        (
            {"task": ("cartpole:length=0.25..1+permute", "acrobot"), "learner": "metarnn"},
            "metarnn-cartpole-length-0.25..1-permute-acrobot-laptop-0",
        ),
        ({"start": "pretrained:x", "curriculum": "two"}, "pretrained-x-two-laptop-0"),
    ],
)
def test_a_training_has_a_folder_of_its_own(options, name, monkeypatch, tmp_path):
    monkeypatch.setitem(CURRICULA, "two", lambda preset: None)
    asked = Train(**options)
    assert folder(asked, settings(asked)).parts == ("runs", name)
    assert folder(Train(out=tmp_path), {}) == tmp_path


def test_the_command_that_resumes_says_what_was_asked(tmp_path):
    asked = Train(arms="2-4", std=0.2, tensorboard=True, json_output=True)
    words = command(asked, tmp_path).split()
    expected = f"symla train --arms 2-4 --std 0.2 --out {tmp_path} --tensorboard --json"
    assert words == expected.split()
    asked = Train(start="a.symla", task=("cartpole+permute", "acrobot"), preset="gpu")
    assert command(asked, tmp_path) == (
        f"symla train --from a.symla --task cartpole+permute acrobot --preset gpu --out {tmp_path}"
    )
