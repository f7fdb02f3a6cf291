"""Planners compared: means and standard errors, the Pareto front, table and figure."""

import numpy as np

from planet_tf.analysis import planners


def row(planner="CEM 50 x 2", episode=0, score=100.0, ms=10.0, **changes):
    model = "runs/x", "dot_goal", 7, 0
    kind, flags = planner.split()[0], f"flags of {planner}"
    base = planners.Row(*model, kind, planner, flags, 100, 12, "float32", episode, score, ms)
    return base._replace(**changes)


def test_means_errors_and_the_front():
    rows = [row("slow and worse", 0, 150.0, 50.0)]
    rows += [row("slow", n, score, 40.0) for n, score in enumerate([200.0, 220.0, 240.0])]
    rows += [row("fast", n, score, ms) for n, (score, ms) in enumerate([(100, 9), (120, 11)])]
    found = planners.summarize(rows)
    assert [each.row.planner for each in found] == ["fast", "slow", "slow and worse"]
    assert [each.best for each in found] == [True, True, False]
    assert [(each.episodes, each.mean, each.ms) for each in found] == [
        (2, 110.0, 10.0),
        (3, 220.0, 40.0),
        (1, 150.0, 50.0),
    ]
    # sqrt((10^2 + 10^2) / 1) / sqrt(2) = 10; 20 / sqrt(3)
    np.testing.assert_allclose([each.error for each in found], [10, 20 / 3**0.5, np.nan])


def test_of_equally_fast_ones_the_better_is_on_the_front():
    found = planners.summarize([row("a", score=1.0), row("b", score=2.0)])
    assert {each.row.planner: each.best for each in found} == {"a": False, "b": True}


def test_table_and_figure(tmp_path):
    found = planners.summarize(
        [row("CEM 50 x 2"), row("CEM 50 x 2", 1, 140.0), row("MPPI 9", ms=50.0)]
    )
    lines = planners.table(found).splitlines()
    assert lines[2] == (
        "| **CEM 50 x 2** | 100 | 10.0 | 120.0 ± 20.0 | 2 | `flags of CEM 50 x 2` |"
    )
    assert lines[3].startswith("| MPPI 9 | 100 | 50.0 | 100.0 ± nan | 1 |")
    files = planners.draw(found, tmp_path / "x.png", "runs/x")
    assert [file.name for file in files] == ["x.png", "x.svg"]
    text = files[1].read_text()
    for part in ("CEM", "MPPI", "Pareto front", "50 x 2"):
        assert f"<!-- {part} -->" in text, part
