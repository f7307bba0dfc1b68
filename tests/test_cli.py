import dataclasses
import json
import shlex
import sys
import types
from collections.abc import Callable
from typing import Any, get_args

import equinox as eqx
import jax.random as jr
import pytest
from helpers import logged

import meta
import rl
from experiments import _builders, _evaluate, _figures, _train
from experiments._curricula import CURRICULA
from experiments._names import COMMANDS, LISTS, PLAYERS, TRAINABLE
from experiments._options import Options
from experiments._presets import PRESETS
from experiments._task_table import TASKS, WRAPPERS
from experiments._tasks import parse_task
from experiments.cli import main
from rl import envs

pytestmark = pytest.mark.usefixtures("cheap_compilation")
OPTIONS = {cls.__name__.lower(): cls for cls in get_args(Options)}
TINY = "--steps 3 --population 4 --lives 2 --hidden-size 2 --chunk 1 --test-every 0".split()


REPORT = {
    "regret_mean": 1.5,
    "regret_sem": 0.25,
    "reward_mean": 2.0,
    "reward_sem": None,
    "parts": {"reward": [0.5, 0.75], "regret": [0.5, 0.25]},
    "improvement": {"reward": {"mean": 0.25, "sem": 0.1}},
}


def one_object(text: str) -> dict:
    """The JSON object that a text is, with nothing before or after it but the end of the line."""
    assert text.endswith("}\n") and text.count("\n") == 1
    return json.loads(text)


@pytest.fixture
def reports(monkeypatch):
    """The final meta-tests that would be made."""
    asked = []

    def report(learner, tasks, **options):
        asked.append((learner, tasks, options))
        return REPORT | options

    monkeypatch.setattr(_evaluate, "report", report)
    return asked


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
            special = {"json_output": "json", "start": "from", "controls": "no-controls"}
            name = special.get(field.name, field.name.replace("_", "-"))
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
        ("evaluate --learner random --task cartpole+pole=2", "There is no wrapper 'pole'."),
        ("evaluate --learner random --task acrobot --arms 3", "`--arms` is for bandits"),
        ("evaluate --learner greedy --task cartpole", "greedy plays Bernoulli bandits only"),
        ("evaluate --learner ucb1 --task bandit-hard+swap", "whose rewards are 0 or 1"),
        ("evaluate --learner optimal --task bandit-hard+permute", "with nothing around them"),
        ("evaluate --learner random --frozen 0.5 1.5", "`--frozen` are shares of a life"),
        ("evaluate --learner random --task cartpole+pad=2x2", "`observation_size` must be at"),
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
    task = "tabular-mdp:episode_steps=7" if name == "psrl" else "bandit-hard"
    learner = _builders.find_learner(name, parse_task(task), 100)
    assert isinstance(learner, rl.Learner)
    if name == "psrl":
        assert learner == rl.classic.PSRL(7)


def test_psrl_refuses_what_is_not_tabular():
    with pytest.raises(ValueError, match="psrl plays tabular decision processes only.*cartpole"):
        _builders.find_learner("psrl", parse_task("cartpole"), 100)


def test_every_learner_can_be_made():
    def shapes(build: Callable[..., rl.Learner], *args: object) -> rl.Learner:
        return eqx.filter_eval_shape(lambda: build(*args, key=jr.key(0)))

    spaces = rl.Spaces(1, 3)
    made = {name: shapes(_builders.make_learner, name, 4, spaces) for name in TRAINABLE}
    kinds = {name: type(learner) for name, learner in made.items()}
    assert kinds.pop("metarnn") is rl.MetaRNN and kinds.pop("maml") is rl.classic.MAML
    objectives = [kinds.pop(name) for name in ("metagenrl", "epg", "lpg")]
    assert objectives == [meta.MetaGenRL, meta.EPG, meta.LPG]
    assert set(kinds.values()) == {rl.SymLA}
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


