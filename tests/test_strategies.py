"""The strategies themselves: bounds, the simplest case, everything within reach, bad arguments."""

import sys

import equinox as eqx
import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import find, given, settings, strategies as st

import rl
import vsml
from proofs import strategies
from proofs.strategies import (
    LayerCase,
    LearnerCase,
    NetworkCase,
    Situation,
    TaskCase,
)

QUICK = settings(max_examples=2000, database=None, phases=list(hypothesis.Phase)[:5])


def simplest(strategy, condition=lambda value: True):
    return find(strategy, condition, settings=QUICK)


@given(st.integers(1, 3), st.data())
def test_sizes_are_within_their_bounds(depth, data):
    low = data.draw(st.integers(1, 2))
    for free in (True, False):
        sizes = data.draw(strategies.sizes(depth, min_size=low, max_size=4, free=free))
        assert len(sizes) == depth + 1
        assert low <= min(sizes) <= max(sizes) <= 4


@given(strategies.sizes(2, free=True), st.data())
def test_permutations_hold_every_position_once(sizes, data):
    orders = data.draw(strategies.permutations(sizes))
    assert [sorted(order) for order in orders] == [list(range(n)) for n in sizes]
    assert all(isinstance(order, tuple) for order in orders)


@given(strategies.depths(4), strategies.seeds(), strategies.loudness())
def test_numbers_are_within_their_bounds(depth, seed, loudness):
    assert 1 <= depth <= 4
    assert seed >= 0
    assert 0.0 <= loudness < float("inf")


CASES = {
    "layers": strategies.layer_cases(),
    "any layers": strategies.layer_cases(free=True),
    "networks": strategies.network_cases(),
    "any networks": strategies.network_cases(free=True),
    "situations": strategies.situations(depth=2),
    "any situations": strategies.situations(depth=3, free=True),
    "learners": strategies.learner_cases(),
    "tasks": strategies.task_cases(),
}


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_what_a_case_prints_makes_it_again(name, data):
    case = data.draw(CASES[name])
    assert eval(repr(case), dict(vars(strategies))) == case
    assert not any(eqx.is_array(x) for x in jax.tree.leaves(vars(case)))


# Building is tried on few examples: each shape is traced anew.


@settings(max_examples=5)
@given(strategies.network_cases(free=True), st.data())
def test_networks_are_what_their_case_says(case, data):
    network = case.build()
    assert (network.ticks, network.refresh, network.order) == (case.ticks, case.refresh, case.order)
    assert network.depth == case.depth
    depth = case.depth or data.draw(strategies.depths())
    sizes = data.draw(strategies.sizes(depth, free=True))
    for layer in network.layers:
        for option in ("reduction", "recurrent", "message_bias", "initial_state", "context_size"):
            assert getattr(layer, option) == getattr(case.layer, option)
    state = jax.eval_shape(lambda: network.init(sizes, key=jax.random.key(0)))
    assert len(state.layers) == depth


def test_equal_cases_build_equal_layers_and_other_seeds_do_not():
    one, same, other = (LayerCase(seed=seed).build() for seed in (3, 3, 4))
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), one, same))
    assert not jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).any()), one, other))
    assert all(bool((x != 0.0).all()) for x in jax.tree.leaves(one))  # no bias is left at zero


def test_different_layers_of_a_network_differ():
    first, second = NetworkCase(depth=2).build().layers
    assert not jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).any()), first, second))


def test_cases_build_subclasses():
    class Mine(vsml.Layer):
        pass

    assert type(LayerCase().build(Mine)) is Mine
    assert type(NetworkCase().build(layer_kind=Mine).layers[0]) is Mine


@pytest.mark.parametrize("name", strategies.LEARNERS)
def test_every_learner_can_be_built(name):
    case = find(strategies.learner_cases(names=[name]), lambda case: True, settings=QUICK)
    learner, spaces = case.build(), rl.Spaces(1, 3)
    eqx.filter_eval_shape(lambda: learner.init(spaces, key=jax.random.key(0)))


@settings(max_examples=8)
@given(strategies.task_cases())
def test_every_task_can_be_built(case):
    task = case.build()
    assert isinstance(task, rl.Task)
    assert task.spaces.num_actions in (2, 3, 4)


def test_learners_and_tasks_of_the_user_are_one_line(monkeypatch):
    class Mine(rl.classic.RandomPlayer):
        pass

    monkeypatch.setitem(strategies.LEARNERS, "Mine", Mine)
    case = find(strategies.learner_cases(), lambda case: case.name == "Mine", settings=QUICK)
    assert isinstance(case.build(), Mine)

    task = TaskCase().build()
    monkeypatch.setitem(strategies.TASKS, "Fixed", lambda: rl.FixedTask(task))
    case = find(strategies.task_cases(), lambda case: case.name == "Fixed", settings=QUICK)
    np.testing.assert_array_equal(case.build().params.probs, task.params.probs)


