import csv
import json

import jax.random as jr
import numpy as np
import pytest

import meta
import rl
from experiments import _builders, _matrix, _matrix_cells, _study_plots
from experiments._matrix import plan, show_matrix
from experiments._matrix_cells import Cell, scores
from experiments._options import Matrix
from experiments._statistics import interquartile_mean
from experiments.cli import main

pytestmark = pytest.mark.usefixtures("cheap_compilation")
TESTS = "bandit-independent:arms=3+permute cartpole"


@pytest.fixture
def maps(monkeypatch):
    """The heat maps that would be drawn."""
    drawn = []

    def draw(path, title, rows, columns, values, lows, highs, *, note):
        drawn.append((rows, columns, values, lows, highs))
        path.write_text(title + note)

    monkeypatch.setattr(_study_plots, "generalisation_matrix", draw)
    return drawn


@pytest.fixture
def files(tmp_path):
    """Two SymLAs, which fit everything, and a MetaRNN, which does not."""
    keys = jr.split(jr.key(3), 3)
    for seed in (0, 1):
        meta.save(tmp_path / f"symla-{seed}.symla", rl.SymLA(2, key=keys[seed]))
    meta.save(tmp_path / "rnn.symla", rl.MetaRNN(1, 3, 2, key=keys[2]))
    return tmp_path


