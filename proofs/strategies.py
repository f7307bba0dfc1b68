"""Hypothesis strategies for layers, networks, learners, tasks and what happens to them.

They draw plain descriptions that print as the expressions that make them: sizes, options and
seeds, never arrays. The body of a test builds the objects:

    @given(proofs.strategies.layer_cases(), proofs.strategies.situations(depth=1))
    def test_my_layer(case, situation):
        proofs.laws.equivariance(case.build(MyLayer), situation)

Each new shape or option is compiled anew, which takes far longer than an example. So sizes and
options come from a short menu, unless `free=True` asks for any. Simplest cases come first.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from ._cases import (
    LEARNERS as LEARNERS,
    TASKS as TASKS,
    LayerCase as LayerCase,
    LearnerCase as LearnerCase,
    NetworkCase as NetworkCase,
    Orders,
    Situation as Situation,
    Sizes,
    TaskCase as TaskCase,
)

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "proofs.strategies needs Hypothesis, which is not installed: pip install 'symla[proofs]'"
    ) from error

CELLS = ("lstm", "gru")
REDUCTIONS = ("mean", "sum", "scaled")
MESSAGE_BIASES = ("once", "each", "none")
INITIAL_STATES = ("normal", "official", "zeros")
ORDERS = ("simultaneous", "forward", "forward-backward")
KINDS = ("independent", "uniform", "easy", "medium", "hard")

SIZES_MENU = {1: ((2, 2), (3, 2), (1, 4)), 2: ((2, 2, 2), (3, 2, 4)), 3: ((2, 3, 2, 2),)}
_WIRINGS_MENU = (
    {},
    {"cell": "gru", "reduction": "sum", "message_bias": "each"},
    {"reduction": "scaled", "recurrent": False, "initial_state": "official"},
    {"message_bias": "none", "initial_state": "zeros"},
)
_NETWORKS_MENU = (
    {},
    {"order": "forward"},
    {"order": "forward-backward", "ticks": 2},
    {"ticks": 2, "refresh": False},
)
_SMALL = {"hidden_size": 3, "forward_size": 2, "backward_size": 2}
_SYMLA_MENU = (
    {},
    {"hidden_sizes": (2,), "order": "forward", "cell": "gru", "ticks": 1, "soft_clip": 2.0},
    {
        "normalise": "running",
        "projection_size": 2,
        "ended_flag": True,
        "pad_messages": True,
        "ticks": 3,
        "refresh": False,
        "reduction": "sum",
    },
)


def seeds() -> st.SearchStrategy[int]:
    """Seeds of random numbers."""
    return st.integers(0, 999)


def sizes(
    depth: int = 1, *, min_size: int = 1, max_size: int = 4, free: bool = False
) -> st.SearchStrategy[Sizes]:
    """Sizes of the `depth + 1` interfaces of `depth` layers, between the bounds.

    **Raises:** `ValueError` for a depth below one, bounds without room, or a menu that has nothing
    between the bounds.
    """
    if depth < 1:
        raise ValueError(f"`depth` must be at least 1, got {depth}.")
    if not 1 <= min_size <= max_size:
        raise ValueError(
            f"`min_size` must be at least 1 and at most `max_size`; got {min_size} and {max_size}."
        )
    if free or depth not in SIZES_MENU:
        return st.tuples(*[st.integers(min_size, max_size)] * (depth + 1))
    menu = [s for s in SIZES_MENU[depth] if min_size <= min(s) and max(s) <= max_size]
    if not menu:
        raise ValueError(
            f"The menu has no sizes from {min_size} to {max_size} for a depth of {depth}; allow "
            "more, or ask for free=True."
        )
    return st.sampled_from(menu)


def depths(max_depth: int = 3) -> st.SearchStrategy[int]:
    """Numbers of layers.

    **Raises:** `ValueError` for a greatest depth below one.
    """
    if max_depth < 1:
        raise ValueError(f"`max_depth` must be at least 1, got {max_depth}.")
    return st.integers(1, max_depth)


def permutations(sizes: Sequence[int]) -> st.SearchStrategy[Orders]:
    """One permutation for each interface: inputs, hidden ones, outputs.

    **Raises:** `ValueError` for a size below one.
    """
    if min(sizes, default=1) < 1:
        raise ValueError(f"Every one of `sizes` must be at least 1, got {tuple(sizes)}.")
    return st.tuples(*(st.permutations(range(n)).map(tuple) for n in sizes))


def loudness() -> st.SearchStrategy[float]:
    """How strong messages are: as usual, silent, faint or loud."""
    return st.sampled_from((1.0, 0.0, 1e-3, 1e3))


def wirings(*, free: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Options of a layer: cell, reduction, recurrence, bias of messages, states at birth."""
    if not free:
        return st.sampled_from(_WIRINGS_MENU)
    return st.fixed_dictionaries(
        {
            "cell": st.sampled_from(CELLS),
            "reduction": st.sampled_from(REDUCTIONS),
            "recurrent": st.sampled_from((True, False)),
            "message_bias": st.sampled_from(MESSAGE_BIASES),
            "initial_state": st.sampled_from(INITIAL_STATES),
        }
    )


