import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import GifImagePlugin, Image
from probes import clock

import meta
import rl
from experiments import _watch, _watch_figure
from experiments._options import Watch
from experiments._watch_cells import cells
from experiments._watch_figure import LifeFigure
from experiments._watch_life import Moment, moments
from experiments._watch_world import World
from experiments.cli import main
from rl import envs

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ONE_LIFE = "watch --learner pretrained:symla-bandit-2 --arms 3 --steps 6 --every 3 --seed 5".split()


@pytest.fixture
def figures(monkeypatch):
    """The arguments of the figures that would be drawn."""
    drawn = []

    class Fake:
        def __init__(self, title, task, life):
            drawn.append((title, task, life))

        def save(self, path, *, fps):
            path.write_text(str(fps))

    monkeypatch.setattr(_watch_figure, "LifeFigure", Fake)
    return drawn


@pytest.fixture(scope="module")
def animation(tmp_path_factory):
    """The result and the file of a short life on three arms."""
    path = tmp_path_factory.mktemp("watch") / "new" / "life.gif"
    options = Watch("pretrained:symla-bandit-2", arms="3", steps=6, every=3, out=path, seed=5)
    return _watch.watch(options), path


def test_the_animation_has_the_frames_that_were_promised(animation):
    result, path = animation
    # Birth, the middle, and the end.
    assert result["frames"] == 3 and result["every"] == 3 and result["out"] == str(path)
    with Image.open(path) as file:
        assert isinstance(file, GifImagePlugin.GifImageFile) and file.n_frames == 3
        frames = []
        for i in range(3):
            file.seek(i)
            assert file.info["duration"] == 70  # in whole hundredths of a second
            frames.append(np.asarray(file.convert("RGB")).astype(int))
    assert (frames[0][0, 0] == 255).all()
    for before, after in zip(frames, frames[1:], strict=False):
        assert (np.abs(before - after).sum(-1) > 30).sum() > 50


def test_the_states_shown_are_those_that_were_lived(figures, tmp_path, capsys):
    main([*ONE_LIFE, "--out", str(tmp_path / "x.gif"), "--fps", "9", "--json"])
    result = json.loads(capsys.readouterr().out)
    ((title, task, life),) = figures
    assert "pretrained:symla-bandit-2" in title and "bandit-independent" in title
    assert (tmp_path / "x.gif").read_text() == "9" and result["frames"] == len(life) == 3
    key = jr.split(jr.split(jr.fold_in(jr.key(5), 0x7E57), 1)[0])[1]
    learner = meta.pretrained("symla-bandit-2")
    whole = rl.lifetime(learner, task, steps=6, key=key)
    assert [moment.steps for moment in life] == [0, 3, 6]
    for name in ("rewards", "actions"):
        lived = np.concatenate([getattr(moment, name) for moment in life])
        np.testing.assert_array_equal(lived, getattr(whole, name))
    half = rl.lifetime(learner, task, steps=3, key=key)
    for moment, final in zip(life[1:], (half.final, whole.final), strict=True):
        hidden = np.asarray(final.learner.network.layers[0].cells.h)
        # One sensor and three actions: the units of a cell lie from top to bottom.
        np.testing.assert_allclose(moment.cells.values, hidden[0].T, atol=1e-6)
        assert moment.environment.time == moment.steps
        assert moment.timestep.action == final.timestep.action
    assert not np.allclose(life[1].cells.values, life[2].cells.values)
    # It is the first life of `symla evaluate`.
    key = jr.fold_in(jr.key(5), 0x7E57)
    found = meta.evaluate(learner, envs.BernoulliBandits(3), steps=6, lives=1, key=key)
    regret = sum(moment.metrics["regret"].sum() for moment in life)
    assert regret == pytest.approx(found.mean("regret"), abs=1e-6) and regret > 0
    assert result["total_reward"] == found.mean() and result["episodes"] == 0


def test_an_end_of_an_episode_is_known(getkey):
    task = clock(truncates_at=2)
    lived = list(moments(rl.classic.RandomPlayer(), task, steps=4, every=2, key=getkey()))
    assert [list(moment.ended) for moment in lived] == [[], [False, True], [False, True]]
    assert [moment.metrics["steps"].sum() for moment in lived] == [0, 2, 2]


