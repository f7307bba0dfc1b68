"""The laws of layers: drawn cases keep them, twins with one fault do not."""

import os

import pytest
from hypothesis import given, settings, strategies as st
from lawbook import check_drawn, check_twin, names_about, twins

from proofs import laws
from proofs.strategies import layer_cases, situations

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
pytestmark = pytest.mark.usefixtures("cheap_compilation")
KINDS = ("layer",)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for kind in KINDS for name in names_about(kind)]
)
@given(data=st.data())
def test_the_law_is_kept(name, kind, data):
    check_drawn(name, kind, data)


@pytest.mark.parametrize(("name", "kind", "number"), twins(*KINDS))
def test_the_law_is_broken_by_its_twin(name, kind, number):
    assert check_twin(name, kind, number)


@pytest.mark.slow
@pytest.mark.parametrize("name", names_about("layer"))
@settings(max_examples=300 if THOROUGH else 12)
@given(case=layer_cases(free=True), situation=situations(free=True))
def test_the_law_is_kept_by_any_layer(name, case, situation):
    layer, law = case.build(), laws.LAWS[name]
    if law.when(layer):
        law(layer, situation)
