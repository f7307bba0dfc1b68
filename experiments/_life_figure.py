"""What figures 5 to 7 leave behind: JSON, a table and curves over the life."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import rl

from . import _results
from ._life_study import PARTS, Outcome, Probe, contenders, report
from ._study_plots import Curve, CurvePanel, life_curves

Pair = tuple[str, str]
SEEDS, LIVES = 3, 100  # meta-trainings of each learner, and lives of each in each probe
PLAYERS = {"random": rl.classic.RandomPlayer()}


def reproduce(
    figure: str,
    preset: str,
    *,
    families: Sequence[str],
    probes: Mapping[str, Sequence[Probe]],
    claims: Callable[[Outcome], list[_results.Claim]],
    title: str,
    panels: Mapping[str, Mapping[Pair, Pair]],
    levels: Mapping[str, Mapping[str, Pair]],
    seed: int,
    out: Path,
    progress: bool,
) -> dict:
    """Reproduce one of the figures: SymLA and a MetaRNN on some families, beside a random policy.

    **Arguments:**

    - `figure`, `preset`: their names.
    - `families`: what both are meta-trained on.
    - `probes`: where each is looked at, by the names of `contenders`.
    - `claims`: decides the figure's own statements.
    - `title`, `panels`, `levels`: of the picture, as of `write`.
    - `seed`, `out`, `progress`: as of `experiments.reproduce`.

    **Returns:**

    The result, as written to `PRESET.json`.
    """
    outcome, told = report(
        contenders(families, preset),
        probes,
        PLAYERS,
        seeds=range(seed, seed + SEEDS),
        lives=LIVES,
        out=out,
        progress=progress,
    )
    result = {"figure": figure, "preset": preset, **told, "claims": claims(outcome)}
    write(result, outcome, out, preset, title=title, panels=panels, levels=levels)
    return result


def write(
    result: dict,
    outcome: Outcome,
    out: Path,
    preset: str,
    *,
    title: str,
    panels: Mapping[str, Mapping[Pair, Pair]],
    levels: Mapping[str, Mapping[str, Pair]],
) -> None:
    """Write `PRESET.json`, `PRESET.csv` and `PRESET.png`.

    **Arguments:**

    - `result`: for the JSON.
    - `outcome`: of the study.
    - `out`: the folder.
    - `title`: of the picture.
    - `panels`: for each panel, for each learner and variant, the row and probe of the study.
    - `levels`: for each panel, the row and probe whose mean reward is drawn as a level.
    """
    _results.write_json(out / f"{preset}.json", result)
    _results.write_csv(out / f"{preset}.csv", _table(result))
    drawn = []
    for name, curves in panels.items():
        found = [
            Curve(learner, variant, _steps(outcome, *pair))
            for (learner, variant), pair in curves.items()
        ]
        means = {
            label: float(outcome.courses[pair]["reward"].mean())
            for label, pair in levels[name].items()
        }
        drawn.append(CurvePanel(name, found, means))
    part = min(outcome.steps.values()) // PARTS
    seeds = len(result["seeds"])
    several = f"{seeds} meta-trainings" if seeds > 1 else "one meta-training"
    life_curves(
        out / f"{preset}.png",
        f"{title} ({preset} preset, {several} x {result['lives']} lives)",
        drawn,
        window=max(1, part * 5),
    )


def _steps(outcome: Outcome, row: str, probe: str) -> np.ndarray:
    """The mean reward of each seed at each step, constant within a part of a life."""
    course = outcome.courses[row, probe]["reward"].mean(1)
    return np.repeat(course, max(1, outcome.steps[probe] // PARTS), axis=-1)


def _table(result: dict) -> list[dict]:
    rows = []
    for pair, told in result["lives_of"].items():
        learner, probe = pair.split("->")
        total = told["total_reward"]
        row = {
            "learner": learner,
            "test": probe,
            "total_reward_mean": round(total["mean"], 4),
            "total_reward_std_over_lives": round(total["std"], 4),
            "total_reward_sem": round(total["sem"], 4),
            "improvement_per_step": round(told["improvement"]["mean"], 5),
            "improvement_sem": round(told["improvement"]["sem"], 5),
            "without_fall_in_last_fifth": told.get("without_fall_in_last_fifth", ""),
            "steps_per_fall_first_fifth": told.get("steps_per_fall", {}).get("first_fifth", ""),
            "steps_per_fall_last_fifth": told.get("steps_per_fall", {}).get("last_fifth", ""),
            "seeds": total["seeds"],
            "lives_per_seed": total["lives"],
        }
        rows.append(row)
    return rows
