"""The page on proofs: all of its code runs, and prints what the page says it prints."""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import proofs
from experiments.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "proofs.md").read_text()
BLOCKS = [
    (found["kind"], found["body"], PAGE.count("\n", 0, found.start("body")))
    for found in re.finditer(r"```(?P<kind>\w+)\n(?P<body>.*?)```", PAGE, re.DOTALL)
]
COLUMNS = 100


def same_words(text: str) -> str:
    """Without what may differ: line breaks, places, seconds, and the numbers of a witness."""
    text = re.sub(r"\S+\.(?:py|md):\d+(?::\d+)?", "FILE", text)
    text = re.sub(r"\d+\.\d s\b", "0.0 s", text)
    text = re.sub(r"-?\d+ instead of -?\d+", "x instead of y", text)
    return " ".join(text.split())


def verdicts(table: str) -> dict[str, tuple[str, str]]:
    """For each learner of a printed table 1, what the program has decided."""
    found = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if line.startswith("│") and cells[0]:
            found[cells[0]] = (cells[-2], cells[-1])
    return found


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of its own; modules, rules and claims that the page makes are gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    rules = sys.modules[proofs.rule.__module__].__dict__["RULES"]
    kept, laws = dict(rules), dict(proofs.laws.LAWS)
    yield tmp_path
    proofs.laws.LAWS.clear()
    proofs.laws.LAWS.update(laws)
    rules.clear()
    rules.update(kept)
    sys.modules.pop("my_layer", None)


def run_python(body: str, line: int, names: dict[str, Any]) -> str:
    said = io.StringIO()
    # Line numbers are those of the page, so that messages can quote its lines.
    code = compile("\n" * line + body, str(ROOT / "docs" / "proofs.md"), "exec")
    with contextlib.redirect_stdout(said):
        exec(code, names)
    return said.getvalue()


def run_shell(command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "symla"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main(arguments)
        except SystemExit as end:
            assert end.code == 1
    return said.getvalue()


@pytest.mark.slow
def test_the_page_runs_and_says_what_is_printed(clean):
    names: dict[str, Any] = {"__name__": "the page"}
    quoted, tests, tables = 0, 0, 0
    for number, (kind, body, line) in enumerate(BLOCKS):
        if kind == "python":
            file = re.match(r"# (\S+\.py)\n", body)
            if file:
                (clean / file[1]).write_text(body)
            said = run_python(body, line, names)
        elif kind == "sh":
            said = run_shell(body)
        else:
            continue
        after = BLOCKS[number + 1] if number + 1 < len(BLOCKS) else ("", "", 0)
        if after[0] != "text":
            assert kind == "sh" or not said
        elif "--table" in body:
            assert verdicts(said) and verdicts(after[1]) == verdicts(said), f"\n{said}"
            tables += 1
        else:
            assert same_words(after[1]) == same_words(said), f"docs/proofs.md:{line}\n{said}"
            quoted += 1
    for name, test in names.items():
        if name.startswith("test_learn"):
            test()
            tests += 1
    for law in proofs.laws.about(names["layer"]):
        names["test_the_laws_of_layers"](law)
    assert (quoted, tests, tables) == (3, 1, 1)


def test_the_page_lists_every_law():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \| [\w, ]+ \| .+ \|$", PAGE, re.MULTILINE))
    equations = {name: law.equation for name, law in proofs.laws.LAWS.items()}
    assert {name: rows[name].replace("\\|", "|") for name in rows} == equations


REFUSED = {
    "fold_in": (
        lambda key, x: x + jax.vmap(lambda i: jr.normal(jr.fold_in(key, i)))(jnp.arange(x.size)),
        lambda key, x: x + jax.vmap(jr.normal)(jr.split(key, x.size)),
        "key, A -> A",
    ),
    "argsort(argsort(x))": (
        lambda x: jnp.argsort(jnp.argsort(x)),
        lambda x: (x[None, :] < x[:, None]).sum(axis=1),
        "A -> int A",
    ),
    "flip(flip(x))": (lambda x: jnp.flip(jnp.flip(x)), lambda x: x, "A -> A"),
    "x + (iota - iota)": (
        lambda x: x + (jnp.arange(x.size) - jnp.arange(x.size)).astype(x.dtype),
        lambda x: x,
        "A -> A",
    ),
    "cumsum(x)[-1]": (lambda x: jnp.cumsum(x)[-1], lambda x: x.sum(), "A -> "),
    "associative_scan": (
        lambda x: jax.lax.associative_scan(jnp.add, x)[-1],
        lambda x: x.sum(),
        "A -> ",
    ),
    "reshape": (
        lambda x: (2 * x.reshape(-1)).reshape(x.shape),
        lambda x: 2 * x,
        "A 3 -> A 3",
    ),
    "fft": (lambda x: jnp.abs(jnp.fft.fft(x)), lambda x: x, "A -> A"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_can_be_written_another_way(what):
    refused, instead, signature = REFUSED[what]
    assert f"`{what.partition('(')[0]}" in PAGE
    law = "exchangeable" if "key" in signature else "pathwise"
    for fn, proved in ((refused, False), (instead, True)):
        marked = proofs.equivariant(signature, randomness=law)(lambda *x, fn=fn: fn(*x))
        certificate = proofs.certify(marked, sweep=(2,), refute=False)
        assert bool(certificate) == proved, certificate


def test_the_page_speaks_of_every_learner():
    table = next(body for _, body, _ in BLOCKS if body.startswith("Table 1"))
    found = verdicts(table)
    from experiments._names import PLAYERS, TRAINABLE

    assert set(found) == {*TRAINABLE, *PLAYERS}
    assert found["symla"] == ("yes", "PROVED")
    assert found["metarnn"][1].startswith("REFUTED")
