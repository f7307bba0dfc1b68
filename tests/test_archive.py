"""The file format: what is written comes back, and nothing else does."""

import hashlib
import json
import os
import pathlib
import pickle

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import assert_trees_identical
from hypothesis import given, strategies as st

import meta
from meta import ArchiveError, _archive

ARRAYS = [
    np.asarray([[1.5, -0.0, np.inf], [np.nan, 1e-45, 3.4e38]], np.float32),
    np.asarray(-7, np.int32),
    np.asarray([True, False]),
    np.zeros((0, 3), np.float64),
    np.arange(4, dtype=np.uint32),
    np.asarray([2.0, 0.5], np.float16),
]
HEADER = {"kind": "test", "words": "größer", "list": [1, 2.5, None, True]}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "whole.symla"
    _archive.write(path, HEADER, ARRAYS)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "file.symla"


def parts(content):
    magic, line, payload = content.split(b"\n", 2)
    return magic, json.loads(line), payload


def crafted(path, header, payload=b"", sign=True):
    """A file with a header and arrays that `write` would not make."""
    if sign and isinstance(header, dict):
        header = {**header, "sha256": _archive.digest(header, payload)}
    path.write_bytes(_archive.MAGIC + json.dumps(header).encode() + b"\n" + payload)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "er" / "file.symla"  # folders are made
    _archive.write(path, HEADER, ARRAYS)
    header, arrays = _archive.read(path)
    assert {k: header[k] for k in HEADER} == HEADER
    assert len(arrays) == len(ARRAYS)
    for ours, theirs in zip(arrays, ARRAYS, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()  # signs of zero and NaNs, too
    assert [p.name for p in path.parent.iterdir()] == ["file.symla"]
    assert meta.read_header(path) == header


def test_what_is_not_contiguous_or_little_endian(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for odd in (array.T, array[:, ::-1], array.astype(">f4")):
        _archive.write(tmp_path / "x", {}, [odd])
        np.testing.assert_array_equal(_archive.read(tmp_path / "x")[1][0], odd)


def test_the_file_can_be_read_by_eye(content):
    magic, header, payload = parts(content)
    assert magic == b"symla-archive 1"
    assert header["arrays"][0] == {"shape": [2, 3], "dtype": "float32"}
    rest = {k: v for k, v in header.items() if k != "sha256"}
    said = json.dumps(rest, sort_keys=True).encode() + payload
    assert header["sha256"] == hashlib.sha256(said).hexdigest()
    assert payload == b"".join(a.tobytes() for a in ARRAYS)
    assert content[: -len(payload)].isascii()


@given(st.data())
def test_a_file_that_was_cut_anywhere_is_refused(content, scratch, data):
    position = data.draw(st.integers(0, len(content) - 1))
    scratch.write_bytes(content[:position])
    with pytest.raises(ArchiveError, match=scratch.name):
        _archive.read(scratch)


def test_a_file_that_was_cut_at_a_seam_is_refused(content, scratch):
    seams = [i for i, byte in enumerate(content) if byte == ord("\n")][:2]
    for seam in seams:
        for position in (seam - 1, seam, seam + 1):
            scratch.write_bytes(content[:position])
            with pytest.raises(ArchiveError):
                _archive.read(scratch)
    _archive.write(scratch, HEADER, [])  # no arrays: the header's end is the file's
    scratch.write_bytes(scratch.read_bytes()[:-1])
    with pytest.raises(ArchiveError, match="header is cut off"):
        _archive.read(scratch)


@given(st.data())
def test_a_changed_bit_is_noticed(content, scratch, data):
    position = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    scratch.write_bytes(changed)
    with pytest.raises(ArchiveError, match=scratch.name):
        _archive.read(scratch)
    changed = content.replace(b'"list": [1, 2.5', b'"list": [1, 2.7')
    scratch.write_bytes(changed)
    with pytest.raises(ArchiveError, match="does not match its hash"):
        _archive.read(scratch)


@given(st.binary(max_size=80), st.sampled_from([b"", _archive.MAGIC, _archive.MAGIC + b"{}\n"]))
def test_other_files_are_refused(scratch, noise, beginning):
    scratch.write_bytes(beginning + noise)
    with pytest.raises(ArchiveError, match=scratch.name):
        _archive.read(scratch)


def test_more_than_there_should_be(content, scratch):
    scratch.write_bytes(content + b"\0")
    with pytest.raises(ArchiveError, match="bytes of arrays where the header says"):
        _archive.read(scratch)


def test_another_version_is_named(content, scratch):
    scratch.write_bytes(content.replace(b"archive 1", b"archive 2", 1))
    with pytest.raises(ArchiveError, match="not an archive of symla .version 1.*archive 2"):
        _archive.read(scratch)


def test_a_missing_file(tmp_path):
    for read in (_archive.read, meta.read_header):
        for path in (tmp_path / "none.symla", tmp_path):
            with pytest.raises(FileNotFoundError, match="no file"):
                read(path)


def spring(word):
    raise RuntimeError(word)


class Trap:
    """Unpickling it raises."""

    def __reduce__(self):
        return spring, ("sprung",)


def test_a_pickle_is_refused_unread(scratch):
    trap = pickle.dumps(Trap())
    with pytest.raises(RuntimeError):
        pickle.loads(trap)
    for content in (trap, _archive.MAGIC + trap, _archive.MAGIC + b"{}\n" + trap):
        scratch.write_bytes(content)
        with pytest.raises(ArchiveError):
            _archive.read(scratch)


@pytest.mark.parametrize(
    ("entry", "payload", "message"),
    [
        ({"shape": [1], "dtype": "object"}, b"01234567", "other than booleans"),
        ({"shape": [1], "dtype": "S8"}, b"01234567", "other than booleans"),
        ({"shape": [1], "dtype": "complex64"}, b"01234567", "other than booleans"),
        ({"shape": [2], "dtype": "float31"}, b"01234567", "does not describe its arrays"),
        ({"shape": 2, "dtype": "float32"}, b"01234567", "does not describe its arrays"),
        ({"shape": ["two"], "dtype": "float32"}, b"01234567", "does not describe its arrays"),
        ({"shape": [2]}, b"01234567", "does not describe its arrays"),
        ("float32", b"01234567", "does not describe its arrays"),
        ({"shape": [-1, -2], "dtype": "float32"}, b"01234567", "below zero"),
        ({"shape": [2**62, 4], "dtype": "float32"}, b"", "0 bytes of arrays"),
        ({"shape": [3], "dtype": "float32"}, b"01234567", "8 bytes of arrays"),
    ],
)
def test_headers_that_lie(scratch, entry, payload, message):
    crafted(scratch, {"arrays": [entry]}, payload)
    with pytest.raises(ArchiveError, match=message):
        _archive.read(scratch)


@pytest.mark.parametrize("header", [[], "text", None, 3, {}, {"arrays": 3}, {"arrays": []}])
def test_headers_of_another_kind(scratch, header):
    crafted(scratch, header, sign=False)
    with pytest.raises(ArchiveError):
        _archive.read(scratch)


def test_a_header_that_is_too_deep(scratch):
    scratch.write_bytes(_archive.MAGIC + b"[" * 100_000 + b"\n")
    with pytest.raises(ArchiveError, match="header is not JSON"):
        _archive.read(scratch)


@pytest.mark.parametrize("array", [np.asarray([1j]), np.asarray(["a"]), np.asarray([None])])
def test_what_an_archive_cannot_hold(tmp_path, array):
    with pytest.raises(ValueError, match="booleans, integers and floats, not"):
        _archive.write(tmp_path / "x", {}, [array])
    with pytest.raises(ValueError):
        _archive.write(tmp_path / "x", {"number": float("nan")}, [])
    with pytest.raises(TypeError):
        _archive.write(tmp_path / "x", {"function": print}, [])
    assert list(tmp_path.iterdir()) == []


def full_disk(*args):
    raise OSError(28, "No space left on device")


def interrupt(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [full_disk, interrupt])
@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, call, failure):
    path = tmp_path / "file.symla"
    _archive.write(path, {"version": "old"}, ARRAYS)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failure)
        with pytest.raises((OSError, KeyboardInterrupt)):
            _archive.write(path, {"version": "new"}, ARRAYS[:1])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file.symla"]
    _archive.write(path, {"version": "new"}, ARRAYS[:1])
    assert _archive.read(path)[0]["version"] == "new"


