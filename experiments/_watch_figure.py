"""The frames of an animation of one life: the scene, the reward so far, the states of the cells."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import rl

from ._study_plots import running_mean
from ._watch_cells import Cells
from ._watch_life import Moment
from ._watch_scenes import draw_scene
from ._watch_style import BLUE, FAINT, INK, RED, SOFT, Update, last
from ._watch_world import recent

_DPI = 80
_PALETTE_FRAMES = 8
_MOST_LABELS = 16
_TITLE_LETTERS = 65
_STYLE: dict = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class LifeFigure:
    """A figure that is drawn once; for each frame only what moves is drawn over it.

    What moves are the artists that are `animated`.

    - `figure`: Matplotlib's figure.
    """

    figure: Figure

    def __init__(self, title: str, task: rl.Task, life: Sequence[Moment]):
        """**Arguments:**

        - `title`: who lives where.
        - `task`: the task of this life.
        - `life`: the moments to show, in order.
        """
        self._life = life
        with matplotlib.rc_context(_STYLE):
            # A figure of its own, not pyplot's: it needs no display and is drawn by Agg.
            figure = Figure(figsize=(11.0, 5.5), dpi=_DPI)
            self.figure, self._canvas = figure, FigureCanvasAgg(figure)
            left, top, bottom = (
                figure.add_axes(where)
                for where in (
                    (0.05, 0.09, 0.4, 0.7),
                    (0.56, 0.6, 0.415, 0.21),
                    (0.56, 0.09, 0.35, 0.36),
                )
            )
            size = min(13.0, 13.0 * _TITLE_LETTERS / len(title))
            figure.text(0.05, 0.93, title, size=size, weight="bold")
            place = {"size": 11, "ha": "right", "color": SOFT}
            self._step = figure.text(0.975, 0.93, "", animated=True, **place)
            self._updates: list[Update] = [
                draw_scene(left, task, life),
                _reward(top, life),
                _state(bottom, life),
            ]
            self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(figure.bbox)
        moving = figure.findobj(lambda artist: artist.get_animated())
        self._moving = sorted(moving, key=lambda artist: artist.get_zorder())

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The pixels of each moment."""
        renderer = self._canvas.get_renderer()
        for moment in self._life:
            self._step.set_text(f"step {moment.steps} of {self._life[-1].steps}")
            for update in self._updates:
                update(moment)
            self._canvas.restore_region(self._background)
            for artist in self._moving:
                artist.draw(renderer)
            yield np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def save(self, path: Path, *, fps: int) -> None:
        """Write a GIF.

        **Arguments:**

        - `path`: the file.
        - `fps`: frames in a second; each lasts whole hundredths of one.
        """
        frames = list(self.frames())
        palette = _palette(frames[:: -(-len(frames) // _PALETTE_FRAMES)] + frames[-1:])
        plain = Image.Dither.NONE
        first, *rest = (Image.fromarray(f).quantize(palette=palette, dither=plain) for f in frames)
        duration = 10 * round(100 / fps)  # in milliseconds
        first.save(path, save_all=True, append_images=rest, duration=duration, loop=0)


def _palette(frames: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Image.Image:
    """An image with the one palette of all frames, so that colours do not flicker."""
    image = Image.fromarray(np.concatenate(frames))
    palette = image.quantize(256, method=Image.Quantize.FASTOCTREE)
    colours = np.reshape(palette.getpalette() or [], (-1, 3))
    colours[colours.sum(axis=1).argmax()] = 255  # white stays white
    palette.putpalette(colours.ravel().tolist())
    return palette


def _reward(axes: Axes, life: Sequence[Moment]) -> Update:
    """The running mean of the reward, its sum so far, and where episodes ended."""
    rewards = np.concatenate([moment.rewards for moment in life]).astype(np.float64)
    steps = len(rewards)
    window = recent(life)
    means, sums = running_mean(rewards, window), np.cumsum(rewards)
    ends = 1 + np.flatnonzero(np.concatenate([moment.ended for moment in life]))
    low, high = float(means.min()), float(means.max())
    margin = 0.1 * (high - low) or 0.5
    axes.set(
        xlim=(0, steps),
        ylim=(low - 2 * margin, high + margin),
        xlabel="environment step",
        title=f"mean reward of the {last(window, 'steps')}",
    )
    axes.locator_params(axis="y", nbins=4)
    (line,) = axes.plot([], [], color=BLUE, lw=1.8, animated=True)
    (ticks,) = axes.plot([], [], "|", color=RED, ms=7, animated=True, label="end of an episode")
    so_far = axes.set_title("", loc="right", color=SOFT, animated=True)
    if len(ends):
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, -0.5),
            frameon=False,
            fontsize=8,
            handletextpad=0.2,
            borderaxespad=0.1,
        )

    def update(moment: Moment) -> None:
        n = moment.steps
        line.set_data(1 + np.arange(n), means[:n])
        past = ends[ends <= n]
        ticks.set_data(past, np.full(len(past), low - 1.2 * margin))
        total = float(sums[n - 1]) if n else 0.0
        so_far.set_text(f"sum so far {total:.1f}, {n / steps:.0%} of the life")

    return update


def _state(axes: Axes, life: Sequence[Moment]) -> Update:
    """The state of the learner as a heat map, on one scale for the whole life."""
    tables = [moment.cells for moment in life if moment.cells is not None]
    if not tables:
        axes.set_axis_off()
        axes.text(0, 0.5, "The learner has no state that could be shown.", color=SOFT)
        return lambda moment: None
    first = tables[0]
    sizes = np.abs(np.concatenate([table.values.ravel() for table in tables]))
    scale = float(np.nanquantile(sizes, 0.995)) or 1.0
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#dddddd")
    image = axes.imshow(
        first.values, cmap=colours, vmin=-scale, vmax=scale, aspect="auto", animated=True
    )
    axes.set_title(first.title)
    _label_blocks(axes, first)
    for spine in axes.spines.values():
        spine.set_visible(False)
    x0, y0, width, height = axes.get_position().bounds
    bar = axes.figure.add_axes((x0 + width + 0.012, y0, 0.01, height))
    axes.figure.colorbar(image, cax=bar, ticks=[-scale, 0.0, scale], format="%.2g")
    bar.tick_params(length=0, labelsize=8)
    bar.spines["outline"].set_visible(False)

    def update(moment: Moment) -> None:
        if moment.cells is not None:
            image.set_data(moment.cells.values)

    return update


def _label_blocks(axes: Axes, table: Cells) -> None:
    """Name the rows and columns of blocks, as many as there is room for, and part the blocks."""
    axes.tick_params(length=0, labelsize=8)
    for labels, size, set_ticks, part in (
        (table.rows, table.height, axes.set_yticks, axes.axhline),
        (table.columns, table.width, axes.set_xticks, axes.axvline),
    ):
        some = range(0, len(labels), -(-len(labels) // _MOST_LABELS) or 1)
        words = [labels[i] if len(some) <= 6 else labels[i].split()[-1] for i in some]
        set_ticks([(i + 0.5) * size - 0.5 for i in some], words)
        if len(labels) <= 4 * _MOST_LABELS:
            for i in range(1, len(labels)):
                part(
                    i * size - 0.5,
                    color="white",
                    lw=2.0 if len(labels) <= 24 else 0.8,
                    animated=True,
                )
    if len(table.rows) > 6:
        axes.set_ylabel(table.rows[0].split()[0])
    if len(table.columns) > 6:
        axes.set_xlabel(table.columns[0].split()[0])
