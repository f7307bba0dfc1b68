"""How long `proofs.certify` takes, each object in a fresh Python process.

    python benchmarks/certify.py

`import`: seconds until all is imported, JAX included. `first`: seconds of the first certificate,
the first trace of the process included. `second`: the same again. `no sweep`: at symbolic sizes
only. `traces`: how many sizes the sweep looks at.
"""

import subprocess
import sys
import time

CASES = {
    "Layer": "vsml.Layer(key=key)",
    "Network of 3 layers": "vsml.Network(vsml.Layer(key=key), 3)",
    "SymLA": "rl.SymLA(key=key)",
    "SymLA of 3 layers": "rl.SymLA(hidden_sizes=(8, 8), key=key)",
    "MetaRNN": "rl.MetaRNN(3, 2, key=key)",
    "UCB1": "rl.classic.UCB1()",
    "SymLA with a bandit": "proofs.closed_loop(rl.SymLA(key=key), bandit, ('B',))",
}


def measure(title: str) -> None:
    """Certify one of the cases in this process."""
    began = time.perf_counter()
    import jax

    import proofs
    import rl
    import rl.classic
    import rl.envs
    import vsml

    def bandit(probs: jax.Array) -> rl.Task:
        environment = rl.envs.BernoulliBandit(probs.shape[0])
        params = environment.default_params.replace(probs=probs)  # pyright: ignore
        return rl.Task(environment, params)

    imported = time.perf_counter() - began
    names = {"proofs": proofs, "rl": rl, "vsml": vsml, "bandit": bandit, "key": jax.random.key(0)}
    target = eval(CASES[title], names)
    first, second = proofs.certify(target), proofs.certify(target)
    symbolic = proofs.certify(target, sweep=())
    print(
        f"{title:<22}{first.verdict:>8}{imported:>9.2f}{first.seconds:>9.2f}{second.seconds:>9.2f}"
        f"{symbolic.seconds:>10.2f}{first.equations:>11}{1 + len(first.swept):>8}",
        flush=True,
    )


def main() -> None:
    """Certify each of the cases in a process of its own."""
    print(
        f"{'seconds':<22}{'verdict':>8}{'import':>9}{'first':>9}{'second':>9}{'no sweep':>10}"
        f"{'equations':>11}{'traces':>8}"
    )
    for title in CASES:
        subprocess.run([sys.executable, __file__, title], check=True)


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
