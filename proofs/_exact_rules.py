"""What the primitives that call nothing mean when floating numbers are integers modulo 2^32."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jaxtyping import Array, Bool, Int32, UInt32

Ties = Bool[Array, ""] | None

# The same primitive on int32. Sums and products are those of the ring, comparisons those of int32.
STRUCTURE = frozenset(
    "broadcast_in_dim concatenate copy device_put dynamic_slice dynamic_update_slice iota "
    "name optimization_barrier pad reshape rev select_n sharding_constraint slice split squeeze "
    "stack stop_gradient tile transpose unstack".split()
)
RING = frozenset(
    "add add_any cumprod cumsum neg one_minus_square reduce_prod reduce_sum square sub".split()
)
WINDOWS = frozenset("reduce_window_max reduce_window_min reduce_window_sum".split())
ORDER = frozenset(
    "argmax argmin clamp cummax cummin eq eq_to ge gt le le_to lt lt_to max min ne reduce_max "
    "reduce_min sort top_k".split()
)
# A fixed function of the operands, as good as random.
HASHED = frozenset(
    "abs acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil cos cosh digamma "
    "div erf erf_inv erfc exp exp2 expm1 floor igamma igamma_grad_a igammac is_finite lgamma log "
    "log1p log2 logistic nextafter polygamma pow reduce_precision regularized_incomplete_beta rem "
    "round rsqrt sign sin sinh sqrt tan tanh zeta".split()
)

# Parameters of elementwise primitives that say how to compute and not what.
_HOW = frozenset({"accuracy", "sharding", "out_sharding", "weak_type"})

_NAN = 0x7FC00000
# So chosen that the constants at which `jax.random` cuts normal and Gumbel noise from below are
# close to the lowest integer: noise that is cut is equal, and equal noise tests little.
_SALT = np.uint32(282674702)


def is_float(dtype: Any) -> bool:
    """Whether arrays of this type are integers modulo 2^32 in the exact domain."""
    return jnp.issubdtype(dtype, jnp.floating)


def to_exact(x: Any) -> Array:
    """A concrete array in the exact domain: floating numbers become int32, the rest stays.

    Integral values are themselves modulo 2^32, infinities are the extremes of int32, NaN is a
    fixed number; all else is an odd number that depends on the value only, not on its type (odd,
    so that scaling by it loses nothing).

    **Raises:** `TypeError` for complex numbers, and JAX's error for a floating array that is
    traced.
    """
    if not isinstance(x, jax.Array):
        x = np.asarray(x)
        x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype))
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError("The exact evaluator knows no complex numbers.")
    return jnp.asarray(_constant(np.asarray(x)) if is_float(x.dtype) else x)


def _constant(x: np.ndarray) -> np.ndarray:
    shape, x = x.shape, x.astype(np.float64).reshape(-1)  # NumPy warns of overflow in scalars
    finite = np.where(np.isfinite(x), x, 0.0)
    integral = np.fmod(finite, 2.0**32).astype(np.int64).astype(np.uint32)
    words = finite.view(np.uint64)
    low, high = words.astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)
    other = _mix(_mix(_SALT ^ low) ^ high) | np.uint32(1)
    bits = np.where(finite == np.trunc(finite), integral, other).view(np.int32)
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    infinite = np.where(np.isnan(x), _NAN, np.where(x < 0, lowest, highest)).astype(np.int32)
    return np.where(np.isfinite(x), bits, infinite).reshape(shape)


def _mix(h: Any) -> Any:
    """The finaliser of murmur3: a bijection of 32 bits, of NumPy or JAX arrays."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def interpret(eqn: JaxprEqn, values: Sequence[Any]) -> tuple[list[Array], Ties]:
    """The results of an equation whose primitive calls nothing, and whether it met a tie.

    **Raises:** `NotExactError` for a primitive without a rule.
    """
    dtypes = _dtypes(eqn)
    if any(jnp.issubdtype(t, jnp.complexfloating) for t in dtypes):
        raise NotExactError(eqn, "complex numbers are not integers")
    name = eqn.primitive.name
    if name in _RULES:
        results = _RULES[name](eqn, values)
    elif not any(map(is_float, dtypes)):
        if not all(map(_is_plain, _inner(eqn))):
            raise NotExactError(eqn, "it calls a function in a way that is not known")
        results = _bind(eqn, values)
    elif name in STRUCTURE | RING | ORDER | WINDOWS:
        results = _bind(eqn, values)
    elif name in HASHED:
        results = _hash(eqn, values)
    else:
        raise NotExactError(eqn, "it has no reading on integers modulo 2^32")
    return results, _TIES[name](eqn, values, results) if name in _TIES else None


