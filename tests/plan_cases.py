"""What is checked of the plan of any study of learned objectives."""

from collections.abc import Sequence

import jax
import jax.random as jr

import meta
import rl
from experiments._evaluate import check_fits
from experiments._objective_study import Plan


def assert_learners_fit(plans: Sequence[Plan]) -> None:
    """Every learner fits what it is meta-trained on and lives in; nothing is computed."""

    def all_fit(key):
        for plan in plans:
            learners: dict[str, rl.Learner] = dict(plan.players)
            for search in plan.searches:
                made = search.learner(key)
                learners |= dict.fromkeys(search.learners, made)
                if isinstance(search.strategy, meta.CriticGradient):
                    search.strategy.check(made, search.lessons)
                for lesson in search.lessons:
                    check_fits(made, lesson.tasks)
            for name, probes in plan.probes.items():
                for probe in probes:
                    check_fits(learners[name], probe.tasks)
        return key

    jax.eval_shape(all_fit, jr.key(0))