def test_a_training_stops_and_goes_on(tmp_path, capsys, monkeypatch, reports):
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
    command = shlex.split(result["resume"])
    assert command[0] == "symla"
    main(command[1:])
    result = one_object(capsys.readouterr().out)
    assert result["finished"] and result["generations_done"] == 2 and result["resume"] is None
    options = {"steps": 3, "lives": 1000, "seed": 3}
    assert result["tests"] == {"bandit-independent": REPORT | options}
    assert [asked[1:] for asked in reports] == [(envs.BernoulliBandits(2), options)]
    assert json.loads((out / "train.json").read_text()) == result
    header = meta.read_header(out / "learner.symla")
    assert header["notes"]["tests"] == result["tests"] and header["notes"]["seed"] == 3
    assert len(logged(out)) == 2

    assert "1.50 ± 0.25" in shown(result, capsys)
    folder = _builders.load_learner(str(out))
    assert meta.hyperparameters(folder)["hidden_size"] == 2

    with pytest.raises(SystemExit) as ended:
        main(["train", *TINY, "--generations", "2", "--seed", "4", "--out", str(out)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "holds another training" in said.err


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
    assert set(names["tasks"]) == set(TASKS) and set(names["wrappers"]) == set(WRAPPERS)
    assert names["tasks"]["cartpole"]["options"]["length"]["default"] == "0.5"
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


def tiny(preset: str) -> meta.Curriculum:
    """Two tiny stages."""
    strategy = meta.EvolutionStrategy(2 if preset == "laptop" else 4)
    bandits = meta.Lesson(envs.BernoulliBandits(2), steps=2, lives=1)
    control = meta.Lesson(envs.Vary(envs.CartPole()), steps=3, lives=1, name="poles")
    return meta.Curriculum([meta.Stage(one, 1, strategy) for one in (bandits, control)])


def test_train_on_several_tasks_from_a_learner(tmp_path, capsys, reports, getkey):
    start = tmp_path / "start.symla"
    meta.save(start, rl.SymLA(3, key=getkey()))
    tasks = ["bandit-hard", "cartpole+permute"]
    line = "--steps 3 --population 4 --lives 2 --chunk 1 --test-every 0 --generations 1".split()
    out = tmp_path / "run"
    main(["train", "--from", str(start), "--task", *tasks, *line, "--out", str(out), "--json"])
    result = one_object(capsys.readouterr().out)
    assert result["learner"] == str(start) and result["hidden_size"] is None
    assert list(result["tests"]) == tasks
    assert [type(tasks) for _, tasks, _ in reports] == [envs.BernoulliBandits, envs.Permute]
    (record,) = logged(out)
    assert {f"fitness_mean/{task}" for task in tasks} <= set(record)
    trained = meta.load(out / "learner.symla")
    assert meta.hyperparameters(trained)["hidden_size"] == 3
    # It began at the learner, and one generation does not lead far.
    old, new = (eqx.filter(one, eqx.is_array) for one in (meta.load(start), trained))
    assert eqx.tree_equal(old, new, rtol=0.5, atol=0.2)


def test_train_by_policy_gradients(tmp_path, capsys, reports):
    line = "--learner metarnn --outer-loop ppo --hidden-size 2 --lives 8 --generations 1 --steps 3"
    out = tmp_path / "run"
    main(["train", *line.split(), "--discount", "0.5", "--out", str(out), "--json"])
    result = one_object(capsys.readouterr().out)
    assert (result["outer_loop"], result["discount"], result["fitness"]) == ("ppo", 0.5, "reward")
    assert not {"population", "std", "shaping"} & set(result)
    assert [asked[1:] for asked in reports] == [
        (envs.BernoulliBandits(2), {"steps": 3, "lives": 1000, "seed": 0})
    ]
    told = {name: value for line in logged(out) for name, value in line.items()}
    assert told["entropy"] > 0 and told["held-out/reward"] >= 0
    assert "members" not in (said := shown(result, capsys)) and "lives at once, in" in said


@pytest.mark.slow
def test_train_an_objective_by_critics(tmp_path, capsys, reports):
    """Tests are lives of newborn agents, which are longer than what a generation lives."""
    line = (
        "--learner metagenrl --task point:steps_in_episode=5 --hidden-size 4 --lives 2 --steps 40"
    )
    out = tmp_path / "run"
    main(["train", *line.split(), "--generations", "2", "--out", str(out), "--json"])
    result = one_object(capsys.readouterr().out)
    assert (result["outer_loop"], result["steps"]) == ("critics", 40)
    assert [options for *_, options in reports] == [{"steps": 40, "lives": 20, "seed": 0}]
    learner: Any = meta.load(out / "learner.symla")
    assert (learner.warm_up, learner.critic_warm_up, learner.discount) == (10, 10, 0.9)


def test_train_by_a_curriculum(tmp_path, capsys, reports, monkeypatch):
    monkeypatch.setitem(CURRICULA, "tiny", tiny)
    out = tmp_path / "run"
    line = ["train", "--curriculum", "tiny", "--hidden-size", "2", "--out", str(out)]
    main([*line, "--json"])
    result = one_object(capsys.readouterr().out)
    assert result["finished"] and result["generations_done"] == 2
    assert result["curriculum"] == "tiny" and list(result["tests"]) == ["poles"]
    assert result["tests"]["poles"]["steps"] == 3
    assert meta.hyperparameters(meta.load(out / "learner.symla"))["hidden_size"] == 2
    assert (out / "stage-0-BernoulliBandits").is_dir() and (out / "stage-1-poles").is_dir()
    main(line)
    said = capsys.readouterr().out
    assert "where a curriculum has begun" in said and "poles" in said
    main(["list", "curricula", "--json"])
    names = one_object(capsys.readouterr().out)["curricula"]
    assert names["tiny"] == "Two tiny stages."


def test_a_curriculum_that_does_not_reach_its_aim_is_one_line(tmp_path, capsys, monkeypatch):
    def failing(preset: str) -> meta.Curriculum:
        raise meta.NotReachedError("Stage 0 ended without right at least 2.")

    monkeypatch.setattr(meta, "train_curriculum", lambda *_, **__: failing(""))
    monkeypatch.setitem(CURRICULA, "tiny", tiny)
    with pytest.raises(SystemExit) as ended:
        main(f"train --curriculum tiny --hidden-size 2 --out {tmp_path}/run".split())
    assert ended.value.code == 2
    assert "symla: error: Stage 0 ended without right" in capsys.readouterr().err
