"""Colours, lines and letters that all figures share."""

import textwrap

INK, SOFT, FAINT = "#222222", "#555555", "#8a8a8a"
# The colours of Okabe and Ito, which colour-blind readers tell apart.
RED, BLUE, GREEN, PINK, ORANGE, SKY = (
    *("#d55e00", "#0072b2", "#009e73"),
    *("#cc79a7", "#e69f00", "#56b4e9"),
)
BROWN = "#7a4b2a"  # of none of these, for an eighth
LEVELS = ((0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))  # lines of what is compared with
OPEN: dict = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}

LETTERS = {7: 17.5, 8: 15.0, 11: 9.0}  # in one inch, by their size in points; titles of 11 are bold


def wrapped(text: str, width: float, size: int) -> str:
    """A text in lines that fit into so many inches, of letters of a size of `LETTERS`."""
    return "\n".join(textwrap.wrap(text, int(width * LETTERS[size])))
