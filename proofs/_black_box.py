"""Is a learner a black box: one network that is both the policy and the learning algorithm?"""

import equinox as eqx
import jax

import rl

from ._objects import step_of
from ._refute import depends_on


def black_box(learner: rl.Learner, *, continuous: bool = False) -> bool:
    """Whether the learning algorithm and the policy of a learner are one (table 1 of SymLA).

    Decided by the flow of data through one traced `step`: a learner is a black box if its
    meta-variables, the arrays of the module, may influence the next learned variables, and take
    part in every action. Where the outer loop shapes the learning only (a learned objective), there
    are steps, those between two updates, at which the action depends on the learned variables
    alone; where it shapes the beginning only (learned initial weights), nothing depends on them.

    **Arguments:**

    - `learner`: the learner. One without any arrays has no meta-variables, and is none.
    - `continuous`: whether to ask in a task with continuous actions.

    **Raises:** whatever the learner raises when one step of it is traced.
    """
    count = len(jax.tree.leaves(eqx.filter(learner, eqx.is_array)))
    if count == 0:
        return False
    step, arguments = step_of(learner, continuous=continuous)
    jaxpr = eqx.filter_make_jaxpr(step)(*arguments)[0]
    sources = [index < count for index in range(len(jaxpr.jaxpr.invars))]
    *state, _ = depends_on(jaxpr, sources)
    *_, action = depends_on(jaxpr, sources, always=True)
    return any(state) and action
