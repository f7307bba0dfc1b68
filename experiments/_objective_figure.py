"""Pictures of experiments with learned objectives."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from . import _results
from ._objective_settings import Setting, setting
from ._objective_study import ObjectiveOutcome, Plan, run, table, tell
from ._study_plots import Curve, CurvePanel, generalisation_matrix, life_curves

Curves = Mapping[str, Mapping[str, tuple[str, str]]]  # what is shown, by panel and label
FOLDER = "metagenrl"  # of trainings and lives, which the experiments share


@dataclasses.dataclass(frozen=True)
class View:
    """What an experiment does and shows.

    - `plan`: its meta-trainings, players and lives.
    - `trainings`, `tests`: panels of curves, as of `curves`.
    - `rows`: instead, of a heat map, as of `heat_map`.
    - `claims`: decides the paper's statements.
    """

    plan: Plan
    claims: Callable[[ObjectiveOutcome], list[_results.Claim]]
    trainings: Curves = dataclasses.field(default_factory=dict)
    tests: Curves = dataclasses.field(default_factory=dict)
    rows: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


def curves(
    path: Path,
    title: str,
    plan: Plan,
    outcome: ObjectiveOutcome,
    *,
    tests: Curves,
    trainings: Curves | None = None,
    random: str = "random",
    note: str = "",
) -> None:
    """Draw what agents earn while they learn, a panel for each world.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath.
    - `plan`, `outcome`: of the study.
    - `tests`: for each panel, and each label of a curve in it, the learner and the probe.
    - `trainings`: likewise, panels of meta-trainings, which come first: the search and the lesson.
    - `random`: the player whose reward is a level to compare with.
    """
    panels = []
    searches = {search.name: search for search in plan.searches}
    for name, shown in (trainings or {}).items():
        found = []
        for label, (search, lesson) in shown.items():
            (of,) = (one for one in searches[search].lessons if one.name == lesson)
            rewards = outcome.while_training(searches[search], of)
            found.append(Curve(label, "", np.repeat(rewards, of.steps, axis=-1)))
        panels.append(CurvePanel(name, found))
    for name, shown in tests.items():
        found, levels = [], {}
        for label, (row, probe) in shown.items():
            rewards = outcome.courses[row, probe]["reward"].mean(1)
            each = max(1, outcome.steps[probe] // rewards.shape[-1])
            found.append(Curve(label, "", np.repeat(rewards, each, axis=-1)))
            if (random, probe) in outcome.courses:
                levels[random] = float(outcome.courses[random, probe]["reward"].mean())
        panels.append(CurvePanel(name, found, levels))
    shortest = min(max(x.rewards.shape[1] for x in panel.curves) for panel in panels)
    life_curves(path, title, panels, window=max(1, shortest // 20), units="seeds", note=note)


def heat_map(
    path: Path,
    title: str,
    outcome: ObjectiveOutcome,
    rows: Mapping[str, Mapping[str, str]],
    worlds: Mapping[str, str],
    *,
    note: str = "",
) -> None:
    """Draw what agents earn in the end, in the cells of a table.

    Colours go from what random actions earn to what the best does, in each world.

    **Arguments:**

    - `path`: the file.
    - `title`, `note`: above and beneath.
    - `outcome`: of the study; `random` has lived in all worlds.
    - `rows`: for each row of the table, by its label: for each world, the learner.
    - `worlds`: for each world, the title of its column; its probes have its name.
    """
    values, errors = (np.full((len(rows), len(worlds)), np.nan) for _ in range(2))
    for i, learners in enumerate(rows.values()):
        for j, world in enumerate(worlds):
            if world in learners:
                numbers = _results.summary(outcome.ends(learners[world], world))
                values[i, j], errors[i, j] = numbers["mean"], numbers["sem"]
    least = np.asarray([outcome.ends("random", world).mean() for world in worlds])
    span = np.maximum(np.nanmax(values, axis=0, initial=-np.inf) - least, 1e-6)
    generalisation_matrix(
        path,
        title,
        list(rows),
        list(worlds.values()),
        values,
        values - errors,
        values + errors,
        shades=np.clip((values - least) / span, 0.0, 1.0),
        note=note,
    )


def reproduce(
    name: str,
    title: str,
    view_of: Callable[[Setting], View],
    preset: str,
    *,
    seed: int = 0,
    out: Path,
    progress: bool = False,
) -> dict:
    """Reproduce one of them; see `experiments.reproduce`."""
    chosen = setting(preset)
    view = view_of(chosen)
    plan = view.plan
    folder = out.parent / f"{FOLDER}-{preset}"
    outcome = run(plan, seed=seed, out=folder, progress=progress)
    result = {
        "figure": f"metagenrl-{name}",
        "preset": preset,
        **tell(plan, outcome, seed=seed),
        "claims": view.claims(outcome),
    }
    _results.write_json(out / f"{preset}.json", result)
    _results.write_csv(out / f"{preset}.csv", table(outcome))
    title = f"{title} ({preset} preset)"
    note = f"{plan.seeds} meta-trainings of each kind x {plan.lives} newborn agents."
    if view.rows:
        worlds = {world: chosen.titles[world] for world in chosen.tested}
        note = f"Mean reward per step in the last fifth, with its standard error. {note}"
        heat_map(out / f"{preset}.png", title, outcome, view.rows, worlds, note=note)
    else:
        curves(
            out / f"{preset}.png",
            title,
            plan,
            outcome,
            tests=view.tests,
            trainings=view.trainings,
            note=note,
        )
    return result
