"""The grid worlds, against rules written down once more, for every placement of a small grid."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import quick_jit

import proofs.laws as laws
import rl
from rl.classic import RandomPlayer
from rl.envs import GoalWorld, GoalWorldState, HeartTrap, HeartTrapParams, HeartTrapState, Vary

UP, DOWN, LEFT, RIGHT = range(4)
MOVES = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
# A quarter turn to the left and a mirror, of a cell and of an action.
pytestmark = pytest.mark.usefixtures("cheap_compilation")
TURN = (lambda size, row, column: (size - 1 - column, row), {UP: LEFT, LEFT: DOWN})
TURN[1].update({DOWN: RIGHT, RIGHT: UP})
MIRROR = (lambda size, row, column: (row, size - 1 - column), {UP: UP, DOWN: DOWN})
MIRROR[1].update({LEFT: RIGHT, RIGHT: LEFT})


def placements(size, things):
    """Every placement of so many things on different cells, with every action."""
    cells = list(itertools.product(range(size), repeat=2))
    return [
        (*placed, action) for placed in itertools.permutations(cells, things) for action in range(4)
    ]


def hearts_and_traps(agents, hearts, traps):
    """States of one heart and one trap each, or of more."""
    return HeartTrapState(
        time=jnp.zeros(len(agents), jnp.int32),
        agent=jnp.asarray(agents, jnp.int32),
        hearts=jnp.asarray(hearts, jnp.int32).reshape(len(agents), -1, 2),
        traps=jnp.asarray(traps, jnp.int32).reshape(len(agents), -1, 2),
    )


def goals(agents, targets, obstacles):
    return GoalWorldState(
        time=jnp.zeros(len(agents), jnp.int32),
        agent=jnp.asarray(agents, jnp.int32),
        target=jnp.asarray(targets, jnp.int32),
        obstacles=jnp.asarray(obstacles, jnp.int32).reshape(len(agents), -1, 2),
    )


def stepped(environment, states, actions, params=None):
    """A step from each of the states, without reset: observations, states, rewards, ends, info."""
    params = environment.default_params if params is None else params
    step = jax.vmap(lambda state, action: environment.step_env(jr.key(0), state, action, params))
    return quick_jit(step)(states, jnp.asarray(actions, jnp.int32))


def seen(environment, states):
    return np.asarray(quick_jit(jax.vmap(environment.look))(states))


def moved(cell, action, size):
    return tuple(int(np.clip(x + d, 0, size - 1)) for x, d in zip(cell, MOVES[action], strict=True))


def steps_between(one, other):
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def bearing(agent, cell):
    above, below = cell[0] < agent[0], cell[0] > agent[0]
    return [above, below, cell[1] < agent[1], cell[1] > agent[1]]


def image(size, *channels):
    picture = np.zeros((size, size, len(channels)))
    for channel, cells in enumerate(channels):
        for row, column in cells:
            picture[row, column, channel] = 1
    return picture.reshape(-1)


# ---------------------------------------------------------------------------------- heart and trap


def test_hearts_and_traps_by_the_rules():
    """All that can happen on a grid of 3 x 3."""
    cases = placements(3, 3)
    agents, hearts, traps, actions = zip(*cases, strict=True)
    states = hearts_and_traps(agents, hearts, traps)
    for observation in ("image", "compass"):
        environment = HeartTrap(3, observation=observation)
        looks, after, rewards, ended, info = stepped(environment, states, actions)
        where = [moved(agent, action, 3) for agent, _, _, action in cases]
        np.testing.assert_array_equal(after.agent, where)
        np.testing.assert_array_equal(after.hearts, states.hearts)
        np.testing.assert_array_equal(after.traps, states.traps)
        np.testing.assert_array_equal(after.time, 1)
        on_heart = np.array([at == heart for at, heart in zip(where, hearts, strict=True)])
        on_trap = np.array([at == trap for at, trap in zip(where, traps, strict=True)])
        np.testing.assert_array_equal(rewards, on_heart.astype(float) - on_trap)
        np.testing.assert_array_equal(ended, on_heart | on_trap)
        np.testing.assert_array_equal(info["hearts"], on_heart)
        np.testing.assert_array_equal(info["traps"], on_trap)
        for before, look in ((agents, seen(environment, states)), (where, looks)):
            expected = [
                image(3, [at], [heart], [trap])
                if observation == "image"
                else bearing(at, heart) + bearing(at, trap)
                for at, heart, trap in zip(before, hearts, traps, strict=True)
            ]
            np.testing.assert_array_equal(look, expected)


def test_several_objects_and_the_nearest_of_them():
    environment = HeartTrap(5, hearts=2, traps=3, observation="compass")
    states = hearts_and_traps(
        [(2, 2)] * 3,
        # The second is nearer; both are as near, so the first; one is next to the agent.
        [[(0, 0), (2, 4)], [(2, 0), (0, 2)], [(4, 4), (1, 2)]],
        [[(4, 4), (4, 0), (3, 3)], [(0, 0), (0, 4), (4, 3)], [(3, 2), (0, 0), (4, 0)]],
    )
    right, below_right, left, above, below = (
        [0, 0, 0, 1],
        [0, 1, 0, 1],
        [0, 0, 1, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
    )
    np.testing.assert_array_equal(
        seen(environment, states), [right + below_right, left + below_right, above + below]
    )
    _, _, rewards, ended, info = stepped(environment, states, [UP, UP, UP])
    np.testing.assert_array_equal(rewards, [0, 0, 1])
    np.testing.assert_array_equal(ended, [False, False, True])
    _, _, rewards, ended, info = stepped(environment, states, [RIGHT, DOWN, DOWN])
    np.testing.assert_array_equal(rewards, [0, 0, -1])
    np.testing.assert_array_equal(ended, [False, False, True])
    np.testing.assert_array_equal(info["traps"], [0, 0, 1])
    assert not np.asarray(info["hearts"]).any()
    both = seen(HeartTrap(5, 2, 3), states)[0]
    expected = image(5, [(2, 2)], [(0, 0), (2, 4)], [(4, 4), (4, 0), (3, 3)])
    np.testing.assert_array_equal(both, expected)


def test_there_may_be_none_of_one_type():
    environment = HeartTrap(4, hearts=0, traps=1, observation="compass")
    states = hearts_and_traps([(1, 1)], np.zeros((1, 0, 2)), [(2, 1)])
    looks, _, rewards, ended, _ = stepped(environment, states, [DOWN])
    np.testing.assert_array_equal(seen(environment, states), [[0, 0, 0, 0, 0, 1, 0, 0]])
    assert not looks.any()
    assert float(rewards[0]) == -1
    assert ended[0]


def test_exchanging_the_rewards_is_exchanging_the_types():
    """Which the paper says of figure 6, for the channels of the image."""
    agents, hearts, traps, actions = zip(*placements(3, 3), strict=True)
    environment = HeartTrap(3)
    swapped = HeartTrapParams(heart_reward=-1.0, trap_reward=1.0)
    states, others = (hearts_and_traps(agents, *x) for x in ((hearts, traps), (traps, hearts)))
    looks, _, rewards, ended, _ = stepped(environment, states, actions, swapped)
    other_looks, _, other_rewards, other_ended, _ = stepped(environment, others, actions)
    np.testing.assert_array_equal(rewards, other_rewards)
    np.testing.assert_array_equal(ended, other_ended)
    assert np.asarray(rewards).any()
    pictures = np.asarray(looks).reshape(-1, 3, 3, 3)[..., [0, 2, 1]]
    np.testing.assert_array_equal(pictures.reshape(looks.shape), other_looks)


# ---------------------------------------------------------------------------------------- the goal


@pytest.mark.parametrize("observation", ["image", "compass"])
def test_goals_by_the_rules(observation):
    """All that can happen on a grid of 3 x 3 with an obstacle."""
    cases = placements(3, 3)
    agents, targets, obstacles, actions = zip(*cases, strict=True)
    states = goals(agents, targets, obstacles)
    environment = GoalWorld(3, 1, observation)
    looks, after, rewards, ended, info = stepped(environment, states, actions)
    where = []
    for agent, _, obstacle, action in cases:
        there = moved(agent, action, 3)
        where.append(agent if there == obstacle else there)
    np.testing.assert_array_equal(after.agent, where)
    np.testing.assert_array_equal(after.obstacles, states.obstacles)
    gained = [
        steps_between(agent, target) - steps_between(at, target)
        for agent, at, target in zip(agents, where, targets, strict=True)
    ]
    np.testing.assert_array_equal(rewards, gained)
    assert set(gained) == {-1, 0, 1}
    reached = [at == target for at, target in zip(where, targets, strict=True)]
    np.testing.assert_array_equal(ended, reached)
    np.testing.assert_array_equal(info["goals"], np.asarray(reached, float))
    expected = []
    for at, target, obstacle in zip(where, targets, obstacles, strict=True):
        stopped = [moved(at, action, 3) in (at, obstacle) for action in range(4)]
        compass = bearing(at, target) + stopped
        expected.append(image(3, [at], [obstacle], [target]) if observation == "image" else compass)
    np.testing.assert_array_equal(looks, expected)


def test_an_episode_pays_the_distance_gained(getkey):
    """Whatever the way: walking to and fro earns nothing."""
    task = Vary(GoalWorld(5, 3), steps_in_episode=10**6, step_reward=0.5).sample(key=getkey())
    cut = 0
    for _ in range(6):
        key = getkey()
        before = task.environment.reset(jr.split(jr.split(key)[0])[1], task.params)[1]
        life = rl.lifetime(RandomPlayer(), task, steps=12, key=key)
        if not int(life.episodes):
            after = life.final.environment
            np.testing.assert_array_equal(before.target, after.target)
            distance = [np.abs(np.asarray(s.agent - s.target)).sum() for s in (before, after)]
            assert float(life.total_reward) == 0.5 * (distance[0] - distance[1])
            cut += 1
    assert cut


# -------------------------------------------------------------------------------------- both worlds


@pytest.mark.parametrize(("cell", "action"), [TURN, MIRROR], ids=["turn", "mirror"])
@pytest.mark.parametrize("world", [HeartTrap(3), GoalWorld(3, 1)], ids=["hearts", "goal"])
def test_turning_the_grid_turns_what_happens(world, cell, action):
    cases = placements(3, 3)
    turned = [(*(cell(3, *place) for place in case[:3]), action[case[3]]) for case in cases]
    make = hearts_and_traps if isinstance(world, HeartTrap) else goals
    results = []
    for one in (cases, turned):
        *places, actions = zip(*one, strict=True)
        results.append(stepped(world, make(*places), actions))
    (looks, after, *rest), (other_looks, other_after, *others) = results
    jax.tree.map(np.testing.assert_array_equal, rest, others)
    np.testing.assert_array_equal(other_after.agent, [cell(3, *at) for at in after.agent.tolist()])
    pictures = np.asarray(looks).reshape(-1, 3, 3, 3)
    turned_pictures = np.zeros_like(pictures)
    for row, column in itertools.product(range(3), repeat=2):
        turned_pictures[(slice(None), *cell(3, row, column))] = pictures[:, row, column]
    np.testing.assert_array_equal(turned_pictures.reshape(looks.shape), other_looks)


def resets(environment, count, key):
    make = jax.vmap(lambda k: environment.reset_env(k, environment.default_params)[1])
    return quick_jit(make)(jr.split(key, count))


@pytest.mark.parametrize("world", [HeartTrap(2, 1, 1), GoalWorld(2, 1)], ids=["hearts", "goal"])
def test_every_placement_is_equally_likely(world, getkey):
    count = 24_000
    states = resets(world, count, getkey())
    places = (
        [states.hearts[:, 0], states.traps[:, 0]]
        if isinstance(world, HeartTrap)
        else [
            states.target,
            states.obstacles[:, 0],
        ]
    )
    cells = np.stack([np.asarray(p) @ [2, 1] for p in (states.agent, *places)], axis=1)
    kinds, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(kinds) == 24
    assert all(len(set(kind)) == 3 for kind in kinds.tolist())
    assert np.abs(counts - count / 24).max() < 5 * (count / 24) ** 0.5


def test_nothing_lies_on_anything_else(getkey):
    for world in (HeartTrap(3, 4, 4), GoalWorld(5, 8)):
        states = resets(world, 500, getkey())
        parts = [np.asarray(x).reshape(500, -1, 2) for x in jax.tree.leaves(states) if x.ndim > 1]
        cells = np.concatenate(parts, axis=1)
        assert cells.min() == 0
        assert cells.max() == world.size - 1
        ordered = np.sort(cells @ [world.size, 1], axis=1)
        assert (np.diff(ordered, axis=1) > 0).all()


def test_an_image_tells_where_all_is(getkey):
    """Through a life with its ends of episodes: what is seen is what the actions must lead to."""
    task = Vary(HeartTrap(4, 1, 2), steps_in_episode=6).sample(key=getkey())
    life = rl.lifetime(
        RandomPlayer(),
        task,
        steps=200,
        key=getkey(),
        record=("observations", "actions", "rewards", "terminated", "truncated", "metrics"),
    )
    assert life.observations is not None and life.actions is not None and life.metrics is not None
    assert life.terminated is not None and life.truncated is not None
    assert life.rewards is not None
    pictures = np.asarray(life.observations).reshape(-1, 4, 4, 3)
    np.testing.assert_array_equal(pictures.sum((1, 2)), np.tile([1, 1, 2], (200, 1)))
    agents = [tuple(np.argwhere(p[..., 0])[0].tolist()) for p in pictures]
    time, ends = 0, []
    for t in range(199):
        time += 1
        there = moved(agents[t], int(life.actions[t]), 4)
        heart, trap = pictures[t][there][1:]
        assert float(life.rewards[t]) == heart - trap
        assert (heart, trap) == tuple(float(life.metrics[k][t]) for k in ("hearts", "traps"))
        assert bool(life.terminated[t]) == bool(heart or trap)
        assert bool(life.truncated[t]) == (time == 6)
        ends.append(heart or trap or time == 6)
        if ends[-1]:
            time = 0
        else:
            assert agents[t + 1] == there
            np.testing.assert_array_equal(pictures[t + 1][..., 1:], pictures[t][..., 1:])
    assert sum(ends) == int(np.sum(life.terminated[:-1] | life.truncated[:-1])) > 30


class Walker(rl.Learner):
    """Goes where the first half of the compass points, rather not where the second half does."""

    def init(self, spaces, *, key):
        return jnp.asarray(0)

    def step(self, state, timestep, *, key):
        wanted, shunned = timestep.observation[:4], timestep.observation[4:]
        score = wanted - 0.5 * shunned + 0.1 * jr.uniform(key, (4,))
        return state, score.argmax().astype(jnp.int32)


@pytest.mark.parametrize(
    ("world", "least", "metric"),
    [
        (HeartTrap(observation="compass"), 0.2, "hearts"),
        (GoalWorld(observation="compass"), 0.4, "goals"),
    ],
    ids=["hearts", "goal"],
)
def test_a_good_walk_is_paid(world, least, metric, getkey):
    task = Vary(world).sample(key=getkey())
    good, random = (
        rl.lifetime(player, task, steps=1000, key=getkey()) for player in (Walker(), RandomPlayer())
    )
    assert float(good.total_reward) > 1000 * least
    assert abs(float(random.total_reward)) < 1000 * least / 4
    assert float(good.totals[metric]) > 2 * float(random.totals[metric])
    if metric == "hearts":
        assert float(good.total_reward) == float(good.totals["hearts"] - good.totals["traps"])


def test_rewards_and_limits_are_parameters(getkey):
    tasks = Vary(HeartTrap(2, 1, 1), steps_in_episode=3, heart_reward=(2.0, 4.0), trap_reward=-0.5)
    lives = quick_jit(
        jax.vmap(lambda key: rl.lifetime(RandomPlayer(), tasks.sample(key=key), steps=50, key=key))
    )(jr.split(getkey(), 4))
    rewards = np.asarray(lives.rewards)
    for life in rewards:
        assert life.min() == -0.5
        assert 2 <= life.max() <= 4
        assert len(np.unique(life)) == 3
    assert len(np.unique(rewards.max(1))) == 4
    assert HeartTrap(7).default_params.max_steps_in_episode == 28
    assert GoalWorld(7).default_params.max_steps_in_episode == 28


def test_the_interface_of_gymnax(getkey):
    for world, size in (
        (HeartTrap(), 75),
        (GoalWorld(4), 48),
        (HeartTrap(observation="compass"), 8),
        (GoalWorld(observation="compass"), 8),
    ):
        params = world.default_params
        assert world.name == type(world).__name__
        assert world.num_actions == world.action_space(params).n == 4
        space = world.observation_space(params)
        first, state = world.reset(getkey(), params)
        assert first.shape == space.shape == (size,)
        assert first.dtype == space.dtype
        observation, state, reward, terminated, truncated, info = world.step(
            getkey(), state, world.action_space(params).sample(getkey()), params
        )
        assert space.contains(first)
        assert space.contains(observation)
        assert not space.contains(observation + 1)
        assert reward.shape == terminated.shape == truncated.shape == ()
        assert info["final_observation"].shape == (size,)
        assert set(world.metrics) <= set(info)
        task = Vary(world).sample(key=getkey())
        assert task.metrics == world.metrics
        assert [law.name for law in laws.check(task)] == ["steady_types"]


def test_equal_grids_are_equal():
    assert HeartTrap(4) == HeartTrap(4)
    assert hash(GoalWorld(4, 2)) == hash(GoalWorld(4, 2))
    assert HeartTrap(4) != HeartTrap(4, observation="compass")
    assert HeartTrap(4) != HeartTrap(5)
    assert HeartTrap(4, 1, 2) != HeartTrap(4, 2, 1)
    assert GoalWorld(4) != HeartTrap(4)
    traces = []

    @eqx.filter_jit
    def reset(world):
        traces.append(None)
        return world.reset_env(jr.key(0), world.default_params)[0]

    np.testing.assert_array_equal(reset(HeartTrap(4)), reset(HeartTrap(4)))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HeartTrap(1), "`size` must be at least 2, got 1"),
        (lambda: HeartTrap(2, 2, 2), "5 things, .* do not fit into the 4 cells .* `size` 2"),
        (lambda: HeartTrap(5, 0, 0), "not both 0, got 0 and 0"),
        (lambda: HeartTrap(5, 2, -1), "at least 0 and not both 0, got 2 and -1"),
        (lambda: GoalWorld(2, 3), "5 things, .* do not fit into the 4 cells"),
        (lambda: GoalWorld(5, -1), "`obstacles` must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
