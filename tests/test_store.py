"""Saved learners: the same one comes back, or a clear refusal; never code."""

import importlib.resources
import json
import os
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical, make, quick_jit
from jaxtyping import Array
from toys import Vector

import meta
import rl
from meta import ArchiveError, _archive

SYMLA_OPTIONS = {
    "hidden_size": 4,
    "forward_size": 3,
    "backward_size": 2,
    "hidden_sizes": (3, 2),
    "ticks": 1,
    "order": "forward",
    "cell": "gru",
    "reduction": "sum",
    "ended_flag": True,
    "soft_clip": 2.5,
    "output_channel": 1,
}
RNN_OPTIONS = {"observation_size": 2, "num_actions": 3, "hidden_size": 4, "soft_clip": 9.0}
SPACES = rl.Spaces(2, 3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "rnn.symla"
    meta.save(path, make(rl.MetaRNN, **RNN_OPTIONS), {"trained": "never"})
    return path


def rewrite(source, target, payload=None, **changes):
    """A copy with another header: `None` deletes an entry."""
    magic, line, old = source.read_bytes().split(b"\n", 2)
    header = {**json.loads(line), **changes}
    payload = old if payload is None else payload
    header = {k: v for k, v in header.items() if v is not None}
    header["sha256"] = _archive.digest(header, payload)
    target.write_bytes(magic + b"\n" + json.dumps(header).encode() + b"\n" + payload)
    return target


@quick_jit
def actions(learner):
    """What a learner does in its first steps."""

    def step(state, key):
        timestep = rl.TimeStep.first(jnp.asarray([0.3, -1.0]))
        return learner.step(state, timestep, key=key)

    state = learner.init(SPACES, key=jr.key(1))
    return jax.lax.scan(step, state, jr.split(jr.key(2), 20))[1]


@pytest.mark.parametrize(
    ("build", "options"), [(rl.SymLA, SYMLA_OPTIONS), (rl.MetaRNN, RNN_OPTIONS)]
)
def test_round_trip(tmp_path, build, options):
    learner = make(build, **options)
    meta.save(tmp_path / "learner.symla", learner)
    loaded = meta.load(tmp_path / "learner.symla")
    assert type(loaded) is build
    assert_trees_identical(loaded, learner)  # static fields are part of the structure
    assert meta.hyperparameters(loaded) == meta.hyperparameters(learner)
    for name, value in options.items():
        assert getattr(loaded, name) == value and type(getattr(loaded, name)) is type(value)
    np.testing.assert_array_equal(np.asarray(actions(loaded)), np.asarray(actions(learner)))
    meta.save(tmp_path / "again.symla", loaded)
    assert (tmp_path / "again.symla").read_bytes() == (tmp_path / "learner.symla").read_bytes()


def test_learners_without_arrays_and_paths_as_text(tmp_path):
    path = str(tmp_path / "player.symla")
    meta.save(path, rl.classic.ThompsonSampling())
    assert type(meta.load(path)) is rl.classic.ThompsonSampling


def test_the_header_can_be_read_by_eye(saved):
    first, second, _ = saved.read_bytes().split(b"\n", 2)
    header = json.loads(second.decode("ascii"))
    assert first.decode() == "symla-archive 1"
    assert (header["kind"], header["class"]) == ("learner", "MetaRNN")
    assert header["hyperparameters"]["num_actions"] == 3
    assert header["versions"]["jax"] == jax.__version__
    assert set(header["versions"]) == {"symla", "jax", "equinox"}
    assert header["notes"] == {"trained": "never"}
    assert len(header["sha256"]) == 64
    assert meta.read_header(saved) == header


# Classes of one's own


def test_a_class_of_ones_own(tmp_path):
    learner = make(Vector, 4, "own")
    path = tmp_path / "vector.symla"
    meta.save(path, learner)
    like = make(Vector, 4, "own", seed=1)
    assert_trees_identical(meta.load(path, like), learner)
    with pytest.raises(ArchiveError, match="'Vector'.*does not know.*as `like`"):
        meta.load(path)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (lambda: make(rl.MetaRNN, 1, 2, 4), "holds a Vector, but `like` is a MetaRNN"),
        (lambda: make(Vector, 5, "own"), "size: 4 there, 5 here"),
        (lambda: make(Vector, 4, "plain"), "style: own there, plain here"),
    ],
)
def test_a_like_that_is_not_alike(tmp_path, like, message):
    meta.save(tmp_path / "vector.symla", make(Vector, 4, "own"))
    with pytest.raises(ArchiveError, match=message):
        meta.load(tmp_path / "vector.symla", like())


# Refusals


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "rl._symla.SymLA",
        "rl.SymLA",
        "builtins.eval",
        "__import__('os').system('true')",
        "Learner",  # abstract
        "BanditPlayer",  # abstract
        "Task",  # of ours, but not a learner
        "SymLAState",
        "__name__",
        "lifetime",
        "load",
        "",
        5,
        ["SymLA"],
        None,
    ],
)
def test_other_classes_are_refused(saved, tmp_path, monkeypatch, name):
    def forbidden(*args):
        raise AssertionError("code was run")

    monkeypatch.setattr(os, "system", forbidden)
    path = rewrite(saved, tmp_path / "x", **{"class": name})
    with pytest.raises(ArchiveError, match="which this version does not know"):
        meta.load(path)


