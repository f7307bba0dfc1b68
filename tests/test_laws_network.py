"""The laws of networks: drawn cases keep them, twins with one fault do not."""

import os

import pytest
from hypothesis import given, settings, strategies as st
from lawbook import check_drawn, check_twin, names_about, twins

from proofs import laws
from proofs.strategies import network_cases, situations

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
pytestmark = pytest.mark.usefixtures("cheap_compilation")
KINDS = ("network",)


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
@pytest.mark.parametrize("name", names_about("network"))
@settings(max_examples=200 if THOROUGH else 10)
@given(case=network_cases(free=True), data=st.data())
def test_the_law_is_kept_by_any_network(name, case, data):
    network, law = case.build(), laws.LAWS[name]
    if law.when(network):
        law(network, data.draw(situations(depth=case.depth or 2, free=True)))
