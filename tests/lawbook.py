"""What each law is tried on: drawn cases that keep it, and twins that break it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import broken
import equinox as eqx
import jax.random as jr
import optax
from hypothesis import strategies as st
from toys import made

import meta
import proofs.strategies as ours
import rl
import vsml
from proofs import laws
from proofs.strategies import LayerCase, LearnerCase, NetworkCase, Situation, TaskCase

# ------------------------------------------------------------------------------- what is drawn


@st.composite
def layers(draw: st.DrawFn, *, layer: dict | None = None, **fixed: Any) -> tuple:
    """A layer, and what happens to it."""
    return draw(ours.layer_cases(**(layer or {}))), draw(ours.situations(depth=1, **fixed))


PLAIN = {
    "cell": "lstm",
    "reduction": "mean",
    "recurrent": True,
    "message_bias": "once",
    "initial_state": "normal",
}


@st.composite
def networks(
    draw: st.DrawFn, *, depths: tuple = (1, 2, 3), network: dict | None = None, **fixed: Any
) -> tuple:
    """A network of plain layers, and what happens to it, with one set of sizes for each depth."""
    case = draw(ours.network_cases(**{"layer": PLAIN, **(network or {})}))
    depth = draw(st.sampled_from(depths))
    fixed = {"sizes": ours.SIZES_MENU[depth][-1], "masked": False, "ticks": 1, **fixed}
    return case, draw(ours.situations(depth=depth, **fixed))


@dataclass(frozen=True)
class Given:
    """Something that is there already."""

    name: str

    def build(self) -> Any:
        return {"rl.lifetime": rl.lifetime}[self.name]


@dataclass(frozen=True)
class StrategyCase:
    """One of a few evolution strategies; each optimiser is compiled anew."""

    name: str

    def build(self) -> meta.EvolutionStrategy:
        return STRATEGIES[self.name]


@dataclass(frozen=True)
class TasksCase:
    """A distribution of tasks."""

    case: TaskCase

    def build(self) -> rl.TaskDistribution:
        return ours.TASKS[self.case.name](**self.case.options)


STRATEGIES = {
    "ranks": meta.EvolutionStrategy(8, 0.1, optax.adam(0.1)),
    "scores": meta.EvolutionStrategy(16, 0.3, optax.adam(0.5), shaping="zscore"),
    "ranks, alone": meta.EvolutionStrategy(6, 0.2, optax.sgd(0.5), antithetic=False),
    "scores, alone": meta.EvolutionStrategy(
        6, 0.2, optax.adam(1.0), shaping="zscore", antithetic=False
    ),
    "plain": meta.EvolutionStrategy(8, 0.1, optax.sgd(0.2), shaping="none"),
    "plain, alone": meta.EvolutionStrategy(
        8, 0.1, optax.sgd(0.2), shaping="none", antithetic=False
    ),
}


def strategies(*names: str) -> st.SearchStrategy:
    cases = st.sampled_from([StrategyCase(name) for name in names or STRATEGIES])
    return st.tuples(cases, st.builds(Situation, seed=ours.seeds()))


@st.composite
def learners(draw: st.DrawFn, names: tuple | None = None, **fixed: Any) -> tuple:
    case = draw(ours.learner_cases(names=names, spaces=(2, 3)))
    return case, Situation(sizes=(2, 3), seed=draw(ours.seeds()), **fixed)


ONE_SIZE: dict = {"sizes": (3, 2), "ticks": 1}
FEW: dict = {"layer": {"cell": "lstm"}, "masked": False, **ONE_SIZE}
ONE_SWEEP: dict = {"layer": PLAIN, "ticks": 1}
FREE_SIZES = st.builds(Situation, seed=ours.seeds())

DRAWN: dict[tuple[str, str], st.SearchStrategy] = {
    ("equivariance", "layer"): layers(steps=50, ticks=1),
    ("equivariance", "network"): networks(steps=30),
    ("one_tick", "layer"): layers(**ONE_SIZE),
    ("replication", "layer"): layers(layer={"reduction": "mean"}, **ONE_SIZE),
    ("size_freedom", "layer"): st.tuples(ours.layer_cases(free=True), FREE_SIZES),
    ("size_freedom", "network"): st.tuples(ours.network_cases(), FREE_SIZES),
    ("masked_is_smaller", "layer"): layers(ticks=1, sizes=(4, 3), steps=4, masked=True),
    ("masked_is_smaller", "network"): networks(
        network=ONE_SWEEP, depths=(2,), sizes=(3, 2, 3), masked=True
    ),
    ("locality", "layer"): layers(sizes=(3, 4), ticks=1, masked=False),
    ("held_ticks", "layer"): layers(sizes=(3, 2), masked=False),
    ("same_under_jit", "layer"): layers(**FEW),
    ("same_under_jit", "network"): networks(network=ONE_SWEEP, depths=(2,)),
    ("same_under_vmap", "layer"): layers(**FEW),
    ("same_under_vmap", "network"): networks(network=ONE_SWEEP, depths=(2,)),
    ("compiled_once", "layer"): layers(**FEW),
    ("compiled_once", "network"): networks(depths=(1,)),
    ("finite_gradients", "layer"): layers(layer={"cell": "lstm"}, **ONE_SIZE),
    ("finite_gradients", "network"): networks(network=ONE_SWEEP, depths=(2,)),
    ("oracle", "layer"): layers(sizes=(3, 2)),
    ("propagation", "network"): networks(),
    ("ticks", "network"): networks(network={"refresh": True, "layer": PLAIN}, depths=(2,), ticks=6),
    ("held_network", "network"): networks(network={"refresh": False, "layer": PLAIN}, depths=(1,)),
    ("fused", "network"): networks(
        network={"layer": PLAIN, "order": "simultaneous"}, depths=(1,), sizes=(3, 2)
    ),
    ("any_task", "learner"): learners(("SymLA", "ThompsonSampling", "UCB1")),
    ("permuted_life", "learner"): learners(("SymLA",), steps=40),
    ("life_in_parts", "learner"): learners(("SymLA", "MetaRNN"), steps=4),
    ("lives_side_by_side", "learner"): learners(("SymLA", "UCB1"), steps=3),
    ("steady_types", "learner"): learners(),
    ("life_in_parts", "lifetime"): st.tuples(
        st.just(Given("rl.lifetime")), st.builds(Situation, seed=ours.seeds())
    ),
    ("permuted_environment", "environment"): st.tuples(
        st.builds(TasksCase, ours.task_cases()),
        st.builds(Situation, seed=ours.seeds(), steps=st.just(20)),
    ),
    ("steady_types", "environment"): st.tuples(ours.task_cases(), FREE_SIZES),
    ("still_without_difference", "evolution"): strategies(
        "ranks", "scores", "ranks, alone", "scores, alone"
    ),
    ("order_only", "evolution"): strategies("ranks", "ranks, alone"),
    ("unbiased", "evolution"): strategies(),
}

# ----------------------------------------------------------------------------------- the twins


def layer(kind: Callable, **options: Any) -> Callable[[], vsml.Layer]:
    return lambda: LayerCase(**options).build(kind)


def network(
    kind: Callable = vsml.Network, layers: Callable = vsml.Layer, **options: Any
) -> Callable[[], vsml.Network]:
    return lambda: NetworkCase(**options).build(kind, layers)


def symla(layers: type[vsml.Layer]) -> Callable[[], rl.SymLA]:
    """A SymLA whose layers have a fault."""

    def build() -> rl.SymLA:
        learner: Any = LearnerCase().build()
        first = learner.network.layers[0]
        twin = object.__new__(layers)
        for name, value in vars(first).items():
            object.__setattr__(twin, name, value)
        return eqx.tree_at(lambda m: m.network.layers, learner, (twin,))

    return build


def at_birth(kind: Callable[..., vsml.Layer]) -> Callable[[], vsml.Layer]:
    """A layer as it is made: its biases are zero."""
    return lambda: kind(3, 2, 2, 1, key=jr.key(0))


def metarnn() -> rl.MetaRNN:
    return rl.MetaRNN(3, 4, 3, key=jr.key(0))


def searching(kind: Callable, **options: Any) -> Callable[[], meta.EvolutionStrategy]:
    return lambda: kind(8, 0.1, optax.adam(0.1), **options)


def halved() -> meta.EvolutionStrategy:
    return made(broken.Halved, 8, 0.1, optax.sgd(0.2), shaping="none")


# (law, kind): (twin, options of the law) for each twin.
TWINS: dict[tuple[str, str], list[tuple[Callable[[], Any], dict]]] = {
    ("equivariance", "layer"): [
        (layer(broken.PositionWeighted), {}),
        (layer(broken.NeighbourReader), {}),
        (layer(broken.PositionWeighted), {"masked": True}),
    ],
    ("equivariance", "network"): [
        (network(broken.HiddenShift), {}),
        (network(layers=broken.PositionWeighted), {}),
    ],
    ("one_tick", "layer"): [
        (layer(broken.PositionWeighted), {}),
        (layer(broken.NeighbourReader), {}),
    ],
    ("replication", "layer"): [(layer(broken.Summed), {})],
    ("size_freedom", "layer"): [(layer(broken.Rigid), {})],
    ("size_freedom", "network"): [(network(layers=broken.Rigid), {})],
    ("masked_is_smaller", "layer"): [
        (layer(broken.MaskBlind), {}),
        (layer(broken.MaskMiscounted), {}),
    ],
    ("masked_is_smaller", "network"): [
        (network(layers=broken.MaskBlind), {}),
        (network(layers=broken.MaskMiscounted), {}),
    ],
    ("locality", "layer"): [
        (layer(broken.NeighbourReader), {}),
        (layer(broken.Gossip), {}),
    ],
    ("held_ticks", "layer"): [(layer(broken.TickRefresher), {})],
    ("same_under_jit", "layer"): [(layer(broken.TraceAware, cell="gru"), {})],
    ("same_under_jit", "network"): [(network(layers=broken.TraceAware), {"sizes": (2, 2)})],
    ("same_under_vmap", "layer"): [(layer(broken.LifeMixer), {})],
    ("same_under_vmap", "network"): [(network(layers=broken.LifeMixer), {"sizes": (2, 2, 2)})],
    ("compiled_once", "layer"): [(layer(broken.WeaklyBorn), {})],
    ("compiled_once", "network"): [(network(layers=broken.WeaklyBorn), {"sizes": (2, 2, 2)})],
    ("finite_gradients", "layer"): [(at_birth(broken.UnsafeNorm), {})],
    ("finite_gradients", "network"): [
        (lambda: vsml.Network(at_birth(broken.UnsafeNorm)()), {"sizes": (2, 2, 2)})
    ],
    ("oracle", "layer"): [
        (layer(broken.Amnesiac), {}),
        (layer(broken.ContextBlind), {}),
        (layer(broken.NeighbourReader), {}),
        (layer(broken.PositionWeighted), {}),
        (layer(broken.MaskMiscounted), {"masked": True}),
        (layer(broken.TickRefresher), {"ticks": 2}),
    ],
    ("propagation", "network"): [
        (network(broken.Hasty), {}),
        (network(broken.AlwaysRefreshed, refresh=False, ticks=2), {}),
    ],
    ("ticks", "network"): [(network(broken.ShortLoop), {"sizes": (2, 2)})],
    ("held_network", "network"): [(network(broken.AlwaysRefreshed, refresh=False, ticks=2), {})],
    ("fused", "network"): [(network(broken.OwnKernel, depth=1), {"sizes": (3, 2)})],
    ("any_task", "learner"): [(metarnn, {})],
    ("permuted_life", "learner"): [
        (metarnn, {}),
        (symla(broken.PositionWeighted), {}),
        (symla(broken.NeighbourReader), {}),
    ],
    ("life_in_parts", "learner"): [(broken.Distracted, {})],
    ("lives_side_by_side", "learner"): [(broken.Contagious, {"steps": 30})],
    ("steady_types", "learner"): [(symla(broken.WeaklyBorn), {}), (broken.Fading, {})],
    ("life_in_parts", "lifetime"): [(lambda: broken.restarting, {})],
    ("permuted_environment", "environment"): [(lambda: broken.favourite(3), {})],
    ("steady_types", "environment"): [(broken.shifty, {})],
    ("still_without_difference", "evolution"): [(searching(broken.Restless), {})],
    ("order_only", "evolution"): [(searching(broken.Calculating), {})],
    ("unbiased", "evolution"): [
        (searching(broken.Backwards), {}),
        (searching(broken.Wishful), {}),
        (halved, {"rate": 0.2}),
    ],
}


def names_about(kind: str) -> list[str]:
    return [name for name, law in laws.LAWS.items() if kind in law.about]


def check_drawn(name: str, kind: str, data: st.DataObject) -> None:
    """A drawn case keeps the law."""
    case, situation = data.draw(DRAWN[name, kind])
    laws.LAWS[name](case.build(), situation)


def twins(*kinds: str) -> list[tuple[str, str, int]]:
    return [
        (name, kind, number)
        for (name, kind), found in TWINS.items()
        if kind in kinds
        for number in range(len(found))
    ]


def check_twin(name: str, kind: str, number: int) -> str:
    """The law rejects the twin, and applies to it; the message."""
    build, options = TWINS[name, kind][number]
    twin = build()
    assert laws.kind_of(twin) == kind
    assert laws.LAWS[name].when(twin)
    try:
        laws.LAWS[name](twin, **options)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"{type(twin).__name__} is not noticed by {name}")
