"""How XLA compiles the programs of the tests: most of their time goes to programs that run once."""

from importlib.metadata import version

# Each option of XLA as the tests have it, and as it is by default.
_OPTIONS: dict[str, tuple[str | bool, str | bool]] = {
    "xla_backend_optimization_level": ("0", "3"),
    "xla_llvm_disable_expensive_passes": (True, False),
    "xla_cpu_parallel_codegen_split_count": ("1", "32"),
}
if version("jaxlib").startswith("0.10."):  # later ones refuse it
    _OPTIONS["xla_cpu_use_fusion_emitters"] = (False, True)

PLAIN = [f"--{name}={str(plain).lower()}" for name, (plain, _) in _OPTIONS.items()]
"""For `XLA_FLAGS`: programs are compiled quickly."""

OPTIMISED = {name: usual for name, (_, usual) in _OPTIONS.items()}
"""For `compiler_options`: a program is compiled as users have it."""