def test_nothing_is_imported_for_a_file(saved, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil", "evil.Learner"):
        with pytest.raises(ArchiveError):
            meta.load(rewrite(saved, tmp_path / "x", **{"class": name}))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "checkpoint"}, "holds a 'checkpoint', not a learner.*same output folder"),
        ({"kind": None}, "holds a None, not a learner"),
        ({"hyperparameters": None}, "its hyper-parameters are missing"),
        ({"hyperparameters": [1, 2]}, "its hyper-parameters are missing"),
        ({"hyperparameters": {"num_actions": 3}}, "cannot make a MetaRNN.*observation_size"),
        ({"hyperparameters": {**RNN_OPTIONS, "colour": 1}}, "no argument colour in this version"),
        ({"hyperparameters": {**RNN_OPTIONS, "num_actions": 0}}, "cannot make a MetaRNN"),
        ({"hyperparameters": {**RNN_OPTIONS, "num_actions": "3"}}, "cannot make a MetaRNN"),
        ({"hyperparameters": {**RNN_OPTIONS, "hidden_size": 5}}, r"array \d is float32"),
        ({"class": "SymLA", "hyperparameters": {}}, "array|arrays"),
    ],
)
def test_headers_that_do_not_fit(saved, tmp_path, change, message):
    with pytest.raises(ArchiveError, match=f"x.*{message}"):
        meta.load(rewrite(saved, tmp_path / "x", **change))


def test_an_array_too_many(saved, tmp_path):
    header, arrays = _archive.read(saved)
    entry = {"shape": [1], "dtype": "float32"}
    payload = b"".join(a.tobytes() for a in arrays) + b"\0\0\0\0"
    path = rewrite(saved, tmp_path / "x", payload, arrays=[*header["arrays"], entry])
    with pytest.raises(ArchiveError, match=f"{len(arrays) + 1} arrays where {len(arrays)} are"):
        meta.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.symla"):
        meta.load(tmp_path / "nowhere.symla")


class Forgetful(Vector):
    """It does not keep what it was made with."""

    def __init__(self, amount: int, *, key: Array):
        super().__init__(3, key=key)
        del amount


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (lambda: make(rl.SymLA, 4, 2, 2, initial_state=zero_state), "initial_state=.*cannot be"),
        (lambda: make(Vector, 3, float("nan")), "style=nan.*cannot be saved"),
        (lambda: make(Forgetful, 3), "Forgetful does not keep its argument.s. amount"),
    ],
)
def test_learners_that_cannot_be_saved(tmp_path, learner, message):
    with pytest.raises(ValueError, match=message):
        meta.save(tmp_path / "x.symla", learner())
    assert list(tmp_path.iterdir()) == []


def zero_state(noise, inputs):
    del inputs
    return jnp.zeros_like(noise)


def test_hyperparameters_are_the_arguments():
    learner = make(rl.MetaRNN, **RNN_OPTIONS)
    arguments = meta.hyperparameters(learner)
    defaults = {"ticks": 1, "ended_flag": True, "logit_scale": 1.0, "continuous": False}
    assert arguments == {**RNN_OPTIONS, **defaults}
    assert meta.hyperparameters(rl.classic.RandomPlayer()) == {}
    again = make(rl.MetaRNN, **arguments)
    assert jax.tree.structure(again) == jax.tree.structure(learner)


# What ships with the package


def test_unknown_names_are_answered_with_the_known_ones(tmp_path, monkeypatch):
    learner = make(rl.MetaRNN, **RNN_OPTIONS)
    for name in ("second.symla", "first.symla"):
        meta.save(tmp_path / name, learner)
    (tmp_path / "first.md").write_text("A card.")
    monkeypatch.setattr(importlib.resources, "files", {"pretrained": tmp_path}.__getitem__)
    assert meta.pretrained_names() == ["first", "second"]
    assert_trees_identical(meta.pretrained("second"), learner)
    for name in ("third", "first.md", "../first", "", "first.symla"):
        with pytest.raises(ValueError, match="no pretrained learner .*: first, second"):
            meta.pretrained(name)


@pytest.mark.parametrize("name", meta.pretrained_names())
def test_what_ships_can_be_used(name):
    learner = meta.pretrained(name)
    arrays = jax.tree.leaves(eqx.filter(learner, eqx.is_array))
    assert arrays and all(np.isfinite(np.asarray(x)).all() for x in arrays)
    folder = importlib.resources.files("pretrained")
    with importlib.resources.as_file(folder / f"{name}.symla") as path:
        assert meta.read_header(path)["class"] == type(learner).__name__
    card = folder / f"{name}.md"
    assert card.read_text().strip(), "it has no card"
