"""Curricula: criteria for moving on, and stages that can be stopped anywhere."""

import json
from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import assert_trees_identical
from toys import KEY, Oracle, Oracles, Vector, made, train

import meta
import rl
from meta import Curriculum, EvolutionStrategy, Lesson, Reached, Stage, _checkpoint, _curriculum

pytestmark = pytest.mark.usefixtures("cheap_compilation")


class Willing(Vector):
    """It acts on its first parameter."""

    def step(self, state, timestep, *, key):
        del timestep, key
        return state, (state[0] > 0.5).astype(jnp.int32)


class Wish(Oracle):
    """Action 1 is worth 1. It tells the age of a life, and its luck."""

    def reset(self, key, params):
        del key
        return jnp.ones(1), jnp.zeros(())

    def step(self, key, state, action, params):
        del key
        ended, sight = jnp.asarray(False), jnp.ones(1)
        info = {"final_observation": sight, "age": state, "luck": params}
        return sight, state + 1.0, action.astype(float), ended, ended, info


class Wishes(rl.TaskDistribution):
    def sample(self, *, key):
        return rl.Task(Wish(), jr.uniform(key), metrics=("age", "luck"))


def upwards(life):
    return life.final.learner[0] + 0.0 * life.total_reward


LEARNER = eqx.tree_at(lambda v: v.values, made(Willing, key=KEY), jnp.asarray([0.2, 0.0, 0.0]))
STRATEGY = EvolutionStrategy(4, 0.1, optax.adam(0.05))
WISHES = Lesson(Wishes(), 2, 2, fitness=upwards, name="wishes")
WILLING = Reached("reward", Wishes(), steps=2, parts=2, lives=3, at_least=1.0)
NEVER = Reached("luck", Wishes(), steps=2, parts=2, lives=3, at_least=2.0)
STAGES = (
    Stage(WISHES, 40, STRATEGY, until=WILLING, test_every=2),
    Stage([WISHES, Lesson(Oracles(), 1, 1)], 3, STRATEGY),
    Stage(WISHES, 3, STRATEGY, until=NEVER, test_every=2, name="last"),
)
FOLDERS = ["stage-0-wishes", "stage-1-wishes+Oracles", "stage-2-last"]


def go(out=None, stages=STAGES, **options):
    options = {"chunk": 3, "key": KEY, **options}
    return meta.train_curriculum(LEARNER, Curriculum(stages), out=out, **options)


def timeless(text):
    rows = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "steps_per_second")} for r in rows]


def written(folder):
    """All that is in the folder of a curriculum, but times."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        is_metrics = path.name == "metrics.jsonl"
        files[name] = timeless(path.read_text()) if is_metrics else path.read_bytes()
    return files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted curriculum, and what it wrote."""
    folder = tmp_path_factory.mktemp("whole")
    return go(folder), MappingProxyType(written(folder))


def test_the_result(whole):
    result, files = whole
    first, second, last = result.stages
    assert result.finished and all(stage.finished for stage in result.stages)
    assert [stage.reached for stage in result.stages] == [True, None, False]
    ended = int(first.state.generation)
    assert 2 <= ended < 40 and ended % 2 == 0
    tests = [(row["generation"], row["until/reward"]) for row in first.tests]
    assert tests == [*((g, 0.0) for g in range(2, ended, 2)), (ended, 1.0)]
    assert [row["generation"] for row in second.history] == [1, 2, 3]
    assert [row["generation"] for row in last.tests] == [2, 3]
    assert_trees_identical(result.learner, last.learner)
    assert {name.split("/")[0] for name in files} == {*FOLDERS, "curriculum.json"}
    stages = json.loads(files["curriculum.json"])["stages"]
    assert [s["name"] for s in stages] == ["wishes", "wishes+Oracles", "last"]
    assert [(s["ended"], s["reached"]) for s in stages] == [(ended, True), (3, None), (3, False)]


def test_each_stage_is_a_training_from_where_the_one_before_ended(whole):
    result, _ = whole
    learner = LEARNER
    for number, stage in enumerate(STAGES[:2]):
        alone = meta.train(
            learner,
            stage.lessons,
            stage.strategy,
            generations=int(result.stages[number].state.generation),
            key=jr.fold_in(KEY, number),
        )
        assert_trees_identical(alone.state, result.stages[number].state)
        learner = alone.learner