def symla_state(sensors: int, actions: int, *masks: list[bool]) -> rl.SymLAState:
    """The state of a SymLA with three units for each cell, full of different numbers."""
    known = [jnp.asarray(mask) for mask in masks] or [None, None]
    spaces = rl.Spaces(sensors, actions, known[0], known[1])
    shapes = eqx.filter_eval_shape(
        lambda: rl.SymLA(3, 2, 2, key=jr.key(0)).init(spaces, key=jr.key(1))
    )
    draw = np.random.default_rng(0).normal
    given = {mask.shape: mask for mask in known if mask is not None}
    return jax.tree.map(
        lambda x: given[x.shape] if x.dtype == bool else jnp.asarray(draw(size=x.shape), x.dtype),
        shapes,
    )


@pytest.mark.parametrize(("sensors", "actions"), [(4, 2), (2, 4), (3, 3)])
def test_each_cell_has_a_block_of_its_own(sensors, actions):
    state = symla_state(sensors, actions)
    hidden = np.asarray(state.network.layers[0].cells.h)
    table = cells({"inside": (state, jnp.zeros(5))})  # wherever it is
    assert table is not None
    assert (table.height, table.width) == ((3, 1) if sensors < actions else (1, 3))
    assert list(table.rows) == [f"sensor {i + 1}" for i in range(sensors)]
    assert list(table.columns) == [f"action {i + 1}" for i in range(actions)]
    assert f"{sensors} x {actions} cells, 3 units" in table.title
    for a in range(sensors):
        for b in range(actions):
            rows = slice(a * table.height, (a + 1) * table.height)
            columns = slice(b * table.width, (b + 1) * table.width)
            np.testing.assert_array_equal(table.values[rows, columns].ravel(), hidden[a, b])


def test_cells_that_do_not_exist_are_empty():
    table = cells(symla_state(3, 2, [True, False, True], [True, False]))
    assert table is not None
    assert np.isnan(table.values[1]).all() and np.isnan(table.values[:, 3:]).all()
    assert not np.isnan(table.values[[0, 2], :3]).any()


def test_of_other_learners_all_numbers_are_shown():
    state = (jnp.arange(3.0), {"counts": jnp.arange(4), "mask": jnp.ones(2, bool)}, jr.key(0))
    table = cells(state)
    assert table is not None and "7 numbers" in table.title and not table.rows
    values = table.values.ravel()
    np.testing.assert_array_equal(values[~np.isnan(values)], [0, 1, 2, 0, 1, 2, 3])
    assert cells(()) is None and cells(jr.key(0)) is None and cells(jnp.zeros(5000)) is None


def fixed(environment) -> rl.FixedTask:
    return rl.FixedTask(rl.Task(environment, environment.default_params))


TASKS = {
    "cart": (envs.Vary(envs.CartPole()), "push"),
    "acrobot": (envs.Vary(envs.Acrobot()), "goal of the tip"),
    "mountain car": (envs.Vary(envs.MountainCar()), "force"),
    "pendulum": (envs.Vary(envs.Pendulum()), "torque"),
    "continuous mountain car": (envs.Vary(envs.MountainCarContinuous()), "force"),
    "arms": (envs.BernoulliBandits((2, 5)), "chance of a reward (best in green)"),
    "contextual": (fixed(envs.ContextualBandit(3, 2)), "score of each action now"),
    "hearts": (envs.Vary(envs.HeartTrap()), "a heart pays +1, a trap -1"),
    "goal": (envs.Vary(envs.GoalWorld()), "a step nearer to the star pays +1"),
    "wrapped": (envs.SwapRewards(envs.Vary(envs.HeartTrap())), "a heart pays -1, a trap +1"),
    "another": (rl.FixedTask(clock()), "sensors"),
}


def two_moments(task: rl.Task) -> list[Moment]:
    """A birth, and one step later another state: both from a reset, which compiles fast."""
    life = []
    for steps in range(2):
        observation, state = task.environment.reset(jr.key(steps), task.params)
        observation = jnp.asarray(observation, jnp.float32).reshape(-1)
        timestep = rl.TimeStep.first(observation, task.spaces)
        action = jnp.zeros_like(timestep.action) + (0 if timestep.action.ndim == 0 else 0.5)
        if steps:
            timestep = jax.tree.map(
                lambda leaf, a=action, t=timestep: a if leaf is t.action else leaf, timestep
            )
        moment = Moment(
            steps,
            jax.device_get(state),
            jax.device_get(timestep),
            cells(jnp.arange(6.0) * steps),
            np.ones(steps),
            np.asarray(action)[None][:steps],
            np.ones(steps, bool),
            {name: np.ones(steps) for name in task.metrics},
        )
        life.append(moment)
    return life


