import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments._study_plots import (
    Curve,
    CurvePanel,
    generalisation_matrix,
    life_curves,
    running_mean,
)


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved, which are not written."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append((self, path)))
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    yield figures
    monkeypatch.undo()
    pyplot.close("all")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_running_mean_looks_back():
    values = np.arange(10.0).reshape(2, 5)
    np.testing.assert_allclose(running_mean(values, 2)[0], [0, 0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(running_mean(values, 100)[1], [5, 5.5, 6, 6.5, 7])
    np.testing.assert_array_equal(running_mean(values[0], 1), values[0])


def curve(learner: str, variant: str, level: float, units: int = 3) -> Curve:
    """Rewards that are `level` on average, and apart by one for each two neighbouring units."""
    spread = np.arange(units) - (units - 1) / 2
    return Curve(learner, variant, level + np.tile(spread[:, None], (1, 40)))


def panels() -> list[CurvePanel]:
    levels = {"random policy": 0.25}
    curves = [
        curve(learner, variant, level)
        for learner, level in (("SymLA", 2.0), ("MetaRNN", 1.0))
        for variant in ("original", "shuffled")
    ]
    return [
        CurvePanel("CartPole", curves, levels),
        CurvePanel("Acrobot", [curve("SymLA", "original", 3.0, units=1)], levels),
    ]


def test_life_curves_show_every_learner_and_variant(saved, tmp_path):
    life_curves(tmp_path / "new" / "x.png", "A study", panels(), window=10, note="A note.")
    ((figure, path),) = saved
    assert path == tmp_path / "new" / "x.png" and path.parent.is_dir()
    left, right = figure.axes
    # Four curves and a level, one curve and a level; bands where there are several units.
    assert [len(axes.lines) for axes in (left, right)] == [5, 2]
    assert [len(axes.collections) for axes in (left, right)] == [4, 0]
    level, *lines = left.lines
    assert list(level.get_ydata()) == [0.25, 0.25]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "--"]
    colours = [to_hex(line.get_color()) for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert to_hex(right.lines[1].get_color()) == colours[0]
    # From the first whole window to the end of the life.
    assert lines[0].get_xdata()[0] == 10 and lines[0].get_xdata()[-1] == 40
    np.testing.assert_allclose(lines[2].get_ydata(), 1.0)
    ends = left.collections[0].get_paths()[0].get_extents()
    assert (ends.y0, ends.y1) == pytest.approx((1.0, 3.0))  # a deviation of one
    said = texts(figure)
    for words in (
        "A study",
        "A note.",
        "CartPole",
        "Acrobot",
        "SymLA, original",
        "SymLA, shuffled",
        "MetaRNN, original",
        "MetaRNN, shuffled",
        "random policy",
        "mean reward of the last 10 steps",
    ):
        assert said.count(words) == 1
    assert "line: mean of 3 meta-trainings\nband: one standard deviation" in said


def test_bands_can_be_standard_errors(saved, tmp_path):
    life_curves(tmp_path / "x.png", "", panels(), window=1, band="sem", units="lives")
    figure = saved[0][0]
    ends = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert ends.y1 - ends.y0 == pytest.approx(2 / np.sqrt(3))
    assert "line: mean of 3 lives\nband: one standard error" in texts(figure)


def test_life_curves_refuse_what_they_cannot_show(tmp_path):
    with pytest.raises(ValueError, match="`window` must be at least 1, got 0"):
        life_curves(tmp_path / "x.png", "", panels(), window=0)
    many = [CurvePanel("", [curve("SymLA", variant, 0.0) for variant in "abcd"])]
    with pytest.raises(ValueError, match="There can be 3 variants in a figure, got a, b, c, d"):
        life_curves(tmp_path / "x.png", "", many, window=1)


def matrix(path, **options) -> None:
    values = np.asarray([[0.5, -12.0], [np.nan, 3.0]])
    generalisation_matrix(
        path,
        "Who learns what",
        ["one", "two"],
        ["cartpole", "cartpole+distract=4..12"],
        values,
        values - 0.25,
        values + 1.0,
        **options,
    )


def test_titles_and_notes_of_narrow_matrices_are_whole(saved, tmp_path):
    long = "Objectives beside those that were made by hand, of worlds that nobody has seen before"
    values = np.asarray([[0.25]])
    label = "a learner whose name takes as much room as its cell, and more"
    generalisation_matrix(
        tmp_path / "x.png", long, [label], ["world"], values, values, values, note=f"{long}. {long}"
    )
    figure = saved[0][0]
    figure.canvas.draw()
    for text in (figure._suptitle, figure._supxlabel, *figure.axes[0].get_yticklabels()):
        place = text.get_window_extent()
        assert place.x0 >= 0 and place.x1 <= figure.bbox.x1
        assert place.y0 >= 0 and place.y1 <= figure.bbox.y1
    assert figure._suptitle.get_text().replace("\n", " ") == long


def test_a_matrix_has_a_number_and_its_interval_in_every_cell(saved, tmp_path):
    matrix(tmp_path / "x.png", note="A note.")
    figure = saved[0][0]
    (axes,) = figure.axes
    cells = {tuple(t.get_position()): t.get_text() for t in axes.texts if t.get_fontsize() == 10}
    intervals = [text.get_text() for text in axes.texts if text.get_fontsize() < 10]
    assert sorted(cells.values()) == ["-12.00", "0.50", "3.00", "–"]
    assert cells[(0, 1)] == "–"  # where a learner does not fit
    assert intervals == ["0.25 to 1.50", "-12.25 to -11.00", "2.75 to 4.00"]
    said = texts(figure)
    for words in ("Who learns what", "A note.", "one", "two", "cartpole", "learner"):
        assert words in said
    (image,) = axes.images
    # Dark is good.
    shades = {value: sum(image.cmap(image.norm(value))[:3]) for value in (-12.0, 0.5, 3.0)}
    assert shades[3.0] < shades[0.5] < shades[-12.0]


def test_the_colours_of_a_matrix_can_be_something_else(saved, tmp_path):
    matrix(tmp_path / "x.png", shades=np.asarray([[0.0, 1.0], [np.nan, 0.5]]))
    (image,) = saved[0][0].axes[0].images
    np.testing.assert_array_equal(image.get_array().compressed(), [0.0, 1.0, 0.5])


def test_both_are_written_as_png(tmp_path):
    life_curves(tmp_path / "curves.png", "A study", panels(), window=10)
    matrix(tmp_path / "matrix.png")
    for name in ("curves", "matrix"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
