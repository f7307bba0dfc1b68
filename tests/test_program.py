"""The compiled program of meta-training is one for all seeds."""

import jax
import jax.random as jr
import numpy as np
import optax
import pytest
from small_metagenrl import SMALL

import meta
import rl
from meta._generation import Generations
from meta._strategy import program_of

BANDITS = [meta.Lesson(rl.envs.BernoulliBandits(arms=2), 6, 2, name="bandits")]
POINTS = [meta.Lesson(rl.envs.Vary(rl.envs.PointRobot(dimensions=2)), 4, 2, name="points")]
LOOPS = {
    "evolution": (BANDITS, meta.EvolutionStrategy(4, 0.1, optax.adam(1e-3))),
    "persistent evolution": (BANDITS, meta.PersistentES(4, 0.1, optax.adam(1e-3), parts=2)),
    "actor-critic": (BANDITS, meta.ActorCritic(optax.adam(1e-3))),
    "critics": (POINTS, meta.CriticGradient(optax.adam(1e-3), restarts=(4, 8))),
}


def learner_of(lessons, key):
    if lessons is POINTS:
        return meta.MetaGenRL((4,), **SMALL, key=key)
    return rl.SymLA(4, 3, 2, key=key)


class Baked(Generations):
    """A twin that has its key in the program."""

    def _generation(self, portion, state, *, key):
        del key
        baked = jr.wrap_key_data(jax.numpy.asarray(np.asarray(self._key_data)), impl=self._key_impl)
        return super()._generation(portion, state, key=baked)


def text(make, loop, seed):
    lessons, strategy = LOOPS[loop]
    learner_key, init_key, run_key = jr.split(jr.key(seed), 3)
    learner = learner_of(lessons, learner_key)
    program = make(learner, lessons, strategy, key=run_key, devices=jax.devices()[:1])
    state = program.place(program.init(key=init_key))
    return program.lower(state, 2, program.portions()[-1]).as_text()


@pytest.mark.parametrize("loop", LOOPS)
def test_another_seed_is_the_same_program(loop):
    one, other = (text(program_of, loop, seed) for seed in (1, 2))
    assert one == other


def test_a_seed_in_the_program_is_noticed():
    one, other = (text(Baked, "evolution", seed) for seed in (1, 2))
    assert one != other
