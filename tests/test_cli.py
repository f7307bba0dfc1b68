import dataclasses
import json
import shlex
import sys
import types
from collections.abc import Callable
from typing import get_args

import equinox as eqx
import jax.random as jr
import pytest

import meta
import rl
from experiments import _builders, _figures, _train
from experiments._names import COMMANDS, LISTS, PLAYERS, TASKS, TRAINABLE
from experiments._options import Options, Train
from experiments._presets import PRESETS
from experiments.cli import main
from rl import envs

OPTIONS = {cls.__name__.lower(): cls for cls in get_args(Options)}
TINY = "--steps 3 --population 4 --lives 2 --hidden-size 2 --chunk 1 --test-every 0".split()


def one_object(text: str) -> dict:
    """The JSON object that a text is, with nothing before or after it but the end of the line."""
    assert text.endswith("}\n") and text.count("\n") == 1
    return json.loads(text)


def shown(result: dict, capsys: pytest.CaptureFixture[str]) -> str:
    """What `symla train` says of its result when it is asked for no JSON."""
    _train.show_train(result)
    return capsys.readouterr().out


def test_there_are_options_for_each_command():
    assert set(OPTIONS) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    fields = dataclasses.fields(OPTIONS[command])
    for field in fields:
        if field.name not in ("figure", "target", "what"):
            name = "json" if field.name == "json_output" else field.name.replace("_", "-")
            assert f"--{name} " in text
    # Every option ends with its default, or that it must be given.
    assert text.count("(default: ") + text.count("(required)") == len(fields)


def test_the_first_help_names_the_commands(capsys):
    for argv in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 0
        out = capsys.readouterr().out
        for command in COMMANDS:
            assert f"• {command} " in out


def test_the_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith("symla ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "There is no command 'trian'. Did you mean 'train'?"),
        ("evaluate --learner thomson", "Did you mean 'thompson'?"),
        ("evaluate --learner pretrained:xyz", "There is no pretrained learner 'xyz'."),
        ("evaluate --learner random --task bandit-esay", "Did you mean 'bandit-easy'?"),
        ("evaluate --learner random --arms 0", "`--arms` must be at least 1"),
        ("evaluate --learner random --lives 0", "`--lives` must be at least 1, got 0."),
        ("evaluate --learner optimal --arms 2-3", "known for 2 arms, got 2-3"),
        ("evaluate --learner optimal --steps 1000", "at most 150"),
        ("evaluate --learner there/is/none.symla", "There is no file there/is/none.symla."),
        ("train --population 7", "`--population` must be even"),
        ("train --std -1", "`--std` must be above 0, got -1.0."),
        ("train --preset papr", "There is no preset 'papr'. Did you mean 'paper'?"),
        ("reproduce figure-33", "There is no figure 'figure-33'. Did you mean 'figure-3'?"),
        ("certify thomson", "There is no learner 'thomson'. Did you mean 'thompson'?"),
        ("list taks", "There is no list 'taks'. Did you mean 'tasks'?"),
        ("demo --generations 0", "`--generations` must be at least 1, got 0."),
    ],
)
def test_mistakes_are_one_plain_line(line, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*line.split(), *([] if line == "trian" else ["--json"])])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("symla: error: ") and said.err.count("\n") == 1
    assert message in said.err


