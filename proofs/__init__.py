"""Laws of learned learning algorithms, as a library that others use on their own.

- `certify` proves from the traced program that a layer, a network, a learner, a whole life or any
  function of yours is equivariant: for every permutation, every input and every size. `refute`
  looks for a counter-example in exact arithmetic; `fuzz` tests the prover itself.
- `assert_equivariant` and its kin test one law at a time, without any tolerance.
- `proofs.laws` are the laws that every layer, network, learner, environment and evolution strategy
  should keep; `proofs.strategies` draws cases of them with Hypothesis, which
  `pip install 'symla[proofs]'` brings and nothing else here needs.
"""

from typing import TYPE_CHECKING

from . import laws as laws
from ._assertions import (
    TOLERANCE as TOLERANCE,
    assert_compiles_once as assert_compiles_once,
    assert_gradients_finite as assert_gradients_finite,
    assert_same_under_jit as assert_same_under_jit,
    assert_same_under_vmap as assert_same_under_vmap,
    assert_size_free as assert_size_free,
)
from ._black_box import black_box as black_box
from ._certify import (
    Certificate as Certificate,
    Claim as Claim,
    certify as certify,
    claim_of as claim_of,
    equivariant as equivariant,
)
from ._equivariance import (
    assert_equivariant as assert_equivariant,
    assert_invariant as assert_invariant,
)
from ._fuzz import (
    Contradiction as Contradiction,
    FuzzReport as FuzzReport,
    fuzz as fuzz,
)
from ._objects import closed_loop as closed_loop, continuous_actions as continuous_actions
from ._refute import Witness as Witness, refute as refute
from ._rulebook import (
    Fault as Fault,
    Rule as Rule,
    Unsupported as Unsupported,
    rule as rule,
)
from ._tags import Clash as Clash
from ._trace import Signature as Signature

if TYPE_CHECKING:
    from . import strategies as strategies


def __getattr__(name: str):
    """Import `proofs.strategies`, which needs Hypothesis, when it is first used."""
    if name == "strategies":
        import importlib

        return importlib.import_module(".strategies", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