def test_without_a_folder_it_is_the_same(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_trees_identical(go(chunk=100).learner, whole[0].learner)
    assert not list(tmp_path.iterdir())


# Stop and go


def resumed(folder, whole):
    """Going on to the end gives all the bits of what was never stopped."""
    result = go(folder)
    assert result.finished and [s.reached for s in result.stages] == [True, None, False]
    for stage, expected in zip(result.stages, whole[0].stages, strict=True):
        assert_trees_identical(stage.state, expected.state)
    assert written(folder) == whole[1]


def test_stopped_in_the_middle_of_stages_and_between_them(whole, tmp_path):
    ended = int(whole[0].stages[0].state.generation)
    seen = []

    def stop(state, learner, row):
        seen.append((row["stage"], row["generation"]))
        assert row["generation"] == int(state.generation)
        return True

    # Where tests and chunks end, and no other place, by whatever chunks it is cut.
    for chunk in (1, 2, 40):
        result = go(tmp_path, chunk=chunk, callback=stop)
        assert not result.finished and len(result.stages) == 1
    assert seen == [("wishes", 1), ("wishes", 2), ("wishes", 4)]
    result = go(tmp_path, callback=lambda state, learner, row: row["generation"] == ended)
    # At the end of a stage, it stops as well.
    assert not result.finished and result.stages[0].finished and len(result.stages) == 1
    assert go(tmp_path, chunk=1, callback=stop).stages[0].history == []
    assert seen[-1] == ("wishes+Oracles", 1)
    resumed(tmp_path, whole)
    # What is finished is not repeated.
    again = go(tmp_path, callback=lambda *_: pytest.fail("it went on"))
    assert again.finished and not any(stage.history for stage in again.stages)
    assert written(tmp_path) == whole[1]


class Killed(BaseException):
    """As if the process had ended."""


@pytest.mark.parametrize("place", ["before the checkpoint", "after it", "before the decision"])
def test_killed_when_the_criterion_was_reached(whole, tmp_path, monkeypatch, place):
    ended = int(whole[0].stages[0].state.generation)

    def kill(*args):
        raise Killed

    def kill_late(state, learner, row):
        if place == "after it" and int(state.generation) == ended:
            raise Killed

    write, note = _checkpoint.write, _curriculum._note
    with monkeypatch.context() as patch:
        if place == "before the checkpoint":
            patch.setattr(
                _checkpoint,
                "write",
                lambda f, state, i: (
                    kill() if int(state.generation) == ended else write(f, state, i)
                ),
            )
        elif place == "before the decision":
            patch.setattr(
                _curriculum, "_note", lambda f, b, done: kill() if done else note(f, b, done)
            )
        with pytest.raises(Killed):
            go(tmp_path, callback=kill_late)
    (stage,) = json.loads((tmp_path / "curriculum.json").read_text())["stages"]
    assert stage["ended"] is stage["reached"] is None
    resumed(tmp_path, whole)


# Other curricula in the folder


def changed(number, **changes):
    stage = STAGES[number]
    names = ("lessons", "generations", "strategy", "until", "test_every", "required", "name")
    other = Stage(**{**{n: getattr(stage, n) for n in names}, **changes})
    return (*STAGES[:number], other, *STAGES[number + 1 :])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with the first stage done and the second begun."""
    folder = tmp_path_factory.mktemp("begun")
    go(folder, chunk=1, callback=lambda state, learner, row: row["stage"] == FOLDERS[1][8:])
    return folder


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (STAGES[:1], "of which 2 stages have begun, more than the 1 asked for"),
        (changed(0, name="other"), r"stage 0 .wishes. is not the same .name: wishes there, other"),
        (changed(0, generations=99), "generations: 40 there, 99 now.*append stages instead"),
        (changed(0, test_every=4), "test_every: 2 there, 4 now"),
        (changed(0, until=None), "until: .*at_least.* there, None now"),
        (changed(0, until=NEVER), "until: .*'luck'.* now"),
        (changed(1, until=WILLING), r"stage 1 .* is not the same .until: None there"),
        (changed(0, strategy=EvolutionStrategy(6)), "stage-0-wishes holds another training .*'pop"),
        (
            changed(0, lessons=Lesson(Wishes(), 3, 2, fitness=upwards, name="wishes")),
            "stage-0-wishes holds another training .steps: 2 there, 3 now",
        ),
    ],
)
def test_a_curriculum_that_contradicts_what_is_done_is_refused(begun, stages, message):
    before = written(begun)
    with pytest.raises(ValueError, match=message):
        go(begun, stages=stages)
    assert written(begun) == before


def test_a_file_that_is_not_of_a_curriculum_is_refused(tmp_path):
    (tmp_path / "curriculum.json").write_text('{"stages": [{"name": ')
    with pytest.raises(ValueError, match="does not say how a curriculum stands"):
        go(tmp_path)


def test_stages_can_be_appended(whole, tmp_path):
    assert go(tmp_path, stages=STAGES[:1]).finished
    resumed(tmp_path, whole)


def test_a_required_criterion_stops_what_comes_after(tmp_path):
    def stages(generations):
        first = Stage(WISHES, generations, STRATEGY, until=NEVER, test_every=2, required=True)
        return (first, STAGES[1])

    message = "Stage 0 .wishes. ended after 2 generations without luck at least 2.0. Give it more"
    with pytest.raises(meta.NotReachedError, match=message):
        go(tmp_path, stages=stages(2))
    with pytest.raises(meta.NotReachedError, match="after 3 generations"):
        go(tmp_path, stages=stages(3))
    rows = timeless((tmp_path / "stage-0-wishes/metrics.jsonl").read_text())
    assert [row["generation"] for row in rows if "test" not in row] == [1, 2, 3]
    assert not (tmp_path / FOLDERS[1]).exists()


def test_what_a_later_stage_cannot_do_is_refused_before_the_first(tmp_path):
    fixed = rl.MetaRNN(1, 2, 3, key=KEY)
    large = Stage(Lesson(rl.envs.BernoulliBandits(5), 1, 1), 1, STRATEGY)
    small = Stage(Lesson(rl.envs.BernoulliBandits(2), 1, 1), 1, STRATEGY)
    with pytest.raises(ValueError, match="Stage 1 .BernoulliBandits. cannot be: .*5"):
        meta.train_curriculum(fixed, Curriculum([small, large]), key=KEY, out=tmp_path)
    assert not list(tmp_path.iterdir())


# Criteria


def test_a_training_of_its_own_ends_with_a_criterion(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "150")
    options: dict = dict(tasks=WISHES, steps=None, lives=None, fitness=None, learner=LEARNER)
    options |= dict(strategy=STRATEGY, test_every=2, test_lives=2, chunk=7)
    tests = {"held-out": Wishes()}
    result = train(**options, until=WILLING, generations=40, tests=tests)
    assert result.finished and result.reached and not result.stopped
    assert set(result.tests[-1]) > {"until/reward", "held-out/reward"}
    result = train(**options, until=NEVER, generations=2, progress=True)
    assert result.finished and result.reached is False
    assert "ended without luck at least 2.0" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`until` is tested every `test_every` generations"):
        train(**{**options, "test_every": 0}, until=WILLING)


def test_criteria_look_at_the_last_part_of_a_life():
    def measured(metric, **options):
        return Reached(metric, Wishes(), steps=10, **options).measure(LEARNER, key=KEY)

    assert measured("age", at_least=8.5) == (8.5, True)
    assert measured("age", at_least=8.6) == (8.5, False)
    assert measured("age", at_most=8.5, parts=1) == (4.5, True)
    assert measured("age", at_most=8.4) == (8.5, False)
    assert measured("reward", at_most=0.0, parts=2) == (0.0, True)
    keys = jax.vmap(lambda key: jr.split(key)[0])(jr.split(KEY, 100))
    luck = np.asarray(jax.vmap(lambda key: Wishes().sample(key=key).params)(keys))
    share = (luck <= 0.3).mean().item()
    assert measured("luck", at_most=0.3, share=share) == (share, True)
    assert measured("luck", at_most=0.3, share=share + 0.01) == (share, False)
    assert measured("luck", at_least=0.3)[0] == pytest.approx(luck.mean(), rel=1e-5)
    assert str(Reached("age", Wishes(), 5, at_most=0.3, share=0.9)) == (
        "age at most 0.3 in 90% of lives"
    )


def test_what_is_not_a_number_is_never_enough():
    class Mad(Wishes):
        def sample(self, *, key):
            return rl.Task(Wish(), jnp.nan * jr.uniform(key), metrics=("luck",))

    bounds: list[dict] = [{"at_least": -9.0}, {"at_most": 9.0}, {"at_most": 9.0, "share": 0.1}]
    for bound in bounds:
        assert not Reached("luck", Mad(), 2, parts=1, **bound).measure(LEARNER, key=KEY)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"lives": 0}, "`lives` must be at least 1, got 0"),
        ({"parts": 6}, "`parts` must be 1 to 5, the steps of a life; got 6"),
        ({"at_most": 1.0}, "One of `at_least` and `at_most` must be given; got 0.5 and 1.0"),
        ({"at_least": None}, "got None and None"),
        ({"share": 1.5}, "`share` must be above 0 and at most 1, got 1.5"),
        ({"metric": "joy"}, "no metric 'joy'; `metric` can be reward, age, luck"),
    ],
)
def test_a_criterion_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Reached(**{"metric": "age", "tasks": Wishes(), "steps": 5, "at_least": 0.5, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generations": 0}, "`generations` must be at least 1, got 0"),
        ({"test_every": 0}, "`test_every` must be at least 1, got 0"),
        ({"required": True}, "`required` needs a criterion"),
        ({"name": "a/b"}, "`name` must be letters.*got 'a/b'"),
        ({"lessons": ()}, "at least one lesson"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Stage(**{"lessons": WISHES, "generations": 1, **options})


def test_a_curriculum_needs_a_stage():
    with pytest.raises(ValueError, match="at least one stage"):
        Curriculum([])
