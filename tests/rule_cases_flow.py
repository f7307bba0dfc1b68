"""Uses of the certifier's rules, right and wrong: indices, loops, branches, random numbers."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax import lax
from rule_cases import (
    A_MEETS_B,
    A_MEETS_NUMBERS,
    A_MEETS_ORDER,
    ARE_NUMBERS,
    MEETS,
    bad,
    law,
    ok,
    sized,
)

from proofs._rules_control import ROUNDS

# ---------------------------------------------------------------------------- reading and writing


def read_part(x, i, size=2):
    return lax.dynamic_slice(x, (i,), (size,), allow_negative_indices=False)


def write_part(x, y, i):
    return lax.dynamic_update_slice(x, y, (i,), allow_negative_indices=False)


OTHER_SIZE = "at a position along 'B', in an axis of size 3, not 4"
NONE = "at a position along 'A' that may be none"
ok(
    "dynamic_slice",
    (lambda x, i: x[i], "A B, @A", "[B]"),
    (lambda x, i: read_part(x, i, 1), "A, @A", "[~]"),
    (read_part, "t, int", "[.]"),
    (lambda x, i: read_part(x, i, 3), "A, int", "[A]"),
    (lambda y, i: y[i], "A @B?, @A", "[] @B?"),
    (lambda x, i: read_part(jnp.zeros(3), i, 2), "A, int", "[~]"),
    (lambda x: x[jnp.argmax(x)], "A", "[]"),
)
bad(
    "dynamic_slice",
    (lambda x, i: x[i], "A, int", "reads at a fixed position of 'A'"),
    (read_part, "A, int", "reads a part of 'A'"),
    (read_part, "A, @A", ARE_NUMBERS),
    (lambda x, i: x[i], "A, @B", A_MEETS_B),
    sized(lambda x, i: x[i], "A, @B", OTHER_SIZE, B=4),
    (lambda x, i: x[i], "t, @A", A_MEETS_ORDER),
    (lambda x, i: read_part(x, i, 1), "A, @A?", NONE),
)
ok(
    "dynamic_update_slice",
    (lambda x, y, i: write_part(x, y[None], i), "A, , @A", "[A]"),
    (lambda x, y, i: write_part(x, y, i), "t, 2, int", "[.]"),
    (lambda x, y, i: write_part(x, y, i), "A, A, int", "[A]"),
    (lambda y, i: write_part(jnp.zeros(3), y[None], i), ", @A", "[A]"),
    (lambda y, i: write_part(jnp.zeros(3), y[None], i), ", int", "[.]"),
    (lambda z, j, i: write_part(z, j[None], i), "A @B, @B?, @A", "[A] @B?"),
)
bad(
    "dynamic_update_slice",
    (lambda x, y, i: write_part(x, y[None], i), "A, , int", "writes at a fixed position of 'A'"),
    (lambda x, y, i: write_part(x, y, i), "A, 2, int", "writes a part of 'A'"),
    (lambda x, y, i: write_part(x, y, i), "A, B, int", A_MEETS_B),
    (lambda x, y, i: write_part(x, y[None], i), "A, , @B", A_MEETS_B),
    (lambda x, y, i: write_part(x, y[None], i), "A, , @A?", NONE),
    (lambda z, j, i: write_part(z, j[None], i), "A @B, @C, @A", "'B' meets .* 'C'"),
    sized(lambda x, y, i: write_part(x, y, i), "t, B, int", "in the order of 'B'", t=4),
)


bad("concatenate", (lambda x, i, j: x[i, j], "A B, C @A, t @B", "'C' meets .* fixed positions"))


def get(x, i, mode):
    return x.at[i].get(mode=mode, wrap_negative_indices=False)


def put(x, i, y, mode, **how):
    return x.at[i].set(y, mode=mode, wrap_negative_indices=False, **how)


def windows(x, starts, size=2):
    return jax.vmap(lambda row, i: read_part(row, i, size))(x, starts)


MODES = ("fill", "clip", "promise_in_bounds")
for mode in MODES:
    ok(
        "gather",
        (lambda x, i, m=mode: get(x, i, m), "A B, t @A", "[. B]"),
        (lambda x, i, m=mode: get(x, i, m), "A, C @A", "[C]"),
        (lambda x, i, m=mode: get(x, i, m), "t, int A", "[A]"),
        (lambda y, i, m=mode: get(y, i, m), "A @B, t @A", "[.] @B"),
        (lambda y, i, m=mode: get(y, i, m), "A @B?, t @A", "[.] @B?"),
        (lambda x, i, m=mode: get(x, (i, i), m), "A A, t @A", "[.]"),
        (lambda x, i, j, m=mode: get(x, (i, j), m), "A B, t @A, t @B", "[.]"),
        (lambda x, i, j, m=mode: get(x, (i, j), m), "A u, t @A, int t", "[.]"),
        (lambda x, m=mode: get(x, jnp.arange(3), m), "A B", "[A B]"),
        (lambda x, m=mode: get(x, (jnp.arange(3), jnp.arange(3)), m), "A A", "[A]"),
        (lambda x, i, m=mode: get(x, (slice(None), i), m), "A B, t @B", "[A .]"),
    )
    bad(
        "gather",
        (lambda x, i, m=mode: get(x, i, m), "A, int t", "reads at a fixed position of 'A'"),
        (lambda x, i, m=mode: get(x, i, m), "A, t @B", A_MEETS_B),
        (lambda x, i, m=mode: get(x, i, m), "u, t @A", A_MEETS_ORDER),
        (lambda x, i, j, m=mode: get(x, (j, i), m), "A B, t @A, t @B", "meets an axis perm"),
        (lambda x, i, j, m=mode: get(x, (i, j), m), "A B, t @A, int t", "fixed position of 'B'"),
        (lambda x, m=mode: get(x, (jnp.arange(3),) * 2, m), "A B", MEETS),
        sized(lambda x, i, m=mode: get(x, i, m), "A, t @B", OTHER_SIZE, B=4),
        sized(lambda x, i, m=mode: get(x, i, m), "A, t @B", "size 3, not 2", B=2),
    )
ok(
    "gather",
    (lambda x, i: get(x, i, "fill"), "A, t @A?", "[.]"),
    (lambda x, i: get(x, (i, i), "fill"), "A A, t @A?", "[.]"),
    (lambda x, i: jax.vmap(lambda row, j: row[j])(x, i), "A B, A @B", "[A]"),
    (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 0), 0), "A B", "[. B]"),
    (windows, "A t, int A", "[A .]"),
    (lambda x, i: windows(x, i, 3), "A B, int A", "[A B]"),
)
bad(
    "gather",
    (lambda x, i: get(x, i, "clip"), "A, t @A?", NONE),
    (lambda x, i: get(x, i, "promise_in_bounds"), "A, t @A?", NONE),
    # Where nothing is read there is a filler, which is no position.
    (lambda y, i: get(y, i, "fill"), "A @B, t @A?", "positions along 'B' are used as numbers"),
    (lambda y, i: get(y, i, "fill"), "u @B, int t", "positions along 'B' are used as numbers"),
    (lambda x, i: jax.vmap(lambda row, j: row[j])(x, i), "A B, C @B", "'A' meets|'C' meets"),
    (windows, "A B, int A", "reads a part of 'B'"),
    (windows, "A t, A @B", "positions along 'B' say where a window starts"),
    (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 0), "A B", "meets"),
)

TWICE = "unknown: it may write an element twice, and the order along 'C' would matter"
ok(
    "scatter",
    (lambda x, i: x.at[i].set(1.0), "A, @A", "[A]"),
    (lambda x, i, y: x.at[i].set(y), "A B, @A, B", "[A B]"),
    (lambda x, i, y: x.at[i].set(y), "A, t @A, t", "[A]"),
    (lambda x, i: put(x, i, 1.0, "drop"), "A, t @A?", "[A]"),
    (lambda x, i: x.at[i].set(1.0), "t, int u", "[.]"),
    (lambda i: jnp.zeros(3).at[i].set(1.0), "@A", "[A]"),
    (lambda i: jnp.zeros(3).at[i].set(1.0), "int", "[.]"),
    (lambda z, i, j: z.at[i].set(j), "A @B, t @A, t @B?", "[A] @B?"),
    (lambda x, i, y: x.at[i].set(y, unique_indices=True), "A, C @A, C", "[A]"),
    (lambda x, y: x.at[jnp.arange(3)].set(y, unique_indices=True), "A, A", "[A]"),
    (lambda x, i, j: x.at[i, j].set(1.0), "A B, t @A, t @B", "[A B]"),
    (lambda x, i, y: jax.vmap(lambda r, j, z: r.at[j].set(z))(x, i, y), "A B, A @B, A", "[A B]"),
)
bad(
    "scatter",
    (lambda x: x.at[0].set(1.0), "A", "writes at a fixed position of 'A'"),
    (lambda x, i: x.at[i].set(1.0), "A, int", "writes at a fixed position of 'A'"),
    (lambda x, i: x.at[i].set(1.0), "A, @B", A_MEETS_B),
    (lambda x, i, y: x.at[i].set(y), "A, C @A, C", TWICE),
    (lambda x, i: x.at[i].set(1.0), "A, C @A", TWICE),
    (lambda x, i: put(x, i, 1.0, "clip"), "A, t @A?", NONE),
    (lambda x, i: put(x, i, 1.0, "promise_in_bounds"), "A, t @A?", NONE),
    (lambda x, i, y: x.at[i].set(y), "A B, @A, A", "'B' meets .* 'A'"),
    (lambda z, i: z.at[i].set(0), "A @B, t @A", "positions along 'B' meet numbers"),
    (lambda x, i: x.at[i].apply(jnp.sin), "t, int", "unknown: it applies a function"),
    (lambda x: x.at[1:].set(0.0), "A", "'A'"),
    sized(lambda x, i: x.at[i].set(1.0), "A, @B", OTHER_SIZE, B=4),
)
METHODS = {"add": "add", "mul": "multiply", "min": "min", "max": "max", "sub": "subtract"}
for name, method in METHODS.items():

    def change(x, i, y, method=method, **how):
        return getattr(x.at[i], method)(y, **how)

    ok(
        f"scatter-{name}",
        (change, "A B, t @A, B", "[A B]"),
        (change, "A, C @A, C", "[A]"),
        (change, "t, int A, A", "[.]"),
        (lambda i, y, f=change: f(jnp.zeros(3), i, y), "C @A, C", "[A]"),
        (
            lambda x, i, y, f=change: f(x, i, y, mode="drop", wrap_negative_indices=False),
            "A, C @A?, C",
            "[A]",
        ),
    )
    bad(
        f"scatter-{name}",
        (change, "A, int C, C", "writes at a fixed position of 'A'"),
        (change, "A, C @B, C", A_MEETS_B),
        (change, "A, C @A, B", "'B' meets .* 'C'"),
        (
            lambda x, i, y, f=change: f(x, i, y, mode="clip", wrap_negative_indices=False),
            "A, C @A?, C",
            NONE,
        ),
        (lambda z, i, f=change: f(z, i, 1), "A @B, @A", "positions along 'B' are used"),
    )

# ------------------------------------------------------------------------ loops, branches and calls

ok("jit", (jax.jit(lambda x, i: x[i]), "A B, @A", "[B]"))
bad("cumsum", (jax.jit(lambda x: jnp.cumsum(x)), "A", "goes in order through 'A'"))
ok("remat2", (jax.checkpoint(lambda x: jnp.sin(x) * 2.0), "A", "[A]"))
bad("cumsum", (jax.checkpoint(lambda x: lax.cumsum(x)), "A", "goes in order through 'A'"))


@jax.custom_jvp
def twice(x):
    return 2.0 * x


twice.defjvp(lambda primals, tangents: (twice(*primals), 2.0 * tangents[0]))


@jax.custom_vjp
def running(x):
    return lax.cumsum(x)


running.defvjp(lambda x: (lax.cumsum(x), None), lambda _, g: (g,))
ok("custom_jvp_call", (twice, "A", "[A]"))
ok("custom_vjp_call", (running, "t", "[.]"))
bad("cumsum", (running, "A", "goes in order through 'A'"))
ok(
    "cond",
    (lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x), "bool, A", "[A]"),
    (lambda n, x: lax.switch(n, [jnp.sin, jnp.cos, jnp.zeros_like], x), "int, A", "[A]"),
    (lambda p, i: lax.cond(p, lambda: i, lambda: -1), "bool, @A", "[] @A?"),
    (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), "A", "[A]"),
    (lambda p, x: lax.cond(p, lambda x: (x, x[0]), lambda x: (x, 0.0), x)[0], "bool, A", "[A]"),
)
bad(
    "cond",
    (lambda p, x, y: lax.cond(p, lambda: x, lambda: y), "bool, A, B", MEETS),
    (lambda p, i: lax.cond(p, lambda: i, lambda: 0), "bool, @A", A_MEETS_NUMBERS),
    (lambda p, i, j: lax.cond(p, lambda: i, lambda: j), "bool, @A, @B", MEETS),
)
bad("clamp", (lambda i, x: lax.switch(i, [jnp.sin, jnp.cos], x), "@A, A", ARE_NUMBERS))
bad("cumsum", (lambda p, x: lax.cond(p, jnp.sin, lax.cumsum, x), "bool, A", "goes in order"))


def until(body, stop=lambda x: x.sum() < 9.0):
    return lambda x: lax.while_loop(stop, body, x)


ok(
    "while",
    (until(lambda x: x + 1.0), "A", "[A]"),
    (lambda x, n: lax.fori_loop(0, n, lambda k, y: y + x, jnp.zeros(3)), "A, int", "[A]"),
    (
        lambda x: lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[2], x), (0, x, x)),
        "A",
        "[], [A], [A]",
    ),
    (until(lambda i: jnp.where(True, i, -1), lambda i: jnp.all(i < 0)), "t @A?", "[.] @A?"),
)
bad(
    "while",
    (
        lambda x, y: lax.while_loop(lambda c: c[0].sum() < 9, lambda c: (c[1], c[0]), (x, y)),
        "A, B",
        "meets an axis permuted",
    ),
    (
        lambda x: lax.while_loop(lambda i: i < 0, lambda i: jnp.argmax(x), jnp.int32(0)),
        "A",
        A_MEETS_NUMBERS,
    ),
)
bad("lt", (lambda i: lax.while_loop(lambda i: i < 9, lambda i: i, i), "@A", ARE_NUMBERS))
bad("add", (until(lambda x: x + jnp.arange(3.0)), "A", A_MEETS_ORDER))


def chain(length):
    """A loop in which what is known of the first carry takes `length` rounds to the last."""

    def run(x):
        def body(carry, _):
            return (x, *carry[:-1]), None

        return lax.scan(body, (jnp.zeros(3),) * length, None, length=2)[0][-1]

    return run


def over(xs, init, body, **how):
    return lax.scan(body, init, xs, **how)


ok(
    "scan",
    (lambda x: lax.map(jnp.sin, x), "A B", "[A B]"),
    (lambda x: over(x, None, lambda c, r: (c, r), reverse=True)[1], "A B", "[A B]"),
    (lambda x, y: over((x, y), None, lambda c, r: (c, r[0] @ r[1]))[1], "A t, A t", "[A]"),
    (lambda i: lax.map(lambda j: j, i), "A @B?", "[A] @B?"),
    (lambda x: over(x, jnp.zeros(3), lambda c, r: (c + r, c)), "t A", "[A], [. A]"),
    (lambda x: over(x, x[0], lambda c, r: (c + r, c), reverse=True), "t A", "[A], [. A]"),
    (chain(5), "A", "[A]"),
    (chain(ROUNDS - 2), "A", "[A]"),
    (lambda x: over(None, x, lambda c, _: (2.0 * c, c.sum()), length=4), "A", "[A], [.]"),
    (
        lambda x: over(x, jnp.int32(-1), lambda i, r: (jnp.argmax(r), i)),
        "t A",
        "[] @A?, [.] @A?",
    ),
    (lambda x: over(x, jnp.argmax(x[0]), lambda i, r: (jnp.argmax(r), i)), "t A", "[] @A, [.] @A"),
    (lambda x: lax.map(lambda r: lax.cumsum(r), x), "A t", "[A .]"),
)
bad(
    "scan",
    (lambda x: over(x, 0.0, lambda c, r: (c + r, None))[0], "A", "goes in order through 'A'"),
    (lambda x, y: over((x, y), None, lambda c, r: (c, r[0] + r[1]))[1], "A, B", A_MEETS_B),
    (
        lambda x, y: over(None, (x, y), lambda c, _: ((c[1], c[0]), None), length=2)[0],
        "A, B",
        "meets an axis permuted",
    ),
    (
        lambda x: over(x, jnp.int32(0), lambda i, r: (jnp.argmax(r), None))[0],
        "t A",
        A_MEETS_NUMBERS,
    ),
    (chain(ROUNDS + 6), "A", f"unknown: the types of its carry do not settle in {ROUNDS} rounds"),
)


def counted(x):
    """The count is zero in the first round only."""

    def body(carry, _):
        count, y = carry
        return (count + 1, jnp.where(count == 0, y, y + jnp.arange(3.0))), None

    return lax.scan(body, (0, x), None, length=3)[0][1]


bad("add", (counted, "A", A_MEETS_ORDER))
bad("add", (lambda x: lax.map(lambda r: r + jnp.arange(3.0), x), "A B", "'B' meets .* fixed"))

# ---------------------------------------------------------------------------------- random numbers

AGAIN = "a random key is used a second time, first by"
ok(
    "random_bits",
    (lambda k: jr.bits(k, (3,)), "key", "[.]"),
    (lambda k: jax.vmap(jr.normal)(k), "key A", "[A]"),
    law(lambda k, x: jr.normal(k, (3,)) + x, "key, A", "[A]"),
    law(lambda k, x: jr.normal(k, (3, 3)) * x, "key, A B", "[A B]"),
    law(lambda k, x: jr.gumbel(k, (3, 2))[:, 1] * x, "key, A", "[A]"),
    law(lambda k, x: jnp.argmax(x + jr.gumbel(k, (3,))), "key, A", "[] @A"),
    law(lambda k, x: x[jr.bits(k, (3,)).argmax()], "key, A", "[]"),
    law(lambda k, x: jr.normal(k, (3,)) + jnp.arange(3.0), "key, A", "[.]"),
    law(lambda k, x: jax.vmap(lambda r: jr.normal(r) * 2.0)(k) + x, "key A, A", "[A]"),
    law(
        lambda k, x: over(jr.split(k, 3), x, lambda c, key: (c + jr.normal(key, (3,)), None))[0],
        "key, A",
        "[A]",
    ),
)
bad(
    "add",
    (lambda k, x: jr.normal(k, (3,)) + x, "key, A", f"{A_MEETS_ORDER}.* come from `random_bits`"),
    law(lambda k, x: jr.normal(jr.key(0), (3,)) + x, "key, A", "come from `random_bits`"),
)


def along_both(k, x, y):
    """The same noise along A and along B."""
    z = jr.normal(k, (3,))
    return z + x + 0.0 * (z + y).sum()


def along_and_in_order(k, x):
    """The same noise along A and in order."""
    z = jr.normal(k, (3,))
    return (z * jnp.arange(3.0)).sum() + z + x


def square_along_both(k, x, y):
    """Noise of A by A, used along A and B."""
    z = jr.normal(k, (3, 3))
    return (z + x[:, None] + y[None]) + (z + x[:, None] + x[None]).sum()


bad(
    "add",
    law(along_both, "key, A, B", MEETS),
    law(along_and_in_order, "key, A", A_MEETS_ORDER),
    law(square_along_both, "key, A, B", MEETS),
)
bad(
    "random_bits",
    law(lambda k: jr.bits(k, (3,)) + jr.bits(k, (3,)), "key", AGAIN + " random_bits"),
)
ok(
    "random_split",
    (lambda k: jax.vmap(jr.normal)(jr.split(k, 3)), "key", "[.]"),
    law(lambda k, x: jax.vmap(jr.normal)(jr.split(k, 3)) + x, "key, A", "[A]"),
    law(lambda k, x: jr.normal(jr.split(k)[0], (3,)) + x, "key, A", "[A]"),
)


def parted(k, x):
    """Different keys of one split."""
    one, other = jr.split(k)
    return jr.normal(one, (3,)) + x, jr.normal(other, (3,)) * x


ok("random_split", law(parted, "key, A", "[A], [A]"))
bad(
    "random_split",
    law(lambda k: (jr.normal(k), jr.normal(jr.split(k)[0]))[1], "key", AGAIN),
)
ok(
    "random_fold_in",
    (lambda k, n: jax.vmap(lambda m: jr.normal(jr.fold_in(k, m)))(n), "key, int t", "[.]"),
    law(
        lambda k, x: jr.normal(jr.fold_in(k, 1), (3,)) + x + jr.normal(jr.fold_in(k, 2), (3,)),
        "key, A",
        "[A]",
    ),
)
bad(
    "random_fold_in",
    (lambda k, i: jr.normal(jr.fold_in(k, i)), "key, @A", ARE_NUMBERS),
    law(
        lambda k: jr.normal(jr.fold_in(k, 1)) + jr.normal(jr.fold_in(k, 1)),
        "key",
        AGAIN + " fold_in",
    ),
    law(lambda k: jr.normal(k) + jr.normal(jr.fold_in(k, 1)), "key", AGAIN + " random_bits"),
)
ok("random_seed", (lambda n: jr.normal(jr.key(n), (2,)), "int", "[.]"))
bad("random_seed", (lambda i: jr.normal(jr.key(i)), "@A", ARE_NUMBERS))
ok("random_wrap", (lambda n: jr.normal(jr.wrap_key_data(n.astype("uint32"))), "int 2", "[]"))
bad(
    "random_wrap",
    sized(
        lambda n: jr.normal(jr.wrap_key_data(n.astype("uint32"))),
        "int A",
        "makes a key of the numbers along 'A'",
        A=2,
    ),
)
ok("random_unwrap", (lambda k: jr.key_data(k), "key A", "[A .]"))
ok("random_unwrap", law(lambda x: x + jr.key_data(jr.key(0))[0].astype(float), "A", "[A]"))
bad("random_unwrap", law(jr.key_data, "key", "unknown: the numbers inside of a random key"))
ok(
    "random_gamma",
    (lambda k, x: jr.gamma(k, x), "key, t", "[.]"),
    law(lambda k, x: jr.gamma(k, x), "key, A", "[A]"),
    law(lambda k, x: jr.gamma(k, x), "key, A t", "[A .]"),
)
bad(
    "random_gamma",
    (lambda k, x: jr.gamma(k, x), "key, A", A_MEETS_ORDER),
    law(lambda k, x: jr.gamma(k, x) + jr.gamma(k, x), "key, A", AGAIN + " random_gamma"),
)
