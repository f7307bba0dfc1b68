"""Learners that public commands make, for `pretrained/`, and the cards that tell what they can."""

import dataclasses
from pathlib import Path

import jax

import meta
import rl

from . import _builders, _evaluate, _results
from ._bandit_study import spent
from ._tasks import parse_task

LIVES = 1000
_PLAYERS = {"thompson": "Thompson", "ppo": "PPO", "random": "random"}


@dataclasses.dataclass(frozen=True)
class Rival:
    """A hand-made player beside the learner.

    - `player`: its name on the command line.
    - `steps`: environment steps of its lives; those of the task by default.
    - `lives`: how many.
    """

    player: str
    steps: int | None = None
    lives: int = LIVES


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A learner that a public command makes, and how it is looked at.

    - `command`: that makes it; `{seed}` is the seed of its meta-training.
    - `file`: where the learner lies in the folder that the command fills.
    - `folders`: where the stages of its meta-training lie there, or all of it in one.
    - `told`: what it is and what it was meta-trained on.
    - `tests`: tasks in the words of the command line, each with whether it was trained on just
        that, and with the rivals that live there.
    - `limits`: what it is not made for.
    - `steps`: environment steps of a life in all tests; those of each task by default.
    - `lives`: how many in each test; `LIVES` by default.
    """

    command: str
    file: str
    folders: tuple[str, ...]
    told: str
    tests: tuple[tuple[str, str, tuple[Rival, ...]], ...]
    limits: str
    steps: int | None = None
    lives: int | None = None


_CARD = """# {name}

{told}

{kind} ({parameters:,} parameters).

## Scores

Mean ± standard error over {lives} lives that meta-training never saw (one meta-training, seed
{seed}). `rewards shuffled` is the same learner with its rewards in a random order: what it does
without learning from them.

{table}

Every row again: `symla evaluate --learner pretrained:{name} --task TASK{steps} --lives {lives}`.
{rivals}
## How it was made

`{command}`. The last generation was taken; nothing was chosen by its score.

{seconds:.0f} seconds of generations on {cores} ({processor}); {versions}.

## Limits

