"""Draws docs/data-flow.png: python docs/data_flow.py."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, QUIET = "#1f2937", "#6b7280"
ROOMS = {"rl": "#dbeafe", "vsml": "#dcfce7", "meta": "#fde68a"}


def box(axis, x, y, width, height, text, room, size=9.5):
    """A box of a room with a text in it."""
    axis.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.12",
            facecolor=ROOMS[room],
            edgecolor=INK,
            linewidth=0.8,
        )
    )
    axis.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, color=INK
    )


def arrow(axis, start, end, text="", curve=0.0, shift=(0.0, 0.12), colour=INK):
    """An arrow with a text beside it."""
    axis.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            connectionstyle=f"arc3,rad={curve}",
            color=colour,
            linewidth=1.1,
            shrinkA=2,
            shrinkB=2,
        )
    )
    if text:
        x, y = (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1]
        axis.text(x, y, text, ha="center", va="bottom", fontsize=8, color=QUIET)


def main() -> None:
    """Draw the picture."""
    figure, axis = pyplot.subplots(figsize=(9.6, 4.9), layout="constrained")
    axis.set_xlim(0, 11.7)
    axis.set_ylim(0.1, 6.2)
    axis.axis("off")

    box(axis, 0.2, 2.6, 2.0, 1.3, "task\nenvironment\n+ parameters", "rl")
    grid_x, grid_y, step = 5.2, 2.05, 0.62
    for a in range(4):
        for b in range(3):
            axis.add_patch(
                FancyBboxPatch(
                    (grid_x + b * step * 1.35, grid_y + a * step),
                    step * 1.05,
                    step * 0.72,
                    boxstyle="round,pad=0.01,rounding_size=0.06",
                    facecolor=ROOMS["vsml"],
                    edgecolor=INK,
                    linewidth=0.7,
                )
            )
            axis.text(
                grid_x + b * step * 1.35 + step * 0.52,
                grid_y + a * step + step * 0.36,
                f"$h_{{{4 - a}{b + 1}}}$",
                ha="center",
                va="center",
                fontsize=8.5,
                color=INK,
            )
    axis.text(
        grid_x + 1.2,
        grid_y + 4 * step + 0.12,
        "A x B cells, one shared set of parameters",
        ha="center",
        fontsize=8.5,
        color=INK,
    )
    axis.text(
        grid_x + 1.2,
        grid_y - 0.3,
        "their states are what the learner learns",
        ha="center",
        fontsize=8,
        color=QUIET,
        style="italic",
    )
    box(axis, 9.6, 2.75, 1.5, 1.0, "logits\n→ action", "rl")
    arrow(axis, (2.3, 3.55), (5.1, 3.55), "observation → forward messages")
    arrow(axis, (2.3, 2.95), (5.1, 2.95), "reward → every cell", shift=(0, 0.08))
    arrow(axis, (7.75, 3.45), (9.55, 3.45), "forward\nmessages")
    arrow(axis, (9.55, 2.95), (7.75, 2.95), "previous action", shift=(0, -0.42))
    arrow(axis, (10.35, 2.68), (1.2, 2.52), "action", curve=-0.28, shift=(0, -1.62))

    box(axis, 9.6, 4.8, 1.9, 0.9, "rewards of a life\n→ fitness", "meta")
    box(axis, 5.2, 4.95, 2.6, 0.75, "evolution strategy", "meta")
    arrow(axis, (1.2, 3.95), (9.55, 5.35), "", curve=-0.32)
    axis.text(2.5, 5.35, "rewards", fontsize=8, color=QUIET)
    arrow(axis, (9.55, 5.15), (7.85, 5.3))
    arrow(axis, (8.0, 5.05), (8.0, 3.9), "", curve=-0.3)
    axis.text(8.3, 4.3, "parameters\nof the cell", fontsize=8, color=QUIET, va="center")

    for i, (room, text) in enumerate(
        (
            ("vsml", "vsml: the layer"),
            ("rl", "rl: one life, one scan"),
            ("meta", "meta: many lives, many generations"),
        )
    ):
        x = 0.3 + (0, 2.2, 5.0)[i]
        axis.add_patch(
            FancyBboxPatch(
                (x, 0.25),
                0.3,
                0.22,
                boxstyle="round,pad=0.02,rounding_size=0.05",
                facecolor=ROOMS[room],
                edgecolor=INK,
                linewidth=0.6,
            )
        )
        axis.text(x + 0.45, 0.36, text, fontsize=8.5, va="center", color=INK)
    figure.savefig(Path(__file__).with_name("data-flow.png"), dpi=150)


if __name__ == "__main__":
    main()
