"""The laws of learners, lives, environments and evolution: drawn cases keep them, twins do not."""

import pytest
from hypothesis import given, strategies as st
from lawbook import check_drawn, check_twin, names_about, twins

pytestmark = pytest.mark.usefixtures("cheap_compilation")
KINDS = ("learner", "lifetime", "environment", "evolution")


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for kind in KINDS for name in names_about(kind)]
)
@given(data=st.data())
def test_the_law_is_kept(name, kind, data):
    check_drawn(name, kind, data)


@pytest.mark.parametrize(("name", "kind", "number"), twins(*KINDS))
def test_the_law_is_broken_by_its_twin(name, kind, number):
    assert check_twin(name, kind, number)
