"""Statements of MetaGenRL's paper, decided by what its experiments measured."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from . import _results
from ._objective_settings import NORMALISED, PUBLISHED
from ._objective_study import ObjectiveOutcome, Search

START, END = (0.0, 0.04), (0.8, 1.0)  # parts of a life: before it learns, and when it has learned


def difference(outcome: ObjectiveOutcome, one: str, other: str, world: str) -> tuple[float, float]:
    """By how much a learner ends above another, and the standard error of that."""
    found = [_results.summary(outcome.ends(name, world)) for name in (one, other)]
    return found[0]["mean"] - found[1]["mean"], float(np.hypot(found[0]["sem"], found[1]["sem"]))


def progress_of(outcome: ObjectiveOutcome, name: str, world: str) -> tuple[float, float]:
    """By how much agents end above their start, and the standard error of that."""
    change = outcome.level(name, world, *END) - outcome.level(name, world, *START)
    numbers = _results.summary(change)
    return numbers["mean"], numbers["sem"]


def claim(
    statement: str,
    found: Mapping[str, tuple[float, float]],
    *,
    criterion: str = "each is above twice its standard error",
    holds: Callable[[float, float], bool] = lambda mean, error: mean > 2.0 * error,
) -> _results.Claim:
    """A statement about some differences, each with its standard error."""
    measured = {}
    for name, (mean, error) in found.items():
        measured |= {name: mean, f"error of {name}": error}
    return {
        "claim": statement,
        "measured": measured,
        "criterion": f"reward per step in the last fifth: {criterion}",
        "holds": all(holds(mean, error) for mean, error in found.values()),
    }


def no_better(mean: float, error: float) -> bool:
    """Whether a difference is not clearly above zero."""
    return mean <= 2.0 * error


def searches_of(searches: Sequence[Search], kind: str) -> list[Search]:
    """The meta-trainings of a kind of learner."""
    return [search for search in searches if search.name.startswith(kind)]


def unseen_of(search: Search, worlds: Sequence[str]) -> list[str]:
    """The worlds that a meta-training did not see."""
    known = {lesson.name for lesson in search.lessons}
    return [world for world in worlds if world not in known]


def compared(
    searches: Sequence[Search], worlds: Sequence[str], outcome: ObjectiveOutcome
) -> list[_results.Claim]:
    """What table 1 and figure 3 say, of worlds that meta-training never saw."""
    unseen = [(s, w) for s in searches_of(searches, "MetaGenRL") for w in unseen_of(s, worlds)]
    rivals = [(s, w) for s in searches_of(searches, "RL2") for w in unseen_of(s, worlds)]
    evolved = {s.name.removeprefix("EPG"): s.name for s in searches_of(searches, "EPG")}
    start = {f"{s.name}, in {w}": progress_of(outcome, s.name, w) for s, w in unseen}
    above = {
        rival: {f"{s.name}, in {w}": difference(outcome, s.name, rival, w) for s, w in unseen}
        for rival in (PUBLISHED, NORMALISED)
    }
    beside = {
        f"{s.name}, in {w}": difference(
            outcome, s.name, evolved[s.name.removeprefix("MetaGenRL")], w
        )
        for s, w in unseen
    }
    return [
        claim("In an unseen world, learned objectives make agents better.", start),
        claim(
            "There, learned objectives are above off-policy REINFORCE under the same budget.",
            above[PUBLISHED],
        ),
        claim(
            "And above one whose advantages are normalised, which the paper does not have.",
            above[NORMALISED],
        ),
        claim("There, they are above EPG.", beside),
        claim(
            "There, RL2 does not become better.",
            {f"{s.name}, in {w}": progress_of(outcome, s.name, w) for s, w in rivals},
            criterion="none is above twice its standard error",
            holds=no_better,
        ),
    ]
