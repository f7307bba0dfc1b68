import equinox as eqx
import jax
import jax.random as jr
import pytest

import rl
from experiments import _builders, _task_table
from experiments._task_entries import Option
from experiments._task_table import STANDARD, TASKS, WRAPPERS
from experiments._tasks import parse_task, parse_tasks
from rl import envs

pytestmark = pytest.mark.usefixtures("cheap_compilation")
CASES = {
    "cartpole": envs.Vary(envs.CartPole()),
    "bandit-independent:arms=2..16": envs.BernoulliBandits((2, 16)),
    "bandit-hard": envs.BernoulliBandits(2, "hard"),
    "cartpole:reward=sparse,length=0.25..1": envs.Vary(envs.CartPole("sparse"), length=(0.25, 1)),
    "cartpole:steps-in-episode=9,gravity=5": envs.Vary(
        envs.CartPole(), steps_in_episode=9, gravity=5.0
    ),
    "heart-trap:size=4,trap_reward=-0.5+swap=0.25": envs.SwapRewards(
        envs.Vary(envs.HeartTrap(4), trap_reward=-0.5), 0.25
    ),
    "goal-world:observation=compass+project=7:shared=yes": envs.Project(
        envs.Vary(envs.GoalWorld(observation="compass")), 7, shared=True
    ),
    "contextual-bandit:sensors=2..8,noise=.1": envs.ContextualBandits((2, 8), noise=0.1),
    "cartpole+distract=4..12:noisy=1,std=2+permute=actions": envs.Permute(
        envs.Distract(envs.Vary(envs.CartPole()), (4, 12), 1.0, 2.0), "actions"
    ),
    "cartpole+permute+distract": envs.Distract(envs.Permute(envs.Vary(envs.CartPole()))),
    "mountain-car-continuous+pad=5x3:mask=no": envs.Pad(
        envs.Vary(envs.MountainCarContinuous()), 5, 3, mask=False
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_a_name_is_the_distribution_that_it_says(text):
    made, meant = _builders.make_tasks(text), CASES[text]
    assert jax.tree.structure(made) == jax.tree.structure(meant)
    assert type(made) is type(meant) and jax.tree.leaves(made) == jax.tree.leaves(meant)


@pytest.mark.parametrize("name", TASKS)
def test_the_registry_tells_the_truth(name):
    entry, tasks = TASKS[name], _builders.make_tasks(name)
    assert eqx.filter_eval_shape(tasks.sample, key=jr.key(0)).metrics == entry.metrics
    # What is given with its default changes nothing; whatever can be said can be built.
    options = entry.known.items()
    said = ",".join(f"{k}={option.default}" for k, option in options if " " not in option.default)
    same = _builders.make_tasks(f"{name}:{said}" if said else name)
    if entry.parameters is None:
        assert jax.tree.structure(same) == jax.tree.structure(tasks)
    else:
        one, other = (t.sample(key=jr.key(0)) for t in (same, tasks))
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert left == pytest.approx(right)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_with_its_defaults_is_a_wrapper(name):
    entry = WRAPPERS[name]
    options = ",".join(f"{key}={option.default}" for key, option in entry.options.items())
    said = f"contextual-bandit+{name}={entry.value.default}" + (f":{options}" if options else "")
    made = _builders.make_tasks(said)
    assert type(made) is getattr(envs, entry.factory)
    if not entry.needed:
        plain = _builders.make_tasks(f"contextual-bandit+{name}")
        assert jax.tree.structure(plain) == jax.tree.structure(made)


@pytest.mark.parametrize("text", STANDARD)
def test_the_standard_tests_can_be_lived(text):
    tasks = _builders.make_tasks(text)
    jax.eval_shape(
        lambda key: (
            rl.lifetime(
                rl.classic.RandomPlayer(), tasks.sample(key=key), steps=2, key=key
            ).total_reward
        ),
        jr.key(0),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cartpol", "There is no task 'cartpol'. Did you mean 'cartpole'?"),
        ("cartpole+permut", "There is no wrapper 'permut'. Did you mean 'permute'?"),
        ("cartpole+", "There is no wrapper ''. There are: permute, project"),
        ("cartpole:lenth=1", "The task cartpole has no option 'lenth'. Did you mean 'length'?"),
        ("bandit-easy:arms=3", "The task bandit-easy has no option 'arms'. It has none."),
        ("cartpole+swap:x=1", "The wrapper swap has no option 'x'. It has none."),
        ("cartpole:length", "length of the task cartpole needs a value: length=X|X..Y."),
        ("cartpole:length=1,length=2", "length of the task cartpole is given twice."),
        ("cartpole:length=long", "length of the task cartpole is X|X..Y, got 'long'."),
        ("cartpole:length=2..1", "begins with the greater"),
        ("cartpole:length=-1..1", "a range must be above 0; got '-1..1'"),
        ("cartpole:reward=dens", "reward of the task cartpole cannot be 'dens'. Did you mean"),
        ("bandit-independent:arms=2-8", "got '2-8'. Write a range with two dots."),
        ("bandit-independent:arms=0", "must be at least 1, got '0'"),
        ("bandit-independent:arms=1.5", "is N|N..M, got '1.5'"),
        ("heart-trap:size=2..3", "is one number (N), not a range; got '2..3'"),
        ("cartpole+swap=2", "The value of +swap must be at most 1, got '2'."),
        ("cartpole+pad", "+pad needs a value, +pad=AxB"),
        ("cartpole+pad=16", "The value of +pad is AxB, got '16'."),
        ("cartpole+project=8:shared=maybe", "must be yes or no, got 'maybe'"),
    ],
)
def test_what_cannot_be_is_one_line(text, message):
    with pytest.raises(ValueError) as caught:
        parse_task(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_arms_may_be_given_apart():
    assert parse_task("bandit-independent", "2-8") == parse_task("bandit-independent", "2..8")
    assert parse_task("bandit-independent+permute", "5").arms == 5
    assert parse_task("bandit-hard", "2").arms == 2 == parse_task("bandit-independent").arms
    assert parse_task("cartpole").arms is None
    for task, arms, message in (
        ("cartpole", "2", "`--arms` is for bandits, but the task is cartpole"),
        ("bandit-independent:arms=3", "3", "Give arms once"),
        ("bandit-easy", "3", "bandit-easy has exactly 2 arms, got 3"),
        ("bandit-independent", "0", "`--arms` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_task(task, arms)


def test_several_tasks():
    texts = [spec.text for spec in parse_tasks(["heart-trap:size=3", "standard"])]
    assert texts == ["heart-trap:size=3", *STANDARD]
    with pytest.raises(ValueError, match="The task acrobot is there twice"):
        parse_tasks(["acrobot", "acrobot"])
    with pytest.raises(ValueError, match="Name at least one task"):
        parse_tasks([])


def test_a_new_environment_is_one_entry(monkeypatch):
    class Mine(envs.CartPole):
        pass

    monkeypatch.setattr(envs, "Mine", Mine, raising=False)
    length = Option("0.5", "m", "numbers")
    entry = _task_table.TaskEntry("mine", "Mine", parameters={"length": length})
    monkeypatch.setitem(TASKS, "mine", entry)
    made = _builders.make_tasks("mine:length=2+permute")
    assert isinstance(made, envs.Permute) and made.tasks == envs.Vary(Mine(), length=2.0)
