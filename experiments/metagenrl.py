"""The experiments of MetaGenRL (Kirsch et al. 2020, arXiv:1910.04098): its tables and figures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from . import _results
from ._figures import Figure
from ._objective_claims import claim, compared, difference, no_better, progress_of, searches_of
from ._objective_figure import Curves, View, reproduce
from ._objective_settings import META, PRESETS, PUBLISHED, Setting
from ._objective_study import ObjectiveOutcome, Search


def _table_1(setting: Setting) -> View:
    searches = [
        make(pair)
        for pair in setting.pairs
        for make in (setting.metagenrl, setting.epg, setting.rl2)
    ]
    plan = setting.plan(searches, setting.tested)
    rows = {
        f"{kind}: {setting.named([str(x.name) for x in search.lessons])}": dict.fromkeys(
            setting.tested, search.name
        )
        for kind in META
        for search in searches_of(searches, kind)
    }
    rows |= {name: dict.fromkeys(setting.tested, name) for name in plan.players}
    return View(plan, partial(compared, searches, setting.tested), rows=rows)


def _table_2(setting: Setting) -> View:
    searches = [setting.metagenrl(split) for split in setting.splits]
    plan = setting.plan(searches, setting.tested)
    rows = {
        f"MetaGenRL: {setting.named([str(x.name) for x in search.lessons])}": dict.fromkeys(
            setting.tested, search.name
        )
        for search in searches
    }
    rows |= {name: dict.fromkeys(setting.tested, name) for name in plan.players}
    rivals = ("PPO", PUBLISHED, "on-policy REINFORCE")

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        won = {
            rival: float(
                np.mean(
                    [
                        difference(outcome, search.name, rival, world)[0] > 0.0
                        for search in searches
                        for world in setting.tested
                    ]
                )
            )
            for rival in rivals
        }
        return [
            {
                "claim": "MetaGenRL is above PPO and both REINFORCEs in most configurations.",
                "measured": {f"share above {rival}": share for rival, share in won.items()},
                "criterion": "reward per step in the last fifth: above each of them in more than "
                "half of all pairs of a meta-training and a test world",
                "holds": all(share > 0.5 for share in won.values()),
            }
        ]

    return View(plan, claims, rows=rows)


def _figure_3(setting: Setting) -> View:
    searches = [make(setting.main) for make in (setting.metagenrl, setting.epg, setting.rl2)]
    worlds = (setting.seen, setting.unseen)
    plan = setting.plan(searches, worlds)
    shown = {search.name.split()[0]: search.name for search in searches}
    shown |= {name: name for name in plan.players if name != "random"}
    kinds = {setting.seen: "meta-trained on", setting.unseen: "never seen"}
    tests = {
        f"{setting.titles[world]} ({kind})": {label: (name, world) for label, name in shown.items()}
        for world, kind in kinds.items()
    }
    return View(plan, partial(compared, searches, worlds), tests=tests)


def _stages(setting: Setting, search: Search, world: str, kind: str) -> Curves:
    """A panel of what the objective of each stage does."""
    return {
        f"{setting.titles[world]} ({kind})": {
            f"after {mark} generations": (search.at(mark), world) for mark in search.marks
        }
    }


def _figure_4(setting: Setting) -> View:
    search = setting.metagenrl(setting.main)
    plan = setting.plan([search], [setting.unseen], by_hand=False, stages=True)
    first, last = search.learners[0], search.learners[-1]

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        spread = {
            name: float(outcome.ends(name, setting.unseen).std(ddof=1)) for name in (first, last)
        }
        return [
            claim(
                "Early in meta-training, the objective already makes agents better.",
                {first: progress_of(outcome, first, setting.unseen)},
            ),
            claim(
                "Later, they end better, or no worse.",
                {f"{last} less {first}": difference(outcome, last, first, setting.unseen)},
                criterion="not below by more than twice its standard error",
                holds=lambda mean, error: mean >= -2.0 * error,
            ),
            {
                "claim": "Later, agents differ less.",
                "measured": spread,
                "criterion": "the standard deviation of all agents in the last fifth is smaller",
                "holds": spread[last] < spread[first],
            },
        ]

    lessons = {
        f"Meta-training: {setting.titles[str(lesson.name)]}": {
            "all agents": (search.name, str(lesson.name))
        }
        for lesson in search.lessons
    }
    tests = _stages(setting, search, setting.unseen, "never seen")
    return View(plan, claims, trainings=lessons, tests=tests)


def _variants(
    setting: Setting, searches: Mapping[str, Search], worlds: Mapping[str, str]
) -> tuple[Curves, Curves]:
    """Panels of meta-training in the main worlds, and of tests, with a curve for each variant."""
    trainings = {
        f"Meta-training: {setting.titles[world]}": {
            label: (search.name, world) for label, search in searches.items()
        }
        for world in setting.main
    }
    tests = {
        f"{setting.titles[world]} ({kind})": {
            label: (search.name, world) for label, search in searches.items()
        }
        for world, kind in worlds.items()
    }
    return trainings, tests


def _figure_5(setting: Setting) -> View:
    no_errors = {"error_input": False}  # they would tell the values that are not to be known
    known: dict[str, dict[str, Any]] = {
        "time and values": {},
        "values": {"time_input": "none"},
        "time and the first value": {"value_input": "current", **no_errors},
        "time": {"value_input": "none", **no_errors},
    }
    if setting.budget.objective.get("error_input"):
        known["time and values, no errors"] = no_errors
    searches = {
        f"knows {name}": setting.metagenrl(
            setting.main, f"knows {name}" if options else "", objective=options
        )
        for name, options in known.items()
    }
    whole, timeless, first, blind, *others = (search.name for search in searches.values())
    both = others[0] if others else whole
    world = setting.seen
    plan = setting.plan(list(searches.values()), [world], by_hand=False)

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        return [
            claim(
                "Without values, agents do not become better.",
                {blind: progress_of(outcome, blind, world)},
                criterion="not above twice its standard error",
                holds=no_better,
            ),
            claim(
                "Without time, they become less good.",
                {"with less without": difference(outcome, whole, timeless, world)},
            ),
            claim(
                "The value of the first observation of a step suffices.",
                {"both less one": difference(outcome, both, first, world)},
                criterion="not above twice its standard error",
                holds=no_better,
            ),
        ]

    trainings, tests = _variants(setting, searches, {world: "meta-tested"})
    return View(plan, claims, trainings=trainings, tests=tests)


def _figure_6(setting: Setting) -> View:
    searches = {
        f"{steps} inner step{'s' if steps > 1 else ''}": setting.metagenrl(
            setting.main,
            f"{steps} inner steps" if steps > 1 else "",
            inner={"inner_steps": steps} if steps > 1 else {},
        )
        for steps in (1, 3, 5)
    }
    one, three, five = (search.name for search in searches.values())
    worlds = {setting.seen: "meta-trained on", setting.unseen: "never seen"}
    plan = setting.plan(list(searches.values()), list(worlds), by_hand=False)

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        return [
            claim(
                f"{name} inner steps are no better than one.",
                {f"in {world}": difference(outcome, several, one, world) for world in worlds},
                criterion="none is above twice its standard error",
                holds=no_better,
            )
            for name, several in (("Three", three), ("Five", five))
        ]

    trainings, tests = _variants(setting, searches, worlds)
    return View(plan, claims, trainings=trainings, tests=tests)


def _figure_10(setting: Setting) -> View:
    world = (setting.single,)
    kinds = {"no restarts": setting.metagenrl(world)}
    restarts = setting.budget.restarts
    if restarts is not None:
        kinds["restarts"] = setting.metagenrl(world, "restarts", inner={"restarts": restarts})
    searches = list(kinds.values())
    plan = setting.plan(searches, world, by_hand=False, stages=True)

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        means = {
            name: float(outcome.ends(name, setting.single).mean())
            for search in searches
            for name in search.learners
        }
        best = {s.name: max(s.learners, key=lambda name: means[name]) for s in searches}
        lost = {
            f"{s.name}: best less last": difference(outcome, best[s.name], s.name, setting.single)
            for s in searches
        }
        found = [
            claim(
                "Without restarts, objectives forget how to train newborn agents.",
                {name: lost[name] for name in list(lost)[:1]},
            )
        ]
        if len(searches) > 1:
            found.append(
                claim(
                    "With restarts, they do not.",
                    {name: lost[name] for name in list(lost)[1:]},
                    criterion="not above twice its standard error",
                    holds=no_better,
                )
            )
        return found

    trainings = {"Meta-training": {kind: (s.name, setting.single) for kind, s in kinds.items()}}
    tests: dict[str, Mapping[str, tuple[str, str]]] = {}
    for kind, search in kinds.items():
        tests |= _stages(setting, search, setting.single, kind)
    return View(plan, claims, trainings=trainings, tests=tests)


def _figure_12(setting: Setting) -> View:
    sizes = setting.budget.populations
    searches = {
        f"{size} agents": setting.metagenrl(
            setting.main, f"{size} agents" if size != setting.budget.agents else "", agents=size
        )
        for size in sizes
    }
    plan = setting.plan(list(searches.values()), [setting.unseen], by_hand=False)
    few, many = (searches[f"{size} agents"].name for size in (sizes[0], sizes[-1]))

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        return [
            claim(
                "Many agents make a better objective than few.",
                {f"{many} less {few}": difference(outcome, many, few, setting.unseen)},
            )
        ]

    trainings, tests = _variants(setting, searches, {setting.unseen: "never seen"})
    return View(plan, claims, trainings=trainings, tests=tests)


def _figure_13(setting: Setting) -> View:
    agents = setting.budget.agents
    pair = setting.metagenrl(setting.main)
    searches = {f"{len(setting.main)} worlds, {agents} agents": pair}
    for count in (agents, 2 * agents):
        label = f"{len(setting.crowd)} worlds, {count} agents"
        searches[label] = setting.metagenrl(
            setting.crowd, f"{count} agents" if count != agents else "", agents=count
        )
    plan = setting.plan(list(searches.values()), [setting.unseen], by_hand=False)

    def claims(outcome: ObjectiveOutcome) -> list[_results.Claim]:
        more = {
            f"{label} less {pair.name}": difference(outcome, search.name, pair.name, setting.unseen)
            for label, search in list(searches.items())[1:]
        }
        return [
            claim(
                "More worlds do not make a better objective.",
                more,
                criterion="none is above twice its standard error",
                holds=no_better,
            )
        ]

    tests = {
        f"{setting.titles[setting.unseen]} (never seen)": {
            label: (search.name, setting.unseen) for label, search in searches.items()
        }
    }
    return View(plan, claims, tests=tests)


_ALL: dict[str, tuple[str, Callable[[Setting], View]]] = {
    "table-1": ("Learned objectives beside EPG, RL2 and learners made by hand", _table_1),
    "table-2": ("Learned objectives from other worlds, beside learners made by hand", _table_2),
    "figure-3": ("Newborn agents in a world of the meta-training and in another", _figure_3),
    "figure-4": ("Objectives of five stages of a meta-training", _figure_4),
    "figure-5": ("Objectives that know less", _figure_5),
    "figure-6": ("One, three and five inner steps", _figure_6),
    "figure-10": ("Do objectives forget how to train newborn agents?", _figure_10),
    "figure-12": ("How many agents a meta-training needs", _figure_12),
    "figure-13": ("Meta-training on more worlds", _figure_13),
}
EXPERIMENTS: dict[str, Figure] = {
    name: Figure(
        f"{title} ({name.replace('-', ' ')} of MetaGenRL)",
        PRESETS,
        partial(reproduce, name, title, view),
    )
    for name, (title, view) in _ALL.items()
}