@st.composite
def layer_cases(draw: st.DrawFn, *, free: bool = False, **fixed: Any) -> LayerCase:
    """Layers.

    **Arguments:**

    - `free`: any options and sizes of messages, not only those of the menu.
    - `fixed`: fields of `LayerCase` that shall not vary.
    """
    drawn: dict[str, Any] = dict(draw(wirings(free=free)), seed=draw(seeds()))
    if free:
        drawn |= {
            "hidden_size": draw(st.integers(1, 4)),
            "forward_size": draw(st.integers(0, 3)),
            "backward_size": draw(st.integers(0, 3)),
            "context_size": draw(st.integers(0, 2)),
        }
    return LayerCase(**(drawn | fixed))


@st.composite
def network_cases(
    draw: st.DrawFn, *, free: bool = False, layer: dict[str, Any] | None = None, **fixed: Any
) -> NetworkCase:
    """Networks; `layer` holds the fields of `LayerCase` that shall not vary, `fixed` the rest."""
    if free:
        drawn: dict[str, Any] = {
            "order": draw(st.sampled_from(ORDERS)),
            "ticks": draw(st.integers(1, 6)),
            "refresh": draw(st.sampled_from((True, False))),
            "depth": draw(st.none() | st.integers(1, 3)),
        }
    else:
        drawn = draw(st.sampled_from(_NETWORKS_MENU))
    drawn = drawn | fixed
    return NetworkCase(draw(layer_cases(free=free, **(layer or {}))), **drawn)


@st.composite
def situations(
    draw: st.DrawFn,
    *,
    depth: int = 1,
    free: bool = False,
    max_size: int = 4,
    **fixed: Any,
) -> Situation:
    """What happens to an object with `depth` layers.

    **Arguments:**

    - `free`, `max_size`: as in `sizes`.
    - `fixed`: fields of `Situation` that shall not vary.
    """
    chosen = fixed.get("sizes") or draw(sizes(depth, max_size=max_size, free=free))
    drawn: dict[str, Any] = {
        "sizes": chosen,
        "permutations": draw(permutations(chosen)),
        "steps": draw(st.integers(1, 6)) if free else 3,
        "ticks": draw(st.sampled_from((1, 2))),
        "masked": draw(st.sampled_from((False, True))),
        "loudness": draw(loudness()),
        "seed": draw(seeds()),
    }
    return Situation(**(drawn | fixed))


@st.composite
def learner_cases(
    draw: st.DrawFn, *, names: Sequence[str] | None = None, spaces: tuple[int, int] = (1, 3)
) -> LearnerCase:
    """Learners.

    **Arguments:**

    - `names`: which, of those in `LEARNERS`; all by default.
    - `spaces`: sizes of the tasks, for learners whose sizes are fixed.

    **Raises:** `ValueError` for a name that is not in `LEARNERS`.
    """
    unknown = sorted(set(names or ()) - set(LEARNERS))
    if unknown:
        raise ValueError(f"`names` can hold {', '.join(LEARNERS)}; got {', '.join(unknown)}.")
    name = draw(st.sampled_from(tuple(names or LEARNERS)))
    options = {}
    if name == "SymLA":
        options = _SMALL | draw(st.sampled_from(_SYMLA_MENU))
    elif name == "MetaRNN":
        options = dict(zip(("observation_size", "num_actions"), spaces, strict=True))
        options |= {"hidden_size": 3, "ticks": draw(st.sampled_from((1, 2)))}
    return LearnerCase(name, options, draw(seeds()))


@st.composite
def bandits(draw: st.DrawFn, *, max_arms: int = 4) -> dict[str, Any]:
    """Arguments of `rl.envs.BernoulliBandits`, of every kind and with masked arms.

    **Raises:** `ValueError` for fewer than two arms.
    """
    if max_arms < 2:
        raise ValueError(f"`max_arms` must be at least 2, got {max_arms}.")
    kind = draw(st.sampled_from(KINDS))
    if kind != "independent":
        return {"arms": 2, "kind": kind, "max_arms": draw(st.sampled_from((2, max_arms)))}
    arms = draw(st.sampled_from(tuple(dict.fromkeys((2, max_arms, (2, max_arms))))))
    return {"arms": arms, "kind": kind}


_OPTIONS = {"BernoulliBandits": bandits()}


def task_cases(*, names: Sequence[str] | None = None) -> st.SearchStrategy[TaskCase]:
    """Tasks: bandits, and what `TASKS` holds beside them, with its default arguments.

    **Raises:** `ValueError` for a name that is not in `TASKS`.
    """
    unknown = sorted(set(names or ()) - set(TASKS))
    if unknown:
        raise ValueError(f"`names` can hold {', '.join(TASKS)}; got {', '.join(unknown)}.")
    return st.one_of(
        [
            st.builds(TaskCase, st.just(name), _OPTIONS.get(name, st.just({})), seeds())
            for name in names or TASKS
        ]
    )


def menu_of_sizes(max_depth: int = 3) -> list[Sizes]:
    """All sizes that come without `free=True`, up to a depth."""
    return list(itertools.chain(*(SIZES_MENU[k] for k in range(1, max_depth + 1))))