@pytest.mark.parametrize("line", ["train --lifes 3", "train --lives many", "evaluate"])
def test_options_that_cannot_be_read(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*line.split(), "--json"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and "--l" in said.err


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments._commands.list_names", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["list"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "symla: interrupted\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def broken(options):
        raise TypeError("a bug")

    monkeypatch.setattr("experiments._commands.list_names", broken)
    with pytest.raises(TypeError, match="a bug"):
        main(["list"])


def test_evaluate_prints_one_object_of_unseen_lives(capsys):
    main("evaluate --learner random --arms 3 --lives 5 --steps 4 --seed 7 --json".split())
    result = one_object(capsys.readouterr().out)
    asked = {"learner": "random", "task": "bandit-independent", "arms": 3, "lives": 5}
    assert asked | {"steps": 4, "seed": 7} == {k: result[k] for k in [*asked, "steps", "seed"]}
    direct = meta.evaluate(
        rl.classic.RandomPlayer(),
        envs.BernoulliBandits(3),
        steps=4,
        lives=5,
        key=jr.fold_in(jr.key(7), 0x7E57),
    )
    assert result["regret_mean"] == pytest.approx(direct.mean("regret"), rel=1e-6)
    assert result["regret_sem"] == pytest.approx(direct.sem("regret"), rel=1e-6)
    assert result["reward_mean"] == pytest.approx(direct.mean(), rel=1e-6)
    assert result["reward_sem"] == pytest.approx(direct.sem(), rel=1e-6)
    assert result["versions"]["symla"] and "regret_exact" not in result


def test_evaluate_knows_the_exact_optimum(capsys, tmp_path):
    file = tmp_path / "result.json"
    main(f"evaluate --learner optimal --lives 1 --steps 3 --out {file}".split())
    said = capsys.readouterr().out
    result = json.loads(file.read_text())
    # The first of three pulls is blind: it alone costs 1 / 6.
    exact = rl.classic.bayes_optimal_regret("independent", 3)
    assert result["regret_exact"] == exact and 1 / 6 < exact < 3 / 6
    assert result["regret_sem"] is None  # one life has no spread
    assert f"{exact:.3f}" in said and f"{result['regret_mean']:.3f}" in said


@pytest.mark.parametrize("name", PLAYERS)
def test_every_player_can_be_found(name):
    assert isinstance(_builders.find_learner(name, "bandit-hard", 2, 100), rl.Learner)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_made(name):
    assert f"bandit-{_builders.make_tasks(name, 2).kind}" == name


def test_every_learner_can_be_made():
    def shapes(build: Callable[..., rl.Learner], *args: object) -> rl.Learner:
        return eqx.filter_eval_shape(lambda: build(*args, key=jr.key(0)))

    spaces = rl.Spaces(1, 3)
    made = {name: shapes(_builders.make_learner, name, 4, spaces) for name in TRAINABLE}
    kinds = {name: type(learner) for name, learner in made.items()}
    assert kinds.pop("metarnn") is rl.MetaRNN and set(kinds.values()) == {rl.SymLA}
    assert meta.hyperparameters(made["metarnn"])["num_actions"] == 3
    for name, preset in (("symla-paper", rl.SymLA.paper), ("symla-official", rl.SymLA.official)):
        assert meta.hyperparameters(made[name]) == meta.hyperparameters(shapes(preset, 4))


def test_a_learner_of_another_size_is_one_plain_line(tmp_path, capsys, getkey):
    path = tmp_path / "fixed.symla"
    meta.save(path, rl.MetaRNN(1, 2, 4, key=getkey()))
    with pytest.raises(SystemExit) as ended:
        main(f"evaluate --learner {path} --arms 3".split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("symla: error: This MetaRNN was made for 1 observations and 2 actions")
    assert said.count("\n") == 1


def test_a_damaged_learner_is_one_plain_line(tmp_path, capsys, getkey):
    path = tmp_path / "cut.symla"
    meta.save(path, rl.MetaRNN(1, 2, 4, key=getkey()))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SystemExit) as ended:
        main(f"evaluate --learner {path}".split())
    assert ended.value.code == 2
    assert "cut off" in capsys.readouterr().err


def test_a_training_stops_and_goes_on(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    train = meta.train

    def stopped(*args, **options):
        return train(*args, **options, callback=lambda *_: True)

    monkeypatch.setattr(meta, "train", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["train", *TINY, "--generations", "2", "--seed", "3", "--out", str(out), "--json"])
    assert ended.value.code == 130
    result = one_object(capsys.readouterr().out)
    assert not result["finished"] and result["generations_done"] == 1
    assert "test" not in result and result["resume"] in shown(result, capsys)

    monkeypatch.setattr(meta, "train", train)
    scores = {"regret_mean": 1.5, "regret_sem": 0.25}
    monkeypatch.setattr(_builders, "meta_test", lambda *_, seed, **__: scores | {"of": seed})
    command = shlex.split(result["resume"])
    assert command[0] == "symla"
    main(command[1:])
    result = one_object(capsys.readouterr().out)
    assert result["finished"] and result["generations_done"] == 2 and result["resume"] is None
    assert result["test"] == {"lives": 1000, "seed": 3, "of": 3, **scores}
    assert json.loads((out / "train.json").read_text()) == result
    header = meta.read_header(out / "learner.symla")
    assert header["notes"]["test"] == result["test"] and header["notes"]["seed"] == 3
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2

    assert "1.500 ± 0.250 over 1000 unseen lives of 3 pulls" in shown(result, capsys)
    folder = _builders.find_learner(str(out), "bandit-hard", 2, 100)
    assert meta.hyperparameters(folder)["hidden_size"] == 2

    with pytest.raises(SystemExit) as ended:
        main(["train", *TINY, "--generations", "2", "--seed", "4", "--out", str(out)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "holds another training" in said.err


def test_the_command_that_resumes_says_what_was_asked(tmp_path):
    asked = Train(arms="2-4", std=0.2, tensorboard=True, json_output=True)
    words = shlex.split(_train._command(asked, tmp_path))
    assert words[:2] == ["symla", "train"]
    expected = f"--arms 2-4 --std 0.2 --out {tmp_path} --tensorboard --json".split()
    assert words[2:] == expected


def test_reproduce_shows_the_claims(monkeypatch, capsys, tmp_path):
    calls = []

    def fake(preset, *, seed, out, progress):
        calls.append((preset, seed, out))
        print("progress")
        claim = {"claim": "It works.", "measured": {"x": 1.5}, "criterion": "x < 2", "holds": True}
        return {"figure": "figure-0", "claims": [claim]}

    module = types.SimpleNamespace(DESCRIPTION="A test", PRESETS=("laptop",), reproduce=fake)
    monkeypatch.setitem(sys.modules, "experiments.figure_0", module)
    monkeypatch.setitem(_figures.FIGURES, "figure-0", "experiments.figure_0")
    line = f"reproduce figure-0 --seed 5 --out {tmp_path}".split()
    main([*line, "--json"])
    result = one_object(capsys.readouterr().out)
    assert result["claims"][0]["holds"] and result["out"] == str(tmp_path)
    assert calls == [("laptop", 5, tmp_path)]
    main(line)
    said = capsys.readouterr()
    assert "It works." in said.out + said.err and str(tmp_path) in said.out
    with pytest.raises(SystemExit):
        main([*line, "--preset", "laptp"])
    assert "Did you mean 'laptop'?" in capsys.readouterr().err


def test_list_knows_everything(capsys):
    main(["list", "--json"])
    names = one_object(capsys.readouterr().out)
    assert tuple(names) == LISTS
    assert set(names["tasks"]) == set(TASKS)
    assert set(names["learners"]) == {*TRAINABLE, *PLAYERS}
    assert set(names["figures"]) == set(_figures.FIGURES)
    assert set(names["presets"]) == set(PRESETS)
    assert set(names["pretrained"]) == set(meta.pretrained_names())
    for figure in names["figures"].values():
        assert figure["description"] and set(figure["presets"]) <= set(PRESETS)


@pytest.mark.parametrize("what", LISTS)
def test_each_list_is_a_table(what, capsys):
    main(["list", what])
    out = capsys.readouterr().out
    assert out.startswith(what)
    main(["list", what, "--json"])
    for name in one_object(capsys.readouterr().out)[what]:
        assert name in out
