import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import meta
import rl
from experiments import demo
from rl import envs

BUDGET = demo.Budget(population=4, lives=2, report_every=1, report_lives=2, test_lives=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a demo of two generations, its result, and what it said."""
    out, said = tmp_path_factory.mktemp("demo"), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        # Thompson's draws take by far the longest to compile, and have tests of their own.
        patch.setitem(demo._PLAYERS, "Thompson", rl.classic.RandomPlayer)
        result = demo.run_demo(out, generations=2, budget=BUDGET, say=said.append)
        yield out, result, said


def reports(said: list[str]) -> list[str]:
    return [line.split()[2] for line in said if line.startswith("SymLA, generation")]


def test_it_tells_how_the_regret_falls(folder):
    _, result, said = folder
    assert result["finished"] and result["generations_done"] == 2
    assert reports(said) == ["1", "2"]
    assert [row["generation"] for row in result["course"]] == [0, 1, 2]


def test_it_goes_on_where_it_was(folder, monkeypatch):
    out, _, _ = folder
    train = demo.meta.train

    def stopped(*args, generations, **options):
        assert generations == 5
        result = train(*args, generations=2, **options)
        return dataclasses.replace(result, finished=False)

    monkeypatch.setattr(demo.meta, "train", stopped)
    said = list[str]()
    result = demo.run_demo(out, generations=5, budget=BUDGET, say=said.append)
    assert result == {"finished": False, "generations_done": 2, "out": str(out)}
    assert any(f"Going on with the meta-training in {out} after 2 generations" in s for s in said)
    assert reports(said) == ["1", "2"]
    assert said[-1] == "Stopped after 2 of 5 generations; the same command goes on."


def test_the_table_stands_beside_the_references(folder):
    _, result, said = folder
    assert result["bayes_optimal_exact"] == pytest.approx(1.748, abs=5e-4)
    assert set(result["regret"]) == {"2", "8", "12"}
    assert set(result["regret"]["2"]) == {"random", "Thompson", "Bayes-optimal", "SymLA"}
    assert set(result["regret"]["12"]) == {"random", "Thompson", "SymLA"}
    text = "\n".join(said)
    for by_player in result["regret"].values():
        for numbers in by_player.values():
            assert 0 <= numbers["mean"] <= 100 and numbers["sem"] >= 0
            assert f"{numbers['mean']:.2f} ± {numbers['sem']:.2f}" in text


def test_what_it_leaves_behind(folder):
    out, result, _ = folder
    assert json.loads((out / "demo.json").read_text()) == result
    assert isinstance(meta.load(out / "learner.symla"), rl.SymLA)
    png = (out / "demo.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[i : i + 4]) for i in (16, 20))
    assert (width, height) == (1950, 750)


def test_a_finished_demo_is_only_tested_again(folder):
    out, result, _ = folder
    said = list[str]()
    again = demo.run_demo(out, generations=2, budget=BUDGET, say=said.append)
    assert any("is finished; it is only tested again" in line for line in said)
    assert again["regret"] == result["regret"] and again["course"] == result["course"]


def test_another_demo_is_not_overwritten(folder):
    out, _, _ = folder
    with pytest.raises(ValueError, match="another training"):
        demo.run_demo(out, generations=2, seed=1, budget=BUDGET)
    with pytest.raises(ValueError, match="holds 2 generations already, more than the 1"):
        demo.run_demo(out, generations=1, budget=BUDGET)


def test_the_number_of_arms_is_data(getkey):
    sample = jax.jit(lambda arms, key: demo.Bandits(arms, 12).sample(key=key))
    key = getkey()
    everything = envs.BernoulliBandits(12).sample(key=key).params.probs
    for arms in (1, 5, 12):
        task = sample(jnp.asarray(arms, jnp.int32), key)
        np.testing.assert_array_equal(task.action_mask, np.arange(12) < arms)
        np.testing.assert_array_equal(task.params.probs[:arms], everything[:arms])
        np.testing.assert_array_equal(task.params.probs[arms:], 0)


def test_regrets_add_up_to_those_of_evaluate():
    """Masked bandits are the bandits of their size, up to chance: random play is known exactly."""
    values = np.asarray(
        demo.regrets(rl.classic.RandomPlayer(), demo.bandits(8), lives=400, key=jr.key(0))
    )
    assert values.shape == (400, demo.PULLS) and (values >= 0).all()
    totals = values.sum(1)
    assert abs(totals.mean() - 100 * (8 / 9 - 1 / 2)) < 4 * totals.std() / np.sqrt(400)
