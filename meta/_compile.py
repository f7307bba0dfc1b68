"""Options of the compiler that are worth having where it knows them."""

import functools

import jax

# XLA's own choices are slower here: half the width of the vector units, and small matrix products
# in loops of its own rather than in its library.
_CPU: dict[str, str | bool] = {
    "xla_cpu_prefer_vector_width": "512",
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}


def compiler_options(platform: str | None = None) -> dict[str, str | bool]:
    """The options to compile long programs with: `jax.jit(f, compiler_options=...)`.

    **Arguments:**

    - `platform`: `"cpu"`, `"gpu"` or `"tpu"`, where the program will run; JAX's own choice by
        default.

    **Returns:**

    On the CPU, those of our options that this version of XLA knows; elsewhere none.
    """
    platform = jax.default_backend() if platform is None else platform
    if platform != "cpu":
        return {}
    return {name: value for name, value in _CPU.items() if _known(name, value)}


@functools.cache
def _known(name: str, value: str | bool) -> bool:
    program = jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), "float32"))
    try:
        program.compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True
