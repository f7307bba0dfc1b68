"""A MetaGenRL so small that its tests are fast."""

from typing import Any

import jax
import jax.random as jr

import rl
from meta import MetaGenRL

KEY = jr.key(0)
PLANE = rl.Spaces(2, 3, continuous=True)
SMALL: dict[str, Any] = {
    "capacity": 40,
    "warm_up": 4,
    "batch_size": 3,
    "segment_length": 4,
    "units": 4,
}


def small(**options: Any) -> MetaGenRL:
    return MetaGenRL((4,), **{**SMALL, **options}, key=jr.key(1))


def randomised(objective):
    """Biases and norms, too, so that each of them counts."""
    leaves, structure = jax.tree.flatten(objective)
    keys = jr.split(jr.key(3), len(leaves))
    noisy = [x + 0.3 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)
