"""The rooms of the house: which package may see which, and what an import may cost."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each package may import of ours.
OURS = {
    "vsml": {"vsml"},
    "rl": {"vsml", "rl"},
    "meta": {"vsml", "rl", "meta", "pretrained"},
    "proofs": {"vsml", "rl", "proofs"},
    "experiments": {"vsml", "rl", "meta", "proofs", "experiments", "pretrained", "benchmarks"},
    "benchmarks": {"vsml", "rl", "meta", "proofs", "experiments", "benchmarks"},
    "pretrained": {"pretrained"},
}
# What these may import of others, beside the standard library.
OTHERS = {
    "vsml": {"jax", "equinox", "jaxtyping"},
    "proofs": {"hypothesis", "numpy", "jax", "jaxlib", "equinox", "jaxtyping"},
    "pretrained": set[str](),
}
MAX_LINES = 400


def imported_names(source: str) -> Iterator[str]:
    """Every absolute name that the source imports anywhere; `from a.b import c` is `a.b.c`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private_uses(source: str, package: str) -> list[str]:
    """The underscored names of our other packages that the source imports or reaches for."""
    names = list(imported_names(source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names.append(ast.unparse(node))
    return [
        name
        for name in names
        if name.split(".")[0] in set(OURS) - {package}
        and any(re.match(r"_(?!_)", part) for part in name.split("."))
    ]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def files_of_the_project() -> list[Path]:
    """What is committed, or would be by `git add .`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def loaded_by(code: str) -> set[str]:
    """The top-level modules, but the standard library, that a fresh Python holds after `code`."""
    report = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])) - sys.stdlib_module_names


def test_the_readers_see_what_they_should():
    source = "import a.b\ndef f():\n    from rl._x import y\nif 1:\n    import vsml\nvsml._layer.z"
    assert set(imported_names(source)) == {"a.b", "rl._x.y", "vsml"}
    assert private_uses(source, "meta") == ["rl._x.y", "vsml._layer.z", "vsml._layer"]
    assert private_uses(source, "rl") == ["vsml._layer.z", "vsml._layer"]
    assert private_uses("import rl\nrl.__name__\nself._state", "meta") == []


@pytest.mark.parametrize("package", OURS)
def test_imports_point_one_way(package):
    sources = modules(package)
    assert sources, f"{package} has no modules"
    for path in sources:
        for name in imported_names(path.read_text()):
            top = name.split(".")[0]
            if top in OURS or top in {"tests", "examples"}:
                assert top in OURS[package], f"{path.relative_to(ROOT)} imports {name}"
            elif package in OTHERS and top not in sys.stdlib_module_names:
                assert top in OTHERS[package], f"{path.relative_to(ROOT)} imports {name}"
            assert top != "hypothesis" or package == "proofs", f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("package", OURS)
def test_private_modules_stay_private(package):
    for path in modules(package):
        assert not private_uses(path.read_text(), package), path.relative_to(ROOT)


@pytest.mark.parametrize("package", sorted(set(OURS) - {"pretrained"}))
def test_every_package_is_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_the_wheel_holds_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(OURS)


def test_vsml_loads_only_its_foundations():
    foundations = loaded_by("import jax, jax.numpy, equinox, jaxtyping")
    assert "optax" not in foundations
    assert loaded_by("import vsml") - foundations == {"vsml"}


def test_rl_loads_no_environments_and_no_figures():
    loaded = loaded_by("import rl")
    assert "rl" in loaded
    assert not loaded & {"gymnax", "gymnasium", "matplotlib", "evosax", "flax", "meta"}


def test_proofs_needs_no_hypothesis_to_be_imported():
    loaded = loaded_by("import proofs")
    assert "proofs" in loaded
    assert "hypothesis" not in loaded


def test_help_comes_without_jax():
    loaded = loaded_by(
        "import sys; sys.argv = ['symla', '--help']\n"
        "from experiments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert "experiments" in loaded
    assert not loaded & {"jax", "equinox", "gymnax", "matplotlib", "evosax", "optax"}


def test_modules_are_short():
    lengths = {path: len(path.read_text().splitlines()) for name in OURS for path in modules(name)}
    long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES}
    assert not long


MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|opt|mnt|tmp|private|var)/[\w.]")
REGISTRY = re.compile(
    r"https?://[^\s\"'<>)]*(?:pypi|pythonhosted|npmjs|anaconda|artifactory|nexus|registry|/simple\b)"
)


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (MACHINE_PATH, "in /" + "home/someone/code", "a/home/b and https://example.org/home/b"),
        (REGISTRY, "http" + "s://mirror.example/pypi/simple", "https://arxiv.org/abs/2109.10781"),
    ],
    ids=["paths", "registries"],
)
def test_no_file_names_a_machine_or_a_registry(pattern, bad, good):
    assert pattern.search(bad)
    assert not pattern.search(good)
    found = {}
    for path in files_of_the_project():
        match = pattern.search(path.read_bytes().decode("utf-8", errors="replace"))
        if match:
            found[str(path.relative_to(ROOT))] = match.group()
    assert not found


def test_there_is_a_changelog_for_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert "## [Unreleased]" in text or f"## [{version}]" in text