def test_a_write_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    # At every call to the system the file is the old one or the new one.
    path, seen = tmp_path / "file.symla", []
    _archive.write(path, {"version": "old"}, ARRAYS)

    def watched(call):
        def wrapper(*args):
            seen.append(meta.read_header(path)["version"])
            result = call(*args)
            seen.append(meta.read_header(path)["version"])
            return result

        return wrapper

    for name in ("fsync", "chmod", "replace"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    _archive.write(path, {"version": "new"}, ARRAYS)
    assert seen == ["old"] * 5 + ["new"]


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        _archive.write(tmp_path / "taken", {}, ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


# Trees


TREE = {"weights": jnp.arange(6.0).reshape(2, 3), "key": jr.key(7), "count": jnp.asarray(3)}


def test_a_tree_with_random_keys_comes_back():
    arrays = _archive.leaves_of(TREE)
    assert all(isinstance(a, np.ndarray) for a in arrays)
    other = {**jax.tree.map(jnp.zeros_like, {**TREE, "key": 0}), "key": jr.key(0)}
    other["count"] = jnp.asarray(0)
    filled = _archive.fill(other, arrays, "x")
    assert jnp.issubdtype(filled["key"].dtype, jax.dtypes.prng_key)
    unkeyed = [{**t, "key": jr.key_data(t["key"])} for t in (filled, TREE)]
    assert_trees_identical(*unkeyed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays[:2], "holds 2 arrays where 3 are expected"),
        (lambda arrays: [*arrays, arrays[0]], "holds 4 arrays where 3 are expected"),
        (lambda arrays: [*arrays[:2], arrays[2].T], r"array 2 is float32\[3, 2\].*float32\[2, 3\]"),
        (lambda arrays: [*arrays[:2], arrays[2].astype(int)], r"array 2 is int64\[2, 3\]"),
        (lambda arrays: [arrays[0], arrays[0], arrays[2]], "array 1 is int32"),
    ],
)
def test_trees_that_do_not_fit(change, message):
    with pytest.raises(ArchiveError, match=f"some.symla: .*{message}"):
        _archive.fill(TREE, change(_archive.leaves_of(TREE)), pathlib.Path("some.symla"))


def test_an_archive_error_is_a_value_error():
    assert issubclass(ArchiveError, ValueError)
