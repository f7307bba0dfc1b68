"""What the README and the results say can be run, and is so."""

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_three_examples():
    assert len(BLOCKS) == 3


def test_the_first_example_runs_with_smaller_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 20 <= len(BLOCKS[0].strip().splitlines()) <= 30
    small = BLOCKS[0]
    for name, value in {"population": 2, "lives": 1, "generations": 1, "steps": 3}.items():
        small, found = re.subn(rf"\b{name}=\d+", f"{name}={value}", small)
        assert found, name
    exec(compile(small, "README.md", "exec"), {})
    assert re.search(r"learned: regret \d", capsys.readouterr().out)
    assert (tmp_path / "my-learner.symla").exists()


def test_the_second_example_says_the_shapes(capsys):
    *lines, last = BLOCKS[1].strip().splitlines()
    expression, said = last.split("#")
    names = {}
    exec(compile("\n".join(lines), "README.md", "exec"), names)
    assert str(eval(expression, names)) == f"({said.strip()})"


def test_the_third_example_prints_what_it_says(capsys):
    said = BLOCKS[2].strip().splitlines()[-1].split("# ")[1]
    exec(compile(BLOCKS[2], "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == said


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for page in (ROOT / "docs").rglob("*.md"):
        found = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
        links += [str((page.parent / link).relative_to(ROOT)) for link in found]
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


RESULTS = sorted((ROOT / "docs" / "results").glob("*/*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_results_carry_claims_seeds_machine_and_versions(path):
    result = json.loads(path.read_text())
    assert result["claims"] and all(isinstance(c["holds"], bool) for c in result["claims"])
    # The figures of the papers have several meta-trainings; an ablation may have one, and says so.
    assert len(result["seeds"]) >= (3 if result["figure"].startswith("figure-") else 1)
    assert {"processor", "cores", "accelerator", "python", "jax"} <= set(result["machine"])
    assert path.with_suffix(".csv").exists() and path.with_suffix(".png").exists()


def test_there_are_results():
    assert {path.parent.name for path in RESULTS} >= {"figure-3", "figure-4"}
