"""What `certify` says of functions: their signatures, parameters, constants, transformations."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from claims import faults, proved, ramp, softly
from jax import lax
from jaxtyping import Array

import proofs

pytestmark = pytest.mark.usefixtures("cheap_compilation")


# ------------------------------------------------------------------------------------- signatures


def test_the_decorator_leaves_the_function_as_it_is():
    def double(x: Array) -> Array:
        return 2.0 * x

    code = double.__code__
    decorated = proofs.equivariant("A -> A")(double)
    assert decorated is double and decorated.__code__ is code
    signature, randomness = double.__equivariance__  # pyright: ignore
    assert str(signature) == "[A] -> [A]" and randomness == "pathwise"
    certificate = proofs.certify(double, sweep=(2,))
    assert certificate and certificate.claim.title.endswith("double")


def test_the_decorator_takes_the_kind_of_randomness():
    @proofs.equivariant("key, A -> A", randomness="exchangeable")
    def noisy(key: Array, x: Array) -> Array:
        return x + jr.normal(key, x.shape)

    assert proofs.claim_of(noisy).randomness == "exchangeable"
    assert proved(noisy)


def test_wrong_decorations_are_found():
    @proofs.equivariant("A t -> t")
    def wrong(x: Array) -> Array:
        return x[0]

    assert proofs.certify(wrong).verdict == "REFUTED"


def test_compiled_functions_can_be_decorated():
    assert proved(proofs.equivariant("A -> A")(jax.jit(lambda x: 2.0 * x)))


def test_a_class_of_ones_own_can_be_registered():
    class Scale(eqx.Module):
        factor: Array

        def __call__(self, x: Array) -> Array:
            return self.factor * x

    with pytest.raises(ValueError, match="What Scale should be equivariant to"):
        proofs.certify(Scale(jnp.ones(())))

    @proofs.claim_of.register
    def _(scale: Scale) -> proofs.Claim:
        return proofs.Claim(scale, proofs.claim_of(softly_claimed).signature, "Scale")

    certificate = proofs.certify(Scale(jnp.ones(())), sweep=(2,))
    assert certificate and certificate.claim.title == "Scale"


@proofs.equivariant("A -> A")
def softly_claimed(x: Array) -> Array:
    return softly(x)


def test_a_claim_certifies_itself():
    claim = proofs.claim_of(softly_claimed)
    assert proofs.claim_of(claim) is claim
    assert proved(claim) and proved(dataclasses.replace(claim, title="another"))


def test_trees_of_arrays_go_in_and_come_out():
    def step(state: dict, messages: tuple) -> dict:
        a, b = messages
        cells = jnp.tanh(state["cells"] + a[:, None] + b[None])
        return {"cells": cells, "sums": (cells.sum(1), cells.sum(0))}

    ins = ({"cells": "A B"}, ("A", "B"))
    assert proved(step, ins, {"cells": "A B", "sums": ("A", "B")})
    assert proved(step, ins, {"cells": "A B", "sums": ...})
    with pytest.raises(ValueError, match=r"result at \['sums'\]\[0\] has shape \(A,\)"):
        proofs.certify(step, ins, {"cells": "A B", "sums": ("B", "A")})


# ----------------------------------------------------------------------- parameters and constants


class Biased(eqx.Module):
    """A number for each place: zeros at first, but they will be learned."""

    bias: Array

    def __call__(self, x: Array) -> Array:
        return x + self.bias

    def apply(self, x: Array) -> Array:
        return self(x)


def test_parameters_may_have_any_values():
    for method in (Biased(jnp.zeros(3)), Biased(jnp.zeros(3)).apply):
        certificate = proofs.certify(method, "A -> A", sizes={"A": 3})
        assert certificate.verdict == "UNKNOWN", "these values are a special case"
        assert "come from the order of the parameter" in faults(certificate)
        assert "bias" in faults(certificate)
    certificate = proofs.certify(Biased(jnp.arange(3.0)), "A -> A", sizes={"A": 3})
    assert certificate.verdict == "REFUTED"
    assert proved(Biased(jnp.zeros(())), "A -> A")
    assert proved(Biased(jnp.zeros(4)[None]), "A 4 -> A 4")


def test_constants_that_a_function_has_captured_are_ordered():
    weights = jnp.ones(3)
    certificate = proofs.certify(lambda x: x * weights, "A -> A", sizes={"A": 3})
    assert certificate.verdict == "UNKNOWN"
    assert "come from a captured constant of shape (3,)" in faults(certificate)
    counts = np.arange(3, dtype=np.float32)
    assert proofs.certify(lambda x: x * counts, "A -> A", sizes={"A": 3}).verdict == "REFUTED"
    assert proved(lambda x: x * weights[None], "A 3 -> A 3")
    assert proved(lambda x: x * jnp.ones(3), "A -> A", sizes={"A": 3}), "made here: all alike"


# --------------------------------------------------------------------- what JAX does to functions


def right(x: Array) -> Array:
    return jnp.tanh(x) * x.sum()


def wrong(x: Array) -> Array:
    return jnp.tanh(x) * ramp(x)


def summed(f):
    return lambda x: f(x).sum()


TRANSFORMS = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "grad": lambda f: jax.grad(summed(f)),
    "value_and_grad": lambda f: lambda x: jax.value_and_grad(summed(f))(x)[1],
    "grad of checkpoint": lambda f: jax.grad(summed(jax.checkpoint(f))),
    "grad of jit": lambda f: jax.grad(summed(jax.jit(f))),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1],
    "vjp": lambda f: lambda x: jax.vjp(f, x)[1](jnp.ones_like(x))[0],
    "scan": lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0],
    "while": lambda f: lambda x: lax.while_loop(lambda c: c.sum() < 3.0, f, x),
    "cond": lambda f: lambda x: lax.cond(x.sum() > 0, f, jnp.sin, x),
    "filter_jit": eqx.filter_jit,
    "grad of scan": lambda f: jax.grad(
        lambda x: lax.scan(lambda c, _: (f(c), c.sum()), x, None, length=2)[1].sum()
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transformed_functions_are_as_good_as_what_was_transformed(transform):
    function = TRANSFORMS[transform]
    assert proved(function(right), "A -> A")
    certificate = proofs.certify(function(wrong), "A -> A", refute=False)
    assert not certificate and certificate.faults
    assert "come from `iota`" in faults(certificate)


def test_mapped_functions_are_equivariant_along_the_axis_they_are_mapped_over():
    assert proved(jax.vmap(right), "A B -> A B")
    assert proved(jax.vmap(lambda x: jnp.cumsum(x)), "A t -> A t")
    assert proved(
        jax.vmap(jax.vmap(lambda x, w: jnp.tanh(x @ w), (0, None)), (0, None)),
        "A B 3, 3 2 -> A B 2",
    )
    assert not proved(jax.vmap(lambda x: jnp.cumsum(x)), "A B -> A B")
    assert proved(jax.hessian(lambda x: (x**3).sum() ** 2), "A -> A A", sizes={"A": 3})
    assert proved(jax.jacobian(right), "A -> A A")


def test_derivatives_made_by_hand_are_looked_at_where_they_are_used():
    @jax.custom_vjp
    def total(x: Array) -> Array:
        return x.sum()

    total.defvjp(lambda x: (x.sum(), x), lambda x, g: (g * x[::-1],))
    assert proved(total, "A -> ")
    assert proofs.certify(jax.grad(total), "A -> A").verdict == "REFUTED"

    @jax.custom_jvp
    def other(x: Array) -> Array:
        return x.sum()

    other.defjvp(lambda p, t: (other(*p), (t[0] * ramp(p[0])).sum()))
    assert proved(other, "A -> ")
    assert not proved(jax.grad(other), "A -> A")

    @jax.custom_vjp
    def good(x: Array) -> Array:
        return jnp.sin(x)

    good.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.exp(x),))
    assert proved(good, "A -> A") and proved(jax.grad(summed(good)), "A -> A")


def test_learning_by_gradients_is_equivariant():
    def loss(w: Array, x: Array, y: Array) -> Array:
        return ((jnp.tanh(x @ w) - y) ** 2).mean()

    def descend(w: Array, x: Array, y: Array) -> Array:
        return lax.fori_loop(0, 5, lambda _, v: v - 0.1 * jax.grad(loss)(v, x, y), w)

    assert proved(descend, "A B, t A, t B -> A B")
    assert not proved(descend, "A B, t A, t B -> B A", sizes={"A": 3, "B": 3, "t": 2})
