"""Laws: equations that layers, networks, learners, lives, environments and strategies keep.

    proofs.laws.check(layer)                  # all that apply; tells of every one that is broken
    for law in proofs.laws.about(layer):      # one by one, in a parametrized test
        law(layer)
    proofs.laws.equivariance(layer, sizes=(4, 3), steps=200, seed=7)

A law of your own is a function of the object and a situation, under the decorator `law`:

    @proofs.laws.law("f(0) = 0", about="layer")
    def silence(layer, situation): ...
"""

from .._cases import Situation as Situation
from . import _environment, _evolution, _layer, _learner, _network, _rounding
from ._environment import SYMMETRIES as SYMMETRIES, permuted_task as permuted_task
from ._layer import Oracle as Oracle
from ._probe import probe as probe
from ._registry import (
    LAWS as LAWS,
    Law as Law,
    about as about,
    check as check,
    kind_of as kind_of,
    law as law,
)

_MODULES = (_layer, _rounding, _network, _learner, _environment, _evolution)


def __getattr__(name: str) -> Law:
    """Every law is an attribute, by its name."""
    if name in LAWS:
        return LAWS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, nor a law of that name")


def __dir__() -> list[str]:
    return sorted({*globals(), *LAWS})
