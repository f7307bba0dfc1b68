import json
import sys
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import meta
import proofs
import rl
from experiments import _certify, _names, table_1
from experiments.cli import main
from rl import classic

MODULE = """
import jax
import jax.numpy as jnp
import proofs
import rl
import vsml

print("a module may print")


@proofs.equivariant("A B, A -> B")
def forward(weights, inputs):
    return jnp.tanh(inputs @ weights)


@proofs.equivariant("A -> A")
def crooked(inputs):
    return inputs + jnp.arange(inputs.shape[0], dtype=float)


@proofs.equivariant("A -> A")
def there_and_back(inputs):
    return jnp.flip(jnp.flip(inputs))


@proofs.equivariant("A, A -> A")
def one_short(inputs):
    return inputs


@proofs.equivariant("key, A -> A")
def noisy(key, inputs):
    return inputs + jax.random.normal(key, inputs.shape)


class Box:
    pass


box = Box()
box.layer = vsml.Layer(2, 1, 1, 1, key=jax.random.key(0))
network = vsml.Network(box.layer, depth=2)
player = rl.classic.UCB1()
claim = proofs.claim_of(forward)
plain, number = lambda inputs: inputs, 3
"""
BROKEN = {
    "raises": "import math\nmath.sqrt(-1)\n",
    "ends": "import sys\nsys.exit(3)\n",
    "unfinished": "def f(:\n",
    "lacking": "import a_package_that_nobody_has\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of a user."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "deep.py").write_text("from mine import forward\n")
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in ("mine", *BROKEN, "inner", "inner.deep"):
        sys.modules.pop(name, None)


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status and the standard output of `symla certify`."""
    status = 0
    try:
        main(["certify", *line.split()])
    except SystemExit as end:
        assert isinstance(end.code, int)
        status = end.code
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("mine:forward", "PROVED"),
        ("inner.deep:forward", "PROVED"),
        ("mine:box.layer", "PROVED"),
        ("mine:network", "PROVED"),
        ("mine:player", "PROVED"),
        ("mine:claim", "PROVED"),
        ("thompson", "PROVED"),
        ("mine:crooked", "REFUTED"),
        ("mine:noisy", "REFUTED"),
        ("mine:there_and_back", "UNKNOWN"),
        ("optimal", "UNKNOWN"),
    ],
)
def test_the_status_is_the_verdict(target, verdict, capsys):
    status, said = run(f"{target} --json", capsys)
    assert said.count("\n") == 1
    result = json.loads(said)
    assert result["target"] == target and result["verdict"] == verdict
    assert result["proved"] == (verdict == "PROVED") == (status == 0)
    assert status in (0, 1) and result["text"].startswith(f"{verdict}")
    assert bool(result["assumptions"]) == result["proved"]
    assert (result["witness"] is not None) == (verdict == "REFUTED")
    assert result["proved"] or result["faults"] or result["reason"]


def test_json_holds_the_whole_certificate(capsys):
    result = json.loads(run("mine:crooked --json", capsys)[1])
    (fault,) = result["faults"]
    assert fault["primitive"] == "add" and fault["breaks"]
    assert fault["where"].startswith("mine.py:") and "(crooked)" in fault["where"]
    assert fault["source"].startswith("return inputs + jnp.arange")
    witness = result["witness"]
    assert witness["permutations"] == {"A": [1, 0]} and witness["sizes"] == {"A": 2}
    (inputs,) = witness["inputs"].values()
    assert len(inputs) == 2 and all(isinstance(x, float) for x in inputs)
    assert result["labels"] == ["A"] and result["randomness"] == "pathwise"

    result = json.loads(run("mine:noisy --json", capsys)[1])
    # A key is the numbers in it.
    assert sorted(len(values) for values in result["witness"]["inputs"].values()) == [2, 2]


def test_a_file_and_a_pretrained_learner(folder, capsys, getkey):
    path = folder / "saved.symla"
    meta.save(path, rl.MetaRNN(2, 2, 3, key=getkey()))
    status, said = run(f"{path} --json", capsys)
    assert status == 1 and json.loads(said)["sizes"] == {"A": 2, "B": 2, "t": 3}
    status, said = run("pretrained:symla-bandit-2 --json", capsys)
    assert status == 0 and json.loads(said)["title"] == "SymLA"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_certificate_fits_the_terminal(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    status, said = run("mine:crooked", capsys)
    assert status == 1
    first, *lines = said.splitlines()[1:]  # the first line is the module's own
    assert first.startswith("REFUTED: crooked")
    source = [line for line in lines if line.lstrip().startswith("|")]
    assert source == ["      | return inputs + jnp.arange(inputs.shape[0], dtype=float)"]
    assert all(len(line) <= min(width, 100) for line in lines if line not in source)
    assert " ".join(said.split()).count("which come from `iota` at mine.py:") == 1
    assert str(Path.cwd()) not in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Say what to certify: MODULE:NAME"),
        ("thompson --table", "Give a target or --table, not both; got 'thompson'"),
        ("thomson", "There is no learner 'thomson'. Did you mean 'thompson'?"),
        ("nothing-like-it", "An object of your own is MODULE:NAME"),
        ("pretrained:symla-bandit-9", "Did you mean 'symla-bandit-"),
        ("there/is/none.symla", "There is no file there/is/none.symla."),
        ("mine", "Say what of mine is to be certified: mine:NAME"),
        ("mine.py", "Say what of mine.py is to be certified: mine:NAME"),
        ("mine.py:forward", "Name the module as in an import: mine:forward."),
        ("inner/deep:forward", "Name the module as in an import: inner.deep:forward."),
        ("mine:", "'mine:' is not MODULE:NAME"),
        (":forward", "':forward' is not MODULE:NAME"),
        ("mime:forward", "There is no module 'mime'. Run the command in the folder that mime is"),
        ("mine.part:forward", "There is no module 'mine.part'."),
        ("mine:foward", "mine has no 'foward'. Did you mean 'forward'?"),
        ("mine:box.later", "mine.box has no 'later'. Did you mean 'layer'?"),
        ("mine:zzz", "mine has no 'zzz'. There are: Box, box, claim, crooked, forward, network,"),
        ("mine:Box", "mine:Box is a class. Make an object of it"),
        ("mine:box", "mine:box is of type Box. What can be certified is a vsml.Layer,"),
        ("mine:number", "mine:number is of type int."),
        ("mine:jax", "mine:jax is of type module."),
        ("mine:plain", "mine:plain does not say how it transforms."),
        ("mine:one_short", "one_short cannot be called with 2 arguments"),
        ("raises:x", "The module raises cannot be imported, at raises.py:2: ValueError:"),
        ("ends:x", "The module ends ends Python when it is imported. Put what it runs under `if"),
        ("unfinished:x", "The module unfinished cannot be imported: SyntaxError: invalid syntax"),
        ("lacking:x", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
    ],
)
def test_mistakes_are_one_plain_line(line, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["certify", *line.split(), "--json"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err
    assert said.err.splitlines()[-1].startswith("symla: error: ")
    assert [x for x in said.err.splitlines() if x != "a module may print"] == [
        said.err.splitlines()[-1]
    ]


def test_a_claim_that_does_not_fit_is_a_mistake(folder, capsys):
    text = 'import proofs\n@proofs.equivariant("A -> A, A")\ndef f(x):\n    return x\n'
    (folder / "mine.py").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["certify", "mine:f"])
    assert ended.value.code == 2
    assert "specification" in capsys.readouterr().err


# --------------------------------------------------------------------------------------- table 1


def test_the_table_has_every_learner_that_has_a_name():
    names = [entry.name for entry in table_1.ENTRIES]
    assert len(set(names)) == len(names)
    assert set(names) == {*_names.TRAINABLE, *_names.PLAYERS}


@pytest.mark.parametrize("entry", table_1.ENTRIES, ids=lambda entry: entry.name)
def test_the_words_of_the_table_are_true(entry):
    learner = entry.make()
    arrays = jax.tree.leaves(eqx.filter(learner, eqx.is_inexact_array))
    assert (entry.meta_variables == "none") == (not arrays)


def test_the_table_tells_what_was_decided(capsys, monkeypatch):
    fixed = table_1.Entry(
        "fixed", lambda: rl.MetaRNN(2, 2, 3, key=jax.random.key(0)), "a", "b", "c"
    )
    kept = [entry for entry in table_1.ENTRIES if entry.name in ("thompson", "optimal")]
    monkeypatch.setattr(_certify, "ENTRIES", (*kept, fixed))
    status, said = run("--table --json", capsys)
    assert status == 0
    result = json.loads(said)
    found = {row["learner"]: (row["black_box"], row["symmetries"]) for row in result["table"]}
    assert found == {
        "thompson": (False, "PROVED"),
        "optimal": (False, "UNKNOWN"),
        "fixed": (True, "REFUTED"),
    }
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        _certify.show_certify(result)
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert all(len(line) <= width for line in lines) and "…" not in out
        words = " ".join(out.split())
        for column in ("meta-variables", "learned", "variables", "black", "box", "symmetries"):
            assert column in words
        assert "UNKNOWN¹" in words and "REFUTED²" in words
        assert "¹ optimal: It cannot be traced at symbolic sizes" in words
        assert "² fixed: `concatenate` breaks the symmetry" in words
        assert "Counter-example: at sizes A=2, B=2, t=3, bring" in words


def test_a_proof_for_single_sizes_says_which():
    claim = proofs.claim_of(proofs.equivariant("A -> A")(jnp.tanh))
    found = _certify.describe(proofs.certify(claim, sizes={"A": 3}))
    assert found["proved"]
    assert _certify._note(found) == "at the sizes A=3, the only ones it can have."
    assert _certify._note(_certify.describe(proofs.certify(claim))) == ""


# ------------------------------------------------------------------------------------- black box


class Objective(rl.Learner[jax.Array]):
    """Meta-variables shape the learning; the policy is another network, the learned variables."""

    loss: jax.Array
    acts_itself: bool = eqx.field(static=True, default=False)
    learns: bool = eqx.field(static=True, default=True)
    learns_first: bool = eqx.field(static=True, default=False)
    learns_sometimes: bool = eqx.field(static=True, default=False)

    def init(self, spaces: rl.Spaces, *, key: jax.Array) -> jax.Array:
        del key
        return jnp.zeros((spaces.observation_size, spaces.num_actions))

    def step(
        self, state: jax.Array, timestep: rl.TimeStep, *, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        learned = state
        if self.learns:
            learned = jax.jit(lambda s: s + self.loss * timestep.reward)(state)
        if self.learns_sometimes:
            learned = jax.lax.cond(timestep.reward > 0.0, lambda: learned, lambda: state)
        scores = timestep.observation @ (learned if self.learns_first else state)
        scores = scores * self.loss if self.acts_itself else scores
        action = jax.random.categorical(key, scores).astype(jnp.int32)
        return learned, action


def test_a_black_box_learns_and_acts_with_its_meta_variables(getkey):
    loss = jnp.ones(())
    assert proofs.black_box(Objective(loss, acts_itself=True))
    assert not proofs.black_box(Objective(loss))
    # If it acts on what it has just learned, there have to be steps in which it learned nothing.
    assert proofs.black_box(Objective(loss, learns_first=True))
    sometimes = Objective(loss, learns_first=True, learns_sometimes=True)
    assert not proofs.black_box(sometimes)
    acts = Objective(loss, learns_first=True, learns_sometimes=True, acts_itself=True)
    assert proofs.black_box(acts)
    assert not proofs.black_box(meta.LPG((4,), rollout=2, units=2, key=getkey()))
    learner = meta.MetaGenRL((4,), capacity=9, warm_up=4, segment_length=2, units=2, key=getkey())
    assert not proofs.black_box(learner, continuous=True)
    assert not proofs.black_box(Objective(loss, acts_itself=True, learns=False))
    assert not proofs.black_box(classic.ThompsonSampling())
    assert proofs.black_box(rl.SymLA(2, key=getkey()))
    assert proofs.black_box(rl.MetaRNN(2, 2, 2, key=getkey()))
