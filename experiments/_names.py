"""The names that the command line knows, and what it says of a name it does not know."""

import difflib
from collections.abc import Iterable

TRAINABLE: dict[str, str] = {
    "symla": "SymLA with the choices that work best here",
    "symla-paper": "SymLA as the paper prints it",
    "symla-official": "SymLA with the choices of the code of VSML, its relative",
    "metarnn": "one LSTM over the history of a life (RL2); its sizes are fixed",
    "maml": "initial weights that policy gradients go far from (MAML); its sizes are fixed",
    "metagenrl": "a policy that follows a learned objective, with critics (MetaGenRL)",
    "epg": "a policy that follows an evolved loss (EPG); its sizes are fixed",
    "lpg": "a learned policy gradient with predictions of its own (LPG)",
}
PLAYERS: dict[str, str] = {
    "random": "does anything, whatever happens",
    "reinforce": "REINFORCE with a baseline, from one stream of experience, on any task",
    "a2c": "advantage actor-critic, likewise",
    "a3c": "advantage actor-critic with generalised advantages and a bonus for entropy, likewise",
    "a2c-meta-gradient": "A2C that tunes its discount and lambda by meta-gradients, likewise",
    "ppo": "proximal policy optimisation, likewise",
    "td3": "twin delayed deterministic policy gradients, likewise, for continuous actions",
    "reinforce-off-policy": "REINFORCE on a replay memory (MetaGenRL's baseline), likewise",
    "thompson": "Thompson sampling with a uniform prior",
    "ucb1": "upper confidence bounds",
    "greedy": "the best posterior mean, no exploration",
    "optimal": "Bayes-optimal for 2 arms and the length of the life",
    "psrl": "posterior sampling, in tabular decision processes",
}
COMMANDS = ("demo", "train", "evaluate", "matrix", "reproduce", "certify", "watch", "bench", "list")
BENCH_CASES = ("bandit", "control", "image", "wide")
BENCH_PRESETS = ("laptop", "gpu")
LISTS = (
    "tasks",
    "wrappers",
    "curricula",
    "learners",
    "figures",
    "pretrained",
    "presets",
    "outer-loops",
)
SHAPINGS = ("rank", "zscore", "none")
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
COMMON_RANDOM_NUMBERS = ("population", "pair", "none")
FITNESSES = ("regret", "reward")
REDUCTIONS = ("mean", "scaled", "sum")
NORMALISATIONS = ("none", "running")


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """`name`, if it is known.

    **Arguments:**

    - `kind`: what it is a name of, for the message.
    - `name`: what somebody asked for.
    - `known`: the names there are.

    **Raises:** `ValueError` with the nearest known name, or all of them if none is near.
    """
    known = list(known)
    if name not in known:
        raise unknown(kind, name, known)
    return name


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known, with the nearest that is, or all if none is near."""
    return ValueError(f"There is no {kind} {name!r}. {nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known: the nearest that is, or all if none is near."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known) or 'none'}."


def parse_arms(text: str) -> int | tuple[int, int]:
    """Read a number of arms (`"8"`), or the least and the most (`"2-12"` or `"2..12"`).

    **Raises:** `ValueError` if it is neither, or cannot be.
    """
    least, dash, most = text.strip().replace("..", "-").partition("-")
    try:
        low = int(least)
        high = int(most) if dash else low
    except ValueError:
        raise ValueError(
            f"`--arms` is a number such as 8, or the least and the most such as 2-12; got {text!r}."
        ) from None
    if low < 1 or high < low:
        raise ValueError(
            f"`--arms` must be at least 1, and the most no fewer than the least; got {text!r}."
        )
    return low if low == high else (low, high)


def show_arms(arms: int | tuple[int, int]) -> int | str:
    """The arms as results name them: a number, or `"2-12"`."""
    return arms if isinstance(arms, int) else f"{arms[0]}-{arms[1]}"


def check_at_least_one(**numbers: int) -> None:
    """Refuse a size or a count below one, by the name of its option.

    **Raises:** `ValueError`.
    """
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"`--{name.replace('_', '-')}` must be at least 1, got {value}.")
