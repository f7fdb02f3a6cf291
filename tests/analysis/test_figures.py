"""Figures: what is in a panel, and what cannot be drawn."""

import sys

import numpy as np
import pytest
from helpers import scored_run
from matplotlib import figure as mpl_figure, image

from planet_tf import errors
from planet_tf.analysis import aggregation, canvas, curves, figures, published, tables

PAPER = published.references("paper")


@pytest.fixture
def runs(tmp_path):
    """Curves of three seeds of variant a, and two of variant b."""
    names = ["a-seed0", "a-seed1", "a-seed2", "b-seed0", "b-seed1"]
    return [read(tmp_path / name, int(name[-1])) for name in names]


def read(path, *arguments, **keywords):
    (curve,) = tables.read(scored_run(path, *arguments, **keywords))
    return curve


@pytest.fixture
def draw(monkeypatch):
    """Draws without writing: (curves, ...) -> the figure."""

    def run(given, *arguments, **keywords):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(mpl_figure.Figure, "savefig", lambda self, *_, **__: saved.append(self))
            figures.draw(given, "figure.png", *arguments, **keywords)
        return saved[0]

    return run


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_png_and_svg_are_written_and_repeat(runs, tmp_path):
    for name in ("one", "two"):
        written = figures.draw(
            runs, tmp_path / f"{name}.png", reference=published.references("paper")
        )
        assert written == [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
    picture = image.imread(written[0])
    assert picture.shape[1] >= 800 and len({tuple(pixel) for pixel in picture[200]}) > 3
    assert "</svg>" in written[1].read_text()
    for file in written:
        assert file.read_bytes() == file.with_stem("one").read_bytes()


def test_three_seeds_make_a_band_and_two_make_lines(draw, runs):
    labels = {"a": "first model", "b": "second model"}
    figure = draw(runs, "env_steps", "iqm", "Two models", labels)
    (panel,) = figure.axes
    assert len(panel.lines) == 1 + 2 and len(panel.collections) == 1
    assert panel.lines[0].get_xdata().tolist() == [2000, 4000, 6000]
    assert panel.lines[0].get_ydata().tolist() == [201, 401, 601]
    assert panel.lines[2].get_ydata().tolist() == [201, 401, 601]  # seed 1 of b
    assert panel.lines[1].get_linewidth() < panel.lines[0].get_linewidth()
    assert panel.lines[1].get_color() == panel.lines[2].get_color() != panel.lines[0].get_color()
    assert texts(figure) == ["first model (3 seeds)", "second model (2 seeds)"]
    assert "interquartile mean" in figure.legends[0].get_title().get_text()
    assert panel.get_title() == "Two models"
    assert panel.get_xlabel() == figures.X_LABELS["env_steps"]


def test_single_run_is_drawn_with_all_that_is_known(draw, runs):
    figure = draw(runs[:1], "minutes")
    (panel,) = figure.axes
    collected, evaluated = texts(figure)
    assert "collected" in collected and "a (1 seed)" in evaluated and "std" in evaluated
    lines = {line.get_xdata().size: line.get_xdata().tolist() for line in panel.lines}
    assert lines[6] == [0, 1, 2, 3, 4, 5] and lines[3] == [1, 3, 5]
    assert panel.get_title() == "cartpole swingup" and panel.get_ylim()[0] == 0


def test_tasks_have_panels_and_fitting_references(draw, runs, tmp_path):
    low = read(tmp_path / "low" / "a-seed0", 0, "walker_walk", scale=0.5)  # 300, far below 951
    toy = read(tmp_path / "toy" / "a-seed0", 0, "dot_goal")
    figure = draw(
        [*runs, low, toy], "episodes", title="All", reference=published.references("paper")
    )
    assert [panel.get_title() for panel in figure.axes] == [
        "cartpole swingup",
        "walker walk",
        "dot goal",
    ]
    dashed = [
        [line for line in panel.lines if line.get_linestyle() == "--"] for panel in figure.axes
    ]
    assert [len(lines) for lines in dashed] == [1, 0, 0]
    assert dashed[0][0].get_ydata() == [821, 821] and figure.axes[0].get_ylim()[1] > 821
    assert "a (1-3 seeds)" in texts(figure)
    assert figure.get_suptitle() == "All"


def test_more_variants_than_colours_stay_distinct():
    styles = [canvas.style(index) for index in range(20)]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 20


def test_every_x_and_statistic_can_be_drawn(draw, runs):
    assert set(figures.X_LABELS) < set(curves.COLUMNS)
    for x in figures.X_LABELS:
        for statistic in aggregation.STATISTICS:
            figure = draw(runs, x, statistic)
            assert figure.axes[0].get_xlabel() == figures.X_LABELS[x]
            assert "over seeds" in figure.legends[0].get_title().get_text()


def test_errors_are_drawn_with_mean_and_percentiles(monkeypatch):
    saved = []
    monkeypatch.setattr(mpl_figure.Figure, "savefig", lambda self, *_, **__: saved.append(self))
    values = np.arange(11.0)[:, None] * [1, 10]  # 11 chunks of two steps
    found, labels = {"kl": values, "reward": -values}, {"kl": "nats", "reward": "r"}
    figures.draw_errors(found, labels, 1, "a.png", "T")
    kl, reward = saved[0].axes
    assert (kl.get_ylabel(), reward.get_ylabel()) == ("nats", "r")
    (line,) = kl.lines
    assert line.get_xydata().tolist() == [[0, 5], [1, 50]]  # step 1 is the first unseen one
    (band,) = kl.collections
    assert band.get_datalim(kl.transData).extents.tolist() == [0, 1, 1, 90]
    assert "T" in saved[0].get_suptitle() and "11" in saved[0].get_suptitle()


@pytest.mark.parametrize(
    ("path", "labels", "part"),
    [
        ("figure.pdf", {}, "figure.pdf"),
        ("none/figure.png", {}, "none/figure.png"),
        ("figure.png", {"c": "x"}, "'c'"),
        ("figure.png", {"a": "x", "b": "x"}, "--labels"),
    ],
)
def test_what_cannot_be_drawn_is_named(runs, tmp_path, monkeypatch, path, labels, part):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ConfigError, match=part):
        figures.draw(runs, path, labels=labels)


