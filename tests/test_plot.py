"""The figures and the command that draws them: what is in a panel, and what wrong input gives."""

import importlib.util
import json
import sys

import pytest
from matplotlib import figure as mpl_figure, image

from planet_tf import aggregation, curves, figures


def make_run(root, seed, task="cartpole_swingup", scale=1.0):
    root.mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"task": task, "seed": seed, "action_repeat": 8}))
    with (root / "scalars.jsonl").open("w") as file:
        for episodes in range(1, 7):
            line = {"time": 60.0 * episodes, "updates": 0, "episodes": episodes}
            line["env_steps"] = 1000 * episodes
            score = scale * (100.0 * episodes + seed)
            file.write(json.dumps({**line, "collect/return": score}) + "\n")
            if episodes % 2 == 0:
                tags = {"evaluation/return": score, "evaluation/return_std": 10.0}
                file.write(json.dumps({**line, **tags}) + "\n")
    return root


@pytest.fixture
def runs(tmp_path):
    """Three seeds of variant a, two of variant b."""
    names = ["a-seed0", "a-seed1", "a-seed2", "b-seed0", "b-seed1"]
    return [make_run(tmp_path / name, int(name[-1])) for name in names]


@pytest.fixture
def plot(root, monkeypatch, tmp_path):
    """Runs scripts/plot.py in this process, in an empty directory: (*arguments)."""
    spec = importlib.util.spec_from_file_location("plot", root / "scripts" / "plot.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, arguments)])
        return script.main()

    return run


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    saved = []
    monkeypatch.setattr(
        mpl_figure.Figure,
        "savefig",
        lambda self, path, **_: saved.append(self) if path.suffix == ".png" else None,
    )
    return saved


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_png_and_an_svg_are_written(python, root, runs, tmp_path):
    out = tmp_path / "figure.png"
    done = python(root / "scripts" / "plot.py", *runs, f"--out={out}", "--reference")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out), str(tmp_path / "figure.svg")] and not done.stderr
    picture = image.imread(out)
    assert picture.shape[1] >= 800 and len({tuple(pixel) for pixel in picture[200]}) > 3
    assert "</svg>" in (tmp_path / "figure.svg").read_text()


