"""Laws of learned learning algorithms, as a library that others use on their own.

- `certify` proves from the traced program that a layer, a network, a learner, a whole life or any
  function of yours is equivariant: for every permutation, every input and every size. `refute`
  looks for a counter-example in exact arithmetic; `fuzz` tests the prover itself.
- `assert_equivariant` and its kin test one law at a time, without any tolerance.
- `proofs.laws` are the laws that every layer, network, learner, environment and evolution strategy
  should keep; `proofs.strategies` draws cases of them with Hypothesis, which
  `pip install 'symla[proofs]'` brings and nothing else here needs.
"""

from ._certify import (
    Certificate as Certificate,
    Claim as Claim,
    certify as certify,
    claim_of as claim_of,
    equivariant as equivariant,
)
from ._objects import closed_loop as closed_loop
from ._refute import Witness as Witness, refute as refute
from ._rulebook import Fault as Fault, Rule as Rule, rule as rule
