"""Questions to the certifier, and functions whose symmetries are known."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

import proofs


def proved(*args, **options) -> bool:
    """Whether it is proved for symbolic sizes: the sweep has tests of its own."""
    certificate = proofs.certify(*args, **{"sweep": (), "refute": False, **options})
    assert bool(certificate) == (certificate.verdict == "PROVED")
    return bool(certificate)


def faults(certificate: proofs.Certificate) -> str:
    return "\n".join(str(fault) for _, fault in certificate.faults)


def softly(x: Array) -> Array:
    return jax.nn.softmax(x)


def backwards(x: Array) -> Array:
    return x[::-1]


def ramp(x: Array) -> Array:
    return jnp.arange(x.shape[0], dtype=x.dtype)
