"""`planet-tf planners`: measures, continues where it stopped, and refuses mixed files."""

import pytest

from planet_tf import training
from planet_tf.analysis import planners as tables, rows
from planet_tf.comparisons import planners

pytestmark = pytest.mark.usefixtures("agents_once")

POINTS = [
    "--point=CEM.candidates = 6; CEM.elites = 2; WorldModel.precision = 'mixed_bfloat16'",
    "--point=PlanetPolicy.planner = @ICEM()",  # of the size that debug.gin gives it
]


def test_points_are_measured_once_and_tabulated(command, toy_run, tmp_path, monkeypatch):
    flags = [toy_run, *POINTS, f"--out={tmp_path / 'x.png'}"]
    status, out, err = command("planners", *flags, "--episodes=1")
    assert status == 0, err
    found = rows.read(tmp_path / "x.csv", tables.Row, "planners")
    assert [row.evaluations for row in found] == ["12", str(20 + 16 + 2 * 1 + 1)]
    assert {row.horizon for row in found} == {"4"} and {row.episode for row in found} == {0}
    assert [row.precision for row in found] == ["mixed_bfloat16", "float32"]
    assert {(row.kind, row.task) for row in found} == {("CEM", "dot_goal"), ("ICEM", "dot_goal")}
    assert all(row.updates == 6 and row.ms > 0 and 0 < row.score < 50 for row in found)
    assert "CEM.candidates = 6; CEM.elites = 2" in out and str(tmp_path / "x.svg") in out
    # One more episode of each: the first ones are not repeated.
    asked = []
    measure = planners.measure

    def note(path, point, numbers, *arguments, **keywords):
        asked.append(numbers)
        return measure(path, point, numbers, *arguments, **keywords)

    monkeypatch.setattr(planners, "measure", note)
    status, out, err = command("planners", *flags[:-2], flags[-1], "--episodes=2")
    assert status == 0, err
    assert asked == [[1]]
    assert len(rows.read(tmp_path / "x.csv", tables.Row, "planners")) == 3
    # Another model's or other starts do not join them.
    status, _, err = command("planners", *flags, "--seed=1", "--episodes=1")
    assert status == 2 and "holds measurements of seed 0, not 1" in err
    status, _, err = command("planners", toy_run / "policy", *flags[1:], "--episodes=1")
    assert status == 2 and "holds measurements of policy" in err


def test_the_usual_points_fit_the_policys_horizon(toy_run):
    assert planners.subject(toy_run) == (6, 4, False)
    assert planners.subject(toy_run, 3) == (3, 4, False)
    assert planners.subject(toy_run / "policy") == (6, 4, False)
    points = planners.default_points(20)
    assert len({point.flags for point in points}) == len({p.name for p in points}) == len(points)
    kinds = {point.bindings[0]: point for point in points}  # the last of each kind
    assert len(kinds) == 4
    for point in kinds.values():
        agent, _ = training.load_agent(toy_run, bindings=point.bindings)
        assert agent.policy.planner.horizon in (20, 12, 30)
        assert 50 <= agent.policy.planner.evaluations <= 1000


def test_another_task_is_refused_before_a_model_is_loaded(command, tmp_path, monkeypatch):
    row = tables.Row("run", "walker_walk", 6, 0, "CEM", "CEM", "", 12, 4, "float32", 0, 5.0, 2.0)
    rows.append(tmp_path / "x.csv", row)
    monkeypatch.setattr(planners, "subject", lambda *_: pytest.fail("loaded"))
    flags = ["run", "--episodes=1", f"--out={tmp_path / 'x.png'}"]
    status, out, err = command("planners", *flags, "--task=cheetah_run")
    assert status == 2 and not out
    assert "holds measurements of task walker_walk, not cheetah_run" in err


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--out=x.pdf"], ".png"),
        # After a right one, and yet nothing is measured.
        (["RUN", POINTS[0], "--point=CEM.horizn = 3"], "horizon"),
        (["RUN", POINTS[0], "--point=CEM.iterations = -3"], "CEM.iterations"),
        (
            ["RUN", POINTS[0], "--point=PlanetPolicy.planner = @MPPI(); MPPI.elites = 0"],
            "MPPI.elites",
        ),
        (["RUN", POINTS[0], "--point=train.seed = 3"], "train.seed"),
        (["RUN", "--gin_bindings=CEM.clip = False"], "--gin_bindings=CEM.clip: the planners are"),
        (["RUN", "--gin_bindings=PlanetPolicy.planner = @MPPI()"], "--point='PlanetPolicy.planner"),
        (["RUN", "--episodes=0"], "--episodes"),
        (["RUN", "--point=;"], "--point"),
        (["RUN", "--checkpoint=9"], "checkpoint 9"),
    ],
)
def test_wrong_input_is_named(command, toy_run, tmp_path, monkeypatch, flags, part):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("planners", *[str(toy_run) if f == "RUN" else f for f in flags])
    assert status == 2 and part in err and not out
    assert not list(tmp_path.iterdir())