class NotExactError(NotImplementedError):
    """An equation has no exact meaning."""

    def __init__(self, eqn: JaxprEqn, reason: str):
        super().__init__(reason)
        self.name, self.reason, self.where = eqn.primitive.name, reason, ""

    def locate(self, eqn: JaxprEqn) -> None:
        """Point to the line of an equation, unless that of one within it is known already."""
        self.where = self.where or source_info_util.summarize(eqn.source_info)

    def __str__(self) -> str:
        return (
            f"`{self.name}` at {self.where} cannot be evaluated exactly: {self.reason}. Keep it "
            "out of the traced function (let its result be an argument), or give it a rule in "
            "proofs/_exact_rules.py."
        )


def subjaxprs(eqn: JaxprEqn) -> Iterator[ClosedJaxpr]:
    """All programs among the parameters of an equation."""
    for parameter in eqn.params.values():
        for x in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(x, ClosedJaxpr):
                yield x
            elif isinstance(x, Jaxpr):
                yield ClosedJaxpr(x, ())


def may_tie(jaxpr: Jaxpr) -> bool:
    """Whether a program holds any primitive that can meet a tie."""
    return any(
        eqn.primitive.name in _TIES or any(may_tie(sub.jaxpr) for sub in subjaxprs(eqn))
        for eqn in jaxpr.eqns
    )


def _inner(eqn: JaxprEqn) -> Iterator[JaxprEqn]:
    for sub in subjaxprs(eqn):
        for inner in sub.jaxpr.eqns:
            yield inner
            yield from _inner(inner)


def _is_plain(eqn: JaxprEqn) -> bool:
    special = eqn.primitive.name in _TIES or eqn.primitive.name == "random_bits"
    return not special and not any(map(is_float, _dtypes(eqn)))


def _dtypes(eqn: JaxprEqn) -> list[Any]:
    """The types of all operands and results that have one (tokens have none)."""
    avals: list[Any] = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    return [aval.dtype for aval in avals if hasattr(aval, "dtype")]


def _result(eqn: JaxprEqn) -> Any:
    return eqn.outvars[0].aval


# --------------------------------------------------------------------------------------- rules


def _bind(eqn: JaxprEqn, values: Sequence[Any], **changes: Any) -> list[Array]:
    """The primitive itself, on int32 where it was on floating numbers."""
    parameters = {k: _exact_dtype(v) for k, v in eqn.params.items()} | changes
    results = eqn.primitive.bind(*values, **parameters)
    return list(results) if eqn.primitive.multiple_results else [results]


def _exact_dtype(parameter: Any) -> Any:
    if isinstance(parameter, np.dtype) and is_float(parameter):
        return np.dtype(np.int32)
    return parameter