def test_the_simplest_cases_come_first():
    assert simplest(strategies.sizes(2, free=True)) == (1, 1, 1)
    assert simplest(strategies.sizes(1)) == (2, 2)
    assert simplest(strategies.permutations((3, 2))) == ((0, 1, 2), (0, 1))
    assert simplest(strategies.depths()) == 1
    assert simplest(strategies.layer_cases()) == LayerCase()
    assert simplest(strategies.network_cases()) == NetworkCase()
    assert simplest(strategies.learner_cases()) == LearnerCase()
    assert simplest(strategies.situations()) == Situation(
        sizes=(2, 2), permutations=((0, 1), (0, 1))
    )
    moved = simplest(strategies.permutations((3, 2)), lambda orders: orders != ((0, 1, 2), (0, 1)))
    assert sum(order != tuple(range(len(order))) for order in moved) == 1


REACHED = {
    "cell": strategies.CELLS,
    "reduction": strategies.REDUCTIONS,
    "recurrent": (True, False),
    "message_bias": strategies.MESSAGE_BIASES,
    "initial_state": strategies.INITIAL_STATES,
}


@pytest.mark.parametrize("free", [True, False])
def test_every_wiring_is_reached(free):
    for option, values in REACHED.items():
        for value in values:
            case = find(
                strategies.layer_cases(free=free),
                lambda case, o=option, v=value: getattr(case, o) == v,
                settings=QUICK,
            )
            assert getattr(case, option) == value


@pytest.mark.parametrize("free", [True, False])
def test_every_way_of_ticking_is_reached(free):
    wanted = [("order", order) for order in strategies.ORDERS]
    wanted += [("refresh", value) for value in (True, False)] + [("ticks", 2)]
    wanted += [("depth", None), ("depth", 3), ("ticks", 5)] if free else []
    for option, value in wanted:
        find(
            strategies.network_cases(free=free),
            lambda case, o=option, v=value: getattr(case, o) == v,
            settings=QUICK,
        )


def test_every_kind_of_bandit_is_reached():
    for kind in strategies.KINDS:
        find(strategies.bandits(), lambda options, kind=kind: options["kind"] == kind)
    find(strategies.bandits(), lambda options: options["arms"] == (2, 4))
    find(strategies.bandits(), lambda options: options.get("max_arms", 0) > 2)


@pytest.mark.parametrize("name", strategies.LEARNERS)
def test_every_learner_is_reached(name):
    find(strategies.learner_cases(), lambda case: case.name == name)


@given(strategies.situations(depth=2))
def test_masks_leave_something(situation):
    one, other = situation.masks(situation.sizes)
    if not situation.masked:
        assert one is other is None
        return
    for mask, size in ((one, situation.sizes[0]), (other, situation.sizes[-1])):
        assert mask.shape == (size,)
        assert mask.any()
        assert size == 1 or not mask.all()


@given(strategies.sizes(2, free=True), strategies.seeds())
def test_drawn_orders_move_something(sizes, seed):
    orders = Situation(seed=seed).orders(sizes)
    assert [sorted(order) for order in orders] == [list(range(n)) for n in sizes]
    if max(sizes) > 1:
        assert any(list(order) != sorted(order) for order in orders)


BAD = {
    "`depth` must be at least 1, got 0": lambda: strategies.sizes(0),
    "`min_size` must be at least 1 and at most `max_size`; got 0 and 4": (
        lambda: strategies.sizes(min_size=0)
    ),
    "at most `max_size`; got 5 and 4": lambda: strategies.sizes(min_size=5),
    "The menu has no sizes from 4 to 4 for a depth of 1": lambda: strategies.sizes(min_size=4),
    "`max_depth` must be at least 1, got 0": lambda: strategies.depths(0),
    "Every one of `sizes` must be at least 1": lambda: strategies.permutations((2, 0)),
    "`names` can hold SymLA, .*; got Nobody": (
        lambda: strategies.learner_cases(names=["Nobody"]).example()
    ),
    "`names` can hold BernoulliBandits, ContextualBandits; got Chess": lambda: (
        strategies.task_cases(names=["Chess"])
    ),
    "`max_arms` must be at least 2, got 1": lambda: strategies.bandits(max_arms=1).example(),
    "`name` must be one of SymLA, .*; got 'Nobody'": lambda: LearnerCase("Nobody").build(),
    "`name` must be one of BernoulliBandits, ContextualBandits; got 'Chess'": lambda: TaskCase(
        "Chess"
    ).build(),
    "`sizes` must be two or more numbers": lambda: Situation(sizes=(3,)),
    "all at least 1; got": lambda: Situation(sizes=(3, 0)),
    "`steps` must be at least 1, got 0": lambda: Situation(steps=0),
    "`ticks` must be at least 1, got -1": lambda: Situation(ticks=-1),
    "`loudness` must be a number from 0, got -1": lambda: Situation(loudness=-1.0),
    "must hold 0 to n - 1 once": lambda: Situation(permutations=((0, 2),)),
    r"`permutations` are of sizes \(2, 1\), but `sizes` are \(2, 2\)": (
        lambda: Situation(sizes=(2, 2), permutations=((0, 1), (0,)))
    ),
}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_refused_in_plain_words(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_without_hypothesis_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "proofs.strategies")
    with pytest.raises(ImportError, match=r"pip install 'symla\[proofs\]'"):
        import proofs.strategies  # noqa: F401