{limits}
"""


def make(name: str, recipe: Recipe, *, runs: Path, to: Path, seed: int) -> dict:
    """Take a learner from the folder of its command, test it, and write it with its card.

    **Arguments:**

    - `name`: how it ships.
    - `recipe`: how it was made.
    - `runs`: the folder that the command filled.
    - `to`: where `NAME.symla` and `NAME.md` go.
    - `seed`: of its meta-training.

    **Returns:**

    What `symla evaluate` reports of each test.

    **Raises:** `FileNotFoundError` where the command has not been run.
    """
    path, command = runs / recipe.file.format(seed=seed), recipe.command.format(seed=seed)
    stages = [runs / folder.format(seed=seed) for folder in recipe.folders]
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}. Run `{command} --out {runs}` first.")
    learner = meta.load(path)
    lives = LIVES if recipe.lives is None else recipe.lives
    reports = {
        task: _report(learner, task, lives, recipe.steps, controls=True)
        for task, *_ in recipe.tests
    }
    rivals = [
        (task, rival, _report(_player(rival, task), task, rival.lives, rival.steps))
        for task, _, found in recipe.tests
        for rival in found
    ]
    notes = {
        "command": command,
        "seed": seed,
        "scores": {
            task: {k: v for k, v in report.items() if k.endswith(("_mean", "_at_last"))}
            for task, report in reports.items()
        },
    }
    meta.save(to / f"{name}.symla", learner, notes)
    seconds = sum(spent(stage) for x in stages for stage in sorted(x.glob("stage-*")) or [x])
    (to / f"{name}.md").write_text(
        _card(name, recipe, command, seed, seconds, learner, reports, rivals)
    )
    return reports


def _report(
    learner: rl.Learner, task: str, lives: int, steps: int | None = None, controls: bool = False
) -> dict:
    spec = parse_task(task)
    return _evaluate.report(
        learner,
        _builders.make_tasks(spec),
        steps=spec.entry.steps if steps is None else steps,
        lives=lives,
        seed=0,
        controls=controls,
        frozen=(),
    )


def _player(rival: Rival, task: str) -> rl.Learner:
    spec = parse_task(task)
    return _builders.find_learner(rival.player, spec, rival.steps or spec.entry.steps)


def _card(
    name: str,
    recipe: Recipe,
    command: str,
    seed: int,
    seconds: float,
    learner: rl.Learner,
    reports: dict[str, dict],
    rivals: list[tuple[str, Rival, dict]],
) -> str:
    shuffled, random = _evaluate.SHUFFLED, _evaluate.RANDOM
    rows = [["task", "seen", "score", "reward", "a step, first → last tenth", shuffled, random]]
    for task, seen, _ in recipe.tests:
        report = reports[task]
        tenths = report["parts"]["reward"]
        others = [f"{report['controls'][who]['reward_mean']:.1f}" for who in (shuffled, random)]
        first_to_last = f"{tenths[0]:.2f} → {tenths[-1]:.2f}"
        scores = [f"`{task}`", seen, _own_score(report), _score(report, "reward")]
        rows.append([*scores, first_to_last, *others])
    beside = [["task", "player", "steps of a life", "score", "reward a step"]]
    for task, rival, report in rivals:
        player = f"{_PLAYERS[rival.player]}, {report['lives']} lives"
        beside += [_beside(task, player, report), _beside(task, f"**{name}**", reports[task])]
    machine = _results.machine()
    return _CARD.format(
        name=name,
        told=recipe.told,
        kind=_kind(learner),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(learner)),
        steps="" if recipe.steps is None else f" --steps {recipe.steps}",
        lives=next(iter(reports.values()))["lives"],
        seed=seed,
        table=table(rows),
        rivals=f"\n## Beside hand-made players\n\n{table(beside)}\n" if rivals else "",
        command=command,
        seconds=seconds,
        cores="one shared core" if machine["cores"] == 1 else f"{machine['cores']} shared cores",
        processor=machine["processor"],
        versions=versions(machine),
        limits=recipe.limits,
    )


def _kind(learner: rl.Learner) -> str:
    """What it is, in a sentence that goes on with its parameters."""
    if isinstance(learner, meta.MetaGenRL):
        blind = ", and whose objective is blind to the sign of actions" if learner.mirrored else ""
        sizes = " and ".join(map(str, learner.hidden_sizes))
        return f"A MetaGenRL whose policy and critics have layers of {sizes}{blind}"
    normalises = isinstance(learner, rl.SymLA) and learner.normalise == "running"
    observations = " and normalised observations" if normalises else ""
    return f"A SymLA with scaled reduction{observations}, hidden size 16 and messages of 8"


def _beside(task: str, player: str, report: dict) -> list[str]:
    a_step = report["reward_mean"] / report["steps"]
    return [f"`{task}`", player, f"{report['steps']:,}", _own_score(report), f"{a_step:.3f}"]


def _own_score(report: dict) -> str:
    """What is counted in the task beside the reward."""
    if "no_fall_at_last" in report:
        first = sum(report["parts"]["falls"][:2]) / 2
        gap = "no fall" if first == 0 else f"a fall every {1 / first:.0f} steps"
        return (
            f"{report['no_fall_at_last']:.1%} without a fall in the last fifth; {gap} in the first"
        )
    names = [name for name in report["parts"] if name != "reward"]
    return ", ".join(f"{name} {_score(report, name)}" for name in names) or "-"


def _score(report: dict, name: str) -> str:
    return f"{report[f'{name}_mean']:.2f} ± {report[f'{name}_sem']:.2f}"


def table(rows: list[list[str]]) -> str:
    """Rows in Markdown, the first of which is the head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions(machine: dict[str, str | int]) -> str:
    """The versions that a learner was made with."""
    return ", ".join(f"{n} {machine[n]}" for n in ("python", "jax", "equinox", "evosax"))