def _hash(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    out = _result(eqn)
    meaning = sorted((k, repr(v)) for k, v in eqn.params.items() if k not in _HOW)
    h: Any = np.uint32(zlib.crc32(repr((eqn.primitive.name, meaning)).encode()))
    for value in values:
        for word in _words(value):
            axes = range(len(out.shape) - word.ndim, len(out.shape))
            h = _mix(h ^ lax.broadcast_in_dim(word, out.shape, axes))
    if out.dtype == bool:
        return [lax.convert_element_type(h & np.uint32(1), bool)]
    return [lax.convert_element_type(h, _exact_dtype(np.dtype(out.dtype)))]


def _words(x: Any) -> list[UInt32[Array, "..."]]:
    x = jnp.asarray(x)
    if x.dtype.itemsize <= 4:
        return [lax.convert_element_type(x, np.uint32)]
    high = lax.shift_right_logical(x, lax.full_like(x, 32))
    return [lax.convert_element_type(part, np.uint32) for part in (x, high)]


def _integers(values: Sequence[Any]) -> list[Int32[Array, "..."]]:
    return [lax.convert_element_type(x, np.int32) for x in values]


def _convert(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    dtype = _result(eqn).dtype
    return [lax.convert_element_type(values[0], np.int32 if is_float(dtype) else dtype)]


def _bitcast(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    before, after = np.shape(values[0]), _result(eqn).shape
    if not any(map(is_float, _dtypes(eqn))):
        return _bind(eqn, values)
    if before != after:
        raise NotExactError(eqn, "it takes floating numbers apart, or joins them")
    return _hash(eqn, values)


def _multiply(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    floating = is_float(_result(eqn).dtype)
    return _bind(eqn, _integers(values) if floating else values)


def _dot(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    if not is_float(_result(eqn).dtype):
        return _bind(eqn, values)
    return _bind(eqn, _integers(values), precision=None, preferred_element_type=np.dtype(np.int32))


def _power(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    rule = _hash if eqn.params["y"] < 0 and is_float(_result(eqn).dtype) else _bind
    return rule(eqn, values)


def _gather(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    if not is_float(_result(eqn).dtype):
        return _bind(eqn, values)
    fill = eqn.params["fill_value"]
    return _bind(
        eqn, values, fill_value=int(_constant(np.asarray(np.nan if fill is None else fill)))
    )


def _scatter(eqn: JaxprEqn, values: Sequence[Any]) -> list[Array]:
    if not is_float(_result(eqn).dtype):
        return _bind(eqn, values)
    if eqn.primitive.name == "scatter" and eqn.params["update_jaxpr"] is not None:
        raise NotExactError(eqn, "it applies a function in place")
    # The operation is a program on floating numbers in the parameters: build it anew.
    function = getattr(lax, eqn.primitive.name.replace("-", "_"))
    return [function(*values, **_scatter_options(eqn))]


def _scatter_options(eqn: JaxprEqn) -> dict[str, Any]:
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    return {name: eqn.params[name] for name in names}


_RULES: dict[str, Callable[[JaxprEqn, Sequence[Any]], list[Array]]] = {
    "bitcast_convert_type": _bitcast,
    "convert_element_type": _convert,
    "dot_general": _dot,
    "gather": _gather,
    "integer_pow": _power,
    "mul": _multiply,
} | {f"scatter{kind}": _scatter for kind in ("", "-add", "-sub", "-mul", "-max", "-min")}


# ---------------------------------------------------------------------------------------- ties


def _tied_extremes(eqn: JaxprEqn, values: Sequence[Any], results: list[Array]) -> Ties:
    (axis,) = eqn.params["axes"]
    x = jnp.asarray(values[0])
    if x.shape[axis] <= 1:
        return None
    extreme = jnp.max if eqn.primitive.name == "argmax" else jnp.min
    found = x == extreme(x, axis=axis, keepdims=True)
    return jnp.any(jnp.sum(found, axis=axis, dtype=np.int32) > 1)


def _tied_keys(eqn: JaxprEqn, values: Sequence[Any], results: list[Array]) -> Ties:
    keys = results[: eqn.params["num_keys"]]
    # If all operands are keys, those that tie are the same in all respects.
    return _neighbours(keys, eqn.params["dimension"]) if len(results) > len(keys) else None


def _tied_places(eqn: JaxprEqn, values: Sequence[Any], results: list[Array]) -> Ties:
    axis = eqn.params.get("axis", -1) % np.ndim(values[0])
    x = lax.sort(jnp.asarray(values[0]), dimension=axis)
    size = x.shape[axis]
    rivals = lax.slice_in_dim(x, max(size - eqn.params["k"] - 1, 0), size, axis=axis)
    return _neighbours([rivals], axis) if eqn.params["k"] else None


def _neighbours(keys: Sequence[Array], axis: int) -> Ties:
    """Whether two places next to each other along the axis agree in all keys."""
    size = keys[0].shape[axis]
    if size <= 1:
        return None
    same = [
        lax.slice_in_dim(key, 1, size, axis=axis) == lax.slice_in_dim(key, 0, size - 1, axis=axis)
        for key in keys
    ]
    return jnp.any(jnp.all(jnp.stack(same), axis=0))


def _collisions(eqn: JaxprEqn, values: Sequence[Any], results: list[Array]) -> Ties:
    operand, indices, updates = values
    if np.prod(np.shape(indices)[:-1]) <= 1:
        return None
    options: dict[str, Any] = _scatter_options(eqn) | {"unique_indices": False}
    ones = jnp.ones(np.shape(updates), np.int32)
    return jnp.any(
        lax.scatter_add(jnp.zeros(np.shape(operand), np.int32), indices, ones, **options) > 1
    )


_TIES: dict[str, Callable[[JaxprEqn, Sequence[Any], list[Array]], Ties]] = {
    "argmax": _tied_extremes,
    "argmin": _tied_extremes,
    "scatter": _collisions,
    "sort": _tied_keys,
    "top_k": _tied_places,
}