def test_the_same_curves_give_the_same_files(plot, runs, tmp_path):
    for name in ("one", "two"):
        assert plot(*runs[:1], f"--out={tmp_path / name}.png") == 0
    for suffix in (".png", ".svg"):
        one, two = (tmp_path / f"{name}{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_seeds_make_a_band_and_few_seeds_lines(plot, runs, drawn):
    labels = ["--labels", "a=first model", "b=second model"]
    assert plot(*runs, *labels, "--title=Two models", "--statistic=iqm") == 0
    (panel,) = drawn[0].axes
    assert len(panel.lines) == 1 + 2 and len(panel.collections) == 1
    assert panel.lines[0].get_xdata().tolist() == [2000, 4000, 6000]
    assert panel.lines[0].get_ydata().tolist() == [201, 401, 601]
    assert panel.lines[2].get_ydata().tolist() == [201, 401, 601]  # seed 1 of b
    assert panel.lines[1].get_linewidth() < panel.lines[0].get_linewidth()
    assert panel.lines[1].get_color() == panel.lines[2].get_color() != panel.lines[0].get_color()
    assert texts(drawn[0]) == ["first model (3 seeds)", "second model (2 seeds)"]
    assert "interquartile mean over seeds" in drawn[0].legends[0].get_title().get_text()
    assert panel.get_title() == "Two models"
    assert panel.get_xlabel() == "env steps (simulator steps)"
    assert panel.get_ylabel() == "evaluation return per episode"


def test_a_single_run_is_drawn_with_all_that_is_known_of_it(plot, runs, drawn):
    assert plot(runs[0], "--x=minutes") == 0
    (panel,) = drawn[0].axes
    assert texts(drawn[0]) == [
        "collected episodes, with noise",
        "a (1 seed); bars: std of its episodes",
    ]
    lines = {line.get_xdata().size: line.get_xdata().tolist() for line in panel.lines}
    assert lines[6] == [0, 1, 2, 3, 4, 5] and lines[3] == [1, 3, 5]
    assert panel.get_title() == "cartpole swingup" and panel.get_ylim()[0] == 0


def test_tasks_have_panels_and_references_where_they_fit(plot, runs, drawn, tmp_path):
    low = make_run(tmp_path / "low" / "a-seed0", 0, "walker_walk", scale=0.5)  # 300 is far from 951
    toy = make_run(tmp_path / "toy" / "a-seed0", 0, "dot_goal")
    assert plot(*runs, low, toy, "--reference", "--x=episodes", "--title=All") == 0
    swingup, walker, dots = drawn[0].axes
    titles = [panel.get_title() for panel in drawn[0].axes]
    assert titles == ["cartpole swingup", "walker walk", "dot goal"]
    dashed = [
        [line for line in panel.lines if line.get_linestyle() == "--"]
        for panel in (swingup, walker, dots)
    ]
    assert [len(lines) for lines in dashed] == [1, 0, 0]
    assert dashed[0][0].get_ydata() == [821, 821] and swingup.get_ylim()[1] > 821
    assert "a (1-3 seeds)" in texts(drawn[0])
    assert drawn[0].get_suptitle() == "All"


def test_csvs_of_runs_give_the_same_figure(plot, runs, drawn, tmp_path):
    folder = tmp_path / "csv"
    assert plot(*runs, f"--csv={folder}") == 0 and not drawn
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{root.name}.csv" for root in runs]
    assert plot(*runs) == 0 and plot(*files) == 0
    lines = [[line.get_xydata().tolist() for line in fig.axes[0].lines] for fig in drawn]
    assert lines[0] == lines[1]


def test_wrong_input_is_one_line_and_status_2(plot, runs, tmp_path, capsys):
    young = make_run(tmp_path / "young", 0)
    (young / "scalars.jsonl").write_text("")
    table = tmp_path / "old.csv"
    table.write_text("episode,score\n1,2\n")
    copy = make_run(tmp_path / "copy" / "a-seed0", 0)
    for arguments, words in [
        ([tmp_path / "none"], "none: no such file or directory"),
        ([tmp_path], "no scalars.jsonl in it"),
        ([young], "no evaluation of cartpole_swingup yet"),
        ([table], "unknown column 'episode'"),
        ([runs[0], copy], "both are seed 0 of a"),
        ([runs[0], "--labels", "c=x"], "no variant 'c' is drawn: they are a"),
        ([*runs, "--labels", "a=x", "b=x"], "two variants have one name"),
        ([runs[0], "--out=figure.pdf"], "must end in .png"),
        ([runs[0], "--out=none/figure.png"], "none/figure.png: cannot be written (No such file"),
    ]:
        assert plot(*arguments) == 2
        out, err = capsys.readouterr()
        assert not out and err.startswith("error: ") and err.count("\n") == 1
        assert words in err
    for flags, words in (["--x=loss"], "--x"), (["--labels", "a"], "must be VARIANT=LABEL"):
        with pytest.raises(SystemExit) as exit_:
            plot(runs[0], *flags)
        assert exit_.value.code == 2 and words in capsys.readouterr().err


def test_without_matplotlib_csvs_are_written_and_figures_refused(
    plot, runs, monkeypatch, capsys, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot(runs[0]) == 2
    err = capsys.readouterr().err
    assert err == 'error: matplotlib is not installed: pip install -e ".[view]" brings it\n'
    assert plot(runs[0], f"--csv={tmp_path / 'csv'}") == 0


def test_a_table_is_printed_and_nothing_drawn(plot, runs, capsys, tmp_path):
    assert plot(*runs, "--table") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| cartpole_swingup | a | 3 | 6 | 6,000 | 5 | 601 | 600 601 602 | 821 |"
    assert len(lines) == 4 and not list((tmp_path / "cwd").iterdir())


def test_more_variants_than_colours_stay_apart():
    styles = [figures._style(index) for index in range(20)]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 20


def test_every_x_and_statistic_has_words():
    assert set(figures.X_LABELS) < set(curves.COLUMNS)
    for name in aggregation.STATISTICS:
        assert "over seeds" in figures._band_words(name)
