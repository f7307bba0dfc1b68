"""Colours and lines that all figures share."""

INK, SOFT, FAINT = "#222222", "#555555", "#8a8a8a"
# The colours of Okabe and Ito, which colour-blind readers tell apart.
RED, BLUE, GREEN, PINK, ORANGE, SKY = (
    *("#d55e00", "#0072b2", "#009e73"),
    *("#cc79a7", "#e69f00", "#56b4e9"),
)
BROWN = "#7a4b2a"  # of none of these, for an eighth
LEVELS = ((0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))  # lines of what is compared with
OPEN: dict = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