@pytest.mark.parametrize("name", TASKS)
def test_every_scene_moves(name):
    tasks, words = TASKS[name]
    task = tasks.sample(key=jr.key(3))
    life = two_moments(task)
    figure = LifeFigure("Somebody somewhere", task, life)
    first, second = figure.frames()
    assert first.shape == second.shape == (440, 880, 3) and first.dtype == np.uint8
    # Beneath the title, the scene, the curve and the state have all changed.
    moved = np.abs(first.astype(int) - second).sum(-1) > 30
    for part in (moved[60:, :400], moved[60:220, 400:], moved[220:, 400:]):
        assert part.sum() > 20
    texts = [text.get_text() for text in figure.figure.findobj(Text)]
    assert any(words in text for text in texts)
    assert {"Somebody somewhere", "step 1 of 1", "sum so far 1.0, 100% of the life"} < set(texts)
    # Nothing that moves was left in the background: all drawn anew is the same picture.
    for artist in figure.figure.findobj(lambda artist: artist.get_animated()):
        artist.set_animated(False)
    canvas = FigureCanvasAgg(figure.figure)
    canvas.draw()
    anew = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    assert (np.abs(anew - second).sum(-1) > 30).mean() < 1e-3


def test_actions_and_rewards_are_seen_through_wrappers():
    inner = envs.Permute(fixed(envs.BernoulliBandit(3)), "actions")
    task = envs.SwapRewards(envs.Pad(inner, 4, 5)).sample(key=jr.key(1))
    order = np.asarray(task.params.inner.inner.actions)
    life = two_moments(task)
    life[1] = life[1]._replace(actions=np.asarray([4]))  # padded: action 4 does what 1 does
    world = World(task, life)
    assert isinstance(world.environment, envs.BernoulliBandit)
    assert world.params.probs.shape == (3,) and world.pay(1.0) == -1.0
    assert list(world.actions()) == [0, 1, 2]
    assert world.shares(life[1]).argmax() == order[1] and world.shares(life[1]).sum() == 1.0
    assert world.last_action(life[0]) is None
    assert world.last_action(life[1]) == order[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out life.mp4", "`--out` must be a file that ends in .gif, got life.mp4."),
        ("--steps 0", "`--steps` must be at least 1, got 0."),
        ("--every 0", "`--every` must be at least 1, got 0."),
        ("--fps 0", "`--fps` must be at least 1, got 0."),
        ("--fps 51", "`--fps` must be at most 50"),
        ("--out {file}/life.gif", "cannot be written. Choose another folder."),
        ("--out {folder}", "is a folder"),
        ("--task cartpoel", "There is no task 'cartpoel'."),
        ("--learner {learner}", "This MetaRNN was made for 1 observations and 2 actions"),
    ],
)
def test_mistakes_are_one_plain_line(options, message, tmp_path, capsys, monkeypatch, figures):
    monkeypatch.chdir(tmp_path)
    file, folder = tmp_path / "file", tmp_path / "folder.gif"
    file.write_text("")
    folder.mkdir()
    learner = tmp_path / "fixed.symla"
    if "{learner}" in options:
        meta.save(learner, rl.MetaRNN(1, 2, 4, key=jr.key(0)))
    words = options.format(file=file, folder=folder, learner=learner).split()
    with pytest.raises(SystemExit) as ended:
        main([*ONE_LIFE, *words, "--json"])
    assert ended.value.code == 2 and not figures
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and message in said.err


def test_without_json_it_says_where_the_animation_is(figures, tmp_path, capsys, monkeypatch):
    lived = []
    monkeypatch.setattr(_watch, "moments", lambda *_, **options: lived.append(options) or [])
    main(["watch", "--learner", "random", "--steps", "1501", "--out", str(tmp_path / "a.gif")])
    # About 150 frames by default.
    assert lived[0]["steps"] == 1501 and lived[0]["every"] == 11
    said = capsys.readouterr().out
    assert str(tmp_path / "a.gif") in said and "1501 steps" in said