@pytest.mark.slow
def test_a_matrix_of_learners(files, maps, capsys, monkeypatch):
    learners = f"ours={files}/symla-0.symla ours={files}/symla-1.symla {files}/rnn.symla"
    line = f"matrix --learners {learners} --tests {TESTS} --lives 6 --steps 5 --out {files}/out"
    main([*line.split(), "--json"])
    result = json.loads(capsys.readouterr().out)
    rows = ["ours", "rnn", "random", "thompson"]
    assert result["rows"] == rows and result["tests"] == TESTS.split()
    assert json.loads((files / "out/matrix.json").read_text()) == result
    cells = {(cell["row"], cell["test"]): cell for cell in result["cells"]}
    assert len(cells) == 8 == len(result["cells"])

    # The number in a cell is what `meta.evaluate` says of the same lives.
    lived = [
        meta.evaluate(
            meta.load(files / f"symla-{seed}.symla"),
            _builders.make_tasks("bandit-independent:arms=3+permute"),
            steps=5,
            lives=6,
            key=_builders.test_key(0),
        ).total_rewards
        for seed in (0, 1)
    ]
    cell = cells["ours", "bandit-independent:arms=3+permute"]
    expected = interquartile_mean(np.concatenate(lived).astype(float) / 5)
    assert cell["value"] == pytest.approx(float(expected)) and cell["seeds"] == 2
    assert cell["low"] <= cell["value"] <= cell["high"]

    # What does not fit is empty and says why.
    empty = {where for where, cell in cells.items() if cell["value"] is None}
    assert empty == {("rnn", "cartpole"), ("thompson", "cartpole")}
    assert cells["rnn", "cartpole"]["note"].startswith("This MetaRNN was made for 1 observations")
    assert "Bernoulli bandits only" in cells["thompson", "cartpole"]["note"]
    assert all((cell["note"] is None) == (cell["value"] is not None) for cell in cells.values())

    table = list(csv.DictReader((files / "out/matrix.csv").read_text().splitlines()))
    assert [row["value"] for row in table] == [
        "" if cell["value"] is None else str(cell["value"]) for cell in result["cells"]
    ]
    (names, columns, values, lows, highs), *_ = maps
    assert names == rows and columns == [*TESTS.split(), "all tests"]
    for i, row in enumerate(rows):
        for j, test in enumerate(TESTS.split()):
            norm = cells[row, test]["normalised"]
            assert values[i, j] == norm["value"] if norm else np.isnan(values[i, j])
            assert (lows[i, j] <= highs[i, j]) if norm else np.isnan(lows[i, j])

    # The second time nothing is lived again, and it says the same.
    monkeypatch.setattr(_matrix_cells, "Lives", None)
    main([*line.split(), "--json"])
    again = json.loads(capsys.readouterr().out)
    assert again["cells"] == result["cells"] and again["overall"] == result["overall"]
    for width in (40, 80, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        show_matrix(result)
        said = capsys.readouterr().out
        assert said.count("does not fit") == 2 or width == 40
        assert max(map(len, said.splitlines()[:-1])) <= max(width, 79)
        for row in rows if width > 40 else ():
            assert row in said


def test_seeds_of_a_row_and_learners_of_a_kind_share_one_program(files, monkeypatch):
    made = []

    class Counting(_matrix_cells.Lives):
        def __init__(self, *args, **options):
            made.append(args)
            super().__init__(*args, **options)

    monkeypatch.setattr(_matrix_cells, "Lives", Counting)
    rows = {
        "a": (f"{files}/symla-0.symla",),
        "b": (f"{files}/symla-1.symla",),
        "random": ("random",),
    }
    cells = _matrix_cells.live(
        rows,
        _matrix_cells.load(rows),
        _matrix.parse_tasks(["bandit-hard"]),
        lives=3,
        steps=2,
        seed=0,
        folder=files / "lives",
    )
    assert len(made) == 2 and len(cells) == 3
    assert not np.array_equal(cells[0].rewards[0], np.zeros(3))


def test_scores_lie_between_the_random_player_and_the_best():
    def cell(row, test, *levels):
        return Cell(row, test, 9, [np.full(8, level) for level in levels], None)

    cells = [
        cell("a", "x", 3.0),
        cell("b", "x", 1.0, 1.0),
        cell("random", "x", -1.0),
        cell("a", "y", 0.0),
        Cell("b", "y", 9, [], "too small"),
        cell("random", "y", 5.0),
        cell("a", "z", 4.0),
        cell("b", "z", 6.0),
        cell("random", "z", 2.0),
    ]
    result = scores(cells, seed=0, zero="random")
    norm = {(c["row"], c["test"]): c["normalised"] for c in result["cells"]}
    found = {where: value and value["value"] for where, value in norm.items()}
    assert found["a", "x"] == 1.0 and found["b", "x"] == 0.5 and found["random", "x"] == 0.0
    assert found["a", "z"] == 0.5 and found["b", "z"] == 1.0
    # Nobody is above the random player in y, so there is no scale.
    assert found["a", "y"] is found["random", "y"] is found["b", "y"] is None
    overall = {row: (one["value"], one["tests"]) for row, one in result["overall"].items()}
    assert overall == {"a": (0.75, 2), "b": (pytest.approx(7 / 12), 2), "random": (0.0, 2)}


def test_trainings_are_rows_and_are_not_repeated(files, maps, monkeypatch, capsys):
    calls = []

    def train(options):
        calls.append(options)
        assert options.out is not None
        options.out.mkdir(parents=True)
        finished = len(calls) != 2
        if finished:
            meta.save(options.out / "learner.symla", rl.SymLA(2, key=jr.key(options.seed)))
            saved = {**_matrix.settings(options), "finished": True}
            (options.out / "train.json").write_text(json.dumps(saved))
        return {"finished": finished}

    monkeypatch.setattr(_matrix, "train", train)
    line = (
        "matrix --train bandit-hard cartpole+permute --tests bandit-easy --seeds 2 --seed 4 "
        f"--generations 7 --lives 3 --steps 2 --out {files}/out --json"
    ).split()
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert ended.value.code == 130 and not json.loads(capsys.readouterr().out)["finished"]
    (files / "out/trained/bandit-hard-5").rmdir()
    main(line)
    result = json.loads(capsys.readouterr().out)
    assert result["rows"] == ["bandit-hard", "cartpole+permute", "random", "thompson"]
    assert [cell["seeds"] for cell in result["cells"]] == [2, 2, 1, 1]
    assert [(c.task[0], c.seed, c.generations) for c in calls] == [
        ("bandit-hard", 4, 7),
        ("bandit-hard", 5, 7),
        ("bandit-hard", 5, 7),
        ("cartpole+permute", 4, 7),
        ("cartpole+permute", 5, 7),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Name learners to test"),
        ({"learners": ("random",), "seeds": 3}, "`--seeds` can only go with `--train`"),
        ({"learners": ("random",), "lives": 0}, "`--lives` must be at least 1"),
        ({"learners": ("random",), "steps": 0}, "`--steps` must be at least 1"),
        ({"learners": ("random",), "tests": ("cartpol",)}, "Did you mean 'cartpole'"),
        ({"train": ("acrobat",)}, "Did you mean 'acrobot'"),
        ({"train": ("acrobot",), "learner": "symal"}, "Did you mean 'symla'"),
        ({"train": ("acrobot",), "learners": ("acrobot=random",)}, "Two rows are called acrobot"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plan(Matrix(**options))


def test_names_of_rows():
    learners = ("a=x/1.symla", "a=x/2.symla", "pretrained:p", "runs/b/learner.symla", "thompson")
    assert plan(Matrix(learners=(*learners, "runs/c", "d.symla"))).rows == {
        "a": ("x/1.symla", "x/2.symla"),
        "p": ("pretrained:p",),
        "b": ("runs/b/learner.symla",),
        "thompson": ("thompson",),
        "c": ("runs/c",),
        "d": ("d.symla",),
    }
