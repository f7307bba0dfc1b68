"""Programs are evaluated on words, integers of 32 bits in the place of floating numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import quick_jit

from proofs._exact import ExactResult, evaluate, to_exact

LOWEST, HIGHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


def exact(f: Callable, *arguments: Any, **options: Any) -> ExactResult:
    """What a function makes of concrete arguments, compiled."""
    jaxpr = jax.make_jaxpr(f)(*arguments)
    values = [to_exact(x) for x in jax.tree.leaves(arguments)]
    return quick_jit(lambda values: evaluate(jaxpr, values, **options))(values)


def on_words(f: Callable, *words: np.ndarray, dtype: Any = np.float32) -> list[np.ndarray]:
    """What a function of floating arrays makes of any integers in their place."""
    jaxpr = jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(x.shape, dtype) for x in words))
    outputs = quick_jit(lambda values: evaluate(jaxpr, values).outputs)(
        list(map(jnp.asarray, words))
    )
    return [np.asarray(x) for x in outputs]


def words(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(LOWEST, HIGHEST, shape, dtype=np.int32, endpoint=True)
