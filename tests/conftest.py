from jaxtyping import install_import_hook

# Before any import of ours. Not `proofs`: beartype samples containers with `random`, which
# Hypothesis refuses inside strategies.
install_import_hook(["vsml", "rl", "meta", "experiments"], "beartype.beartype")

import gc
import itertools
import os
import signal
import zlib
from collections.abc import Callable, Iterator

from compilation import PLAIN

# XLA reads it when JAX starts, and subprocesses inherit it. What the user sets wins.
_CHOSEN = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join([*(x for x in PLAIN if x not in _CHOSEN), *_CHOSEN])

import jax
import pytest
from hypothesis import HealthCheck, settings
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jaxtyping import PRNGKeyArray

# A shell starts jobs in the background deaf to Ctrl-C, and what they start is, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")

# JAX compiles on the first example of a shape, so wall-clock deadlines would measure the compiler
# and not the property.
_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("dev", max_examples=20, **_COMMON)
settings.register_profile("ci", max_examples=20, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needs_gpu and jax.default_backend() == "cpu":
        for item in needs_gpu:
            item.add_marker(pytest.mark.skip(reason="JAX sees no accelerator"))


def pytest_collection_finish() -> None:
    """What was imported stays, so that the garbage collector need not look at it again and again.

    Tracing makes many objects that live for a while: seldom looked at is a fifth of the time saved.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], PRNGKeyArray]:
    """`getkey()` is a fresh random key at each call, and the same ones at each run of the test."""
    key = jax.random.key(zlib.crc32(request.node.nodeid.encode()))
    calls = itertools.count()
    return lambda: jax.random.fold_in(key, next(calls))


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_code() -> Iterator[None]:
    yield
    jax.clear_caches()
    gc.collect()


_CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(scope="module")
def cheap_compilation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """In a module that asks for it, equal programs are compiled once."""
    before = {name: getattr(jax.config, name, False) for name in _CACHE}
    folder = before[_CACHE[0]] or str(tmp_path_factory.mktemp("cache"))
    changes = dict(zip(_CACHE, (folder, 0.0), strict=True))
    for name, value in changes.items():
        jax.config.update(name, value)
    reset_cache()
    yield changes
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()
