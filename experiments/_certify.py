"""`symla certify`: prove the symmetries of one thing, or of every learner that there is."""

import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import proofs

from ._options import Certify
from ._targets import find_target, from_here, importable_from_here
from .table_1 import ENTRIES, decide

_COLOURS = {"PROVED": "bold green", "REFUTED": "bold red", "UNKNOWN": "bold yellow"}
_WIDEST = 100
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEGEND = (
    "Black box: the meta-variables influence the next learned variables, and take part in every "
    "action.",
    "Symmetries: PROVED: where sensors and actions are reordered, the learner does the same, "
    "reordered likewise, in law and whatever its parameters. REFUTED: there is a counter-example. "
    "UNKNOWN: neither is known.",
)


def certify(options: Certify) -> dict:
    """Carry out `symla certify`.

    **Raises:** `ValueError` for a target that cannot be found, or about which nothing is claimed.
    """
    if options.table and options.target is not None:
        raise ValueError(f"Give a target or --table, not both; got {options.target!r} and --table.")
    if options.table:
        return {"table": _table_1()}
    if options.target is None:
        raise ValueError(
            "Say what to certify: MODULE:NAME for an object of your own, the name of a learner "
            "(see symla list learners), pretrained:NAME, or a .symla file; or --table for every "
            "learner."
        )
    with importable_from_here():
        certificate = proofs.certify(find_target(options.target))
    return {"target": options.target, **describe(certificate)}


def show_certify(result: dict) -> None:
    """A certificate as text, or the table of all."""
    if "table" in result:
        _show_table(result["table"])
        return
    first, *rest = result["text"].splitlines()
    _print(first, style=_COLOURS[result["verdict"]])
    for line in rest:
        _print(line)
    count = f", {result['equations']} equations" if result["proved"] else ""
    _print(f"{result['seconds']:.1f} s{count}")


def describe(certificate: proofs.Certificate) -> dict:
    """A certificate in what JSON can hold."""
    claim, witness = certificate.claim, certificate.witness
    faults = [{"output": place, **vars(fault)} for place, fault in certificate.faults]
    result = {
        "title": claim.title,
        "verdict": certificate.verdict,
        "proved": bool(certificate),
        "labels": claim.signature.labels,
        "sizes": None if claim.sizes is None else dict(claim.sizes),
        "randomness": claim.randomness,
        "signature": str(claim.signature),
        "assumptions": list(certificate.assumptions),
        "faults": faults,
        "witness": None if witness is None else _plain({**vars(witness), "text": str(witness)}),
        "reason": certificate.reason,
        "equations": certificate.equations,
        "swept": list(certificate.swept),
        "seconds": round(certificate.seconds, 3),
        "text": str(certificate),
    }
    return from_here(result)


def _table_1() -> list[dict]:
    """Each learner, and what the program has decided of it."""
    from rich.console import Console

    rows = []
    with Console(stderr=True).status("") as status:
        for entry in ENTRIES:
            status.update(f"certifying {entry.name}")
            black_box, certificate = decide(entry)
            rows.append(
                {
                    "learner": entry.name,
                    "meta_variables": entry.meta_variables,
                    "learned_variables": entry.learned_variables,
                    "algorithm": entry.algorithm,
                    "black_box": black_box,
                    "symmetries": certificate.verdict,
                    "certificate": describe(certificate),
                }
            )
    return rows


def _show_table(rows: list[dict]) -> None:
    from ._commands import table

    notes: list[str] = []
    cells = []
    for row in rows:
        verdict, note = row["symmetries"], _note(row["certificate"])
        if note:
            mark = str(len(notes) + 1).translate(_SUPERSCRIPT)
            notes.append(f"{mark} {row['learner']}: {note}")
            verdict += mark
        texts = [row[k] for k in ("learner", "meta_variables", "learned_variables", "algorithm")]
        cells.append([*texts, "yes" if row["black_box"] else "no", verdict])
    columns = ["learner", "meta-variables", "learned variables", "algorithm", "black\nbox"]
    title = "Table 1, as the program decides it"
    table(title, [*columns, "symmetries"], cells, whole=("learner", "meta-variables", "symmetries"))
    for line in (*_LEGEND, *notes):
        _print(line)


def _note(certificate: dict) -> str:
    """What a footnote says of a verdict: why it is none, or at which sizes it was shown."""
    if certificate["proved"] and certificate["sizes"] is None:
        return ""
    if certificate["proved"]:
        sizes = ", ".join(f"{name}={size}" for name, size in certificate["sizes"].items())
        return f"at the sizes {sizes}, the only ones it can have."
    words = []
    for fault in certificate["faults"][:1]:
        verb = "breaks the symmetry" if fault["breaks"] else "is not understood"
        place = f"at {fault['where']}" + (f": {fault['source']}" if fault["source"] else "")
        words.append(f"`{fault['primitive']}` {verb}, {fault['reason']}, {place}.")
    if certificate["witness"] is not None:
        words.append(_counter_example(certificate["witness"]))
    if certificate["reason"]:
        words.append(certificate["reason"].splitlines()[0])
    return " ".join(words)


def _counter_example(witness: dict) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in witness["sizes"].items())
    moved = [
        f"{label} to the order {order}"
        for label, order in witness["permutations"].items()
        if order != sorted(order)
    ]
    return (
        f"Counter-example: at sizes {sizes}, bring {' and '.join(moved)}, and "
        f"{witness['differing']} of {witness['total']} entries of "
        f"{witness['place'] or 'the output'} are not what they should be."
    )


def _plain(value: Any) -> Any:
    """Arrays and keys as lists and numbers."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    return list(value) if isinstance(value, tuple) else value


def _print(line: str, style: str | None = None) -> None:
    """Show a line, continued under itself where the terminal is narrower."""
    from rich.console import Console

    console = Console(highlight=False)
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    hang = indent + ("  " if text.startswith("- ") else "")
    # A line of source is no prose.
    whole = [line] if text.startswith("|") or not text else []
    lines = whole or textwrap.wrap(
        text,
        min(console.width, _WIDEST),
        initial_indent=indent,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for one in lines:
        console.print(one, style=style, markup=False, soft_wrap=True)