def test_no_curve_is_nothing_to_draw(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"x\.png: nothing to draw"):
        figures.draw([], tmp_path / "x.png")


def test_a_full_disk_is_named(runs, tmp_path):
    (tmp_path / "x.png").symlink_to("/dev/full")
    with pytest.raises(errors.StorageError, match=r"x\.png: No space left on device"):
        figures.draw(runs, tmp_path / "x.png")


def test_missing_matplotlib_is_named(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(errors.ConfigError, match="matplotlib") as error:
        figures.draw(runs, "figure.png")
    assert error.value.hint == errors.INSTALL_VIEW


def test_each_published_method_has_a_line_of_its_own(draw, runs):
    figure = draw(runs, "env_steps", reference=published.references("100k"))
    names = {"PlaNet": 563, "Dreamer": 326, "CURL": 582}
    for method, score in names.items():
        assert f"{method}, 100k env steps ({score})" in texts(figure)
    styles = [line.get_linestyle() for line in figure.axes[0].lines if line.get_color() == "0.35"]
    assert styles == ["--", ":", "-."]


def test_a_variant_of_several_tasks_is_one(draw, tmp_path):
    tasks = ("walker_walk", "cheetah_run")
    given = [read(tmp_path / f"{task}-cpu-seed0", 0, task) for task in tasks]
    assert texts(draw(given, "env_steps")) == ["cpu (1 seed)"]
    assert any("walker walk-cpu" in text for text in texts(draw(given[:1], "env_steps")))
