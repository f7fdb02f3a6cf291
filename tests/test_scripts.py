"""The commands that look at a run: what they print, write, and refuse."""

import importlib.util
import json
import sys

import imageio.v3
import numpy as np
import pytest


@pytest.fixture
def command(root, monkeypatch, capsys):
    """Runs a script of scripts/ in this process: (name, *arguments) -> status, stdout, stderr."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        spec = importlib.util.spec_from_file_location(name, root / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            status = module.main()
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run


def test_evaluate_scores_a_run_and_its_export_alike(command, toy_run, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    video = tmp_path / "film.gif"
    status, said, err = command(
        "evaluate", toy_run, "--episodes=2", f"--json={one}", f"--video={video}"
    )
    assert status == 0, err
    assert "dot_goal, 2 episodes, seed 0: return " in said and str(video) in said
    assert command("evaluate", toy_run / "policy", "--episodes=2", f"--json={two}")[0] == 0
    found, other = json.loads(one.read_text()), json.loads(two.read_text())
    assert found["updates"] == other["updates"] == 6
    np.testing.assert_allclose(found["returns"], other["returns"], atol=1e-3)
    assert len(set(found["returns"])) == 2
    returns = found["returns"]
    expected = [np.mean(returns), np.std(returns), min(returns), max(returns)]
    np.testing.assert_allclose([found[key] for key in ("mean", "std", "min", "max")], expected)
    assert (found["agent_steps"], found["env_steps"], found["task"]) == (100, 100, "dot_goal")
    assert 0 < found["decision_ms_median"] <= found["decision_ms_95"]
    assert imageio.v3.imread(video).shape == (50, 274, 3 * 256 + 2 * 4, 3)
    status, _, err = command("evaluate", toy_run, "--episodes=1", "--seed=5", f"--json={two}")
    assert status == 0 and json.loads(two.read_text())["returns"][0] not in returns


def test_another_planner_is_scored_and_exported(command, toy_run, tmp_path):
    lazy, out = "--gin_bindings=cem.iterations=0", tmp_path / "policy"
    found, other = tmp_path / "one.json", tmp_path / "two.json"
    status, _, err = command("evaluate", toy_run, "--episodes=1", lazy, f"--json={found}")
    assert status == 0, err
    for _ in range(2):  # the second replaces the first
        status, said, err = command("export", toy_run, out, "--checkpoint=3", lazy)
        assert status == 0, err
    assert said == f"{out}: the policy of update 3\n"
    status, _, err = command("evaluate", out, "--episodes=1", f"--json={other}")
    assert status == 0, err
    # Without an iteration no action leaves 0, whatever the model: the dot drifts as it started.
    one, two = (json.loads(file.read_text())["returns"] for file in (found, other))
    np.testing.assert_allclose(one, two, atol=1e-3)
    command("evaluate", toy_run, "--episodes=1", f"--json={other}")
    assert json.loads(other.read_text())["returns"] != pytest.approx(one, abs=1e-2)


def test_imagine_draws_errors_strip_and_video(command, toy_run, tmp_path):
    out = f"--out={tmp_path / 'toy'}"
    status, said, err = command("imagine", toy_run, "--steps=20", out, "--size=128")
    assert status == 0, err
    names = ["toy-errors.png", "toy-errors.svg", "toy-strip.png", "toy.gif"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert said.splitlines() == [str(tmp_path / name) for name in names]
    assert imageio.v3.imread(tmp_path / "toy-strip.png").shape == (3 * 64, 15 * 64, 3)
    assert imageio.v3.imread(tmp_path / "toy.gif").shape == (51, 18 + 128, 3 * 128 + 2 * 4, 3)
    assert imageio.v3.imread(tmp_path / "toy-errors.png").shape[1] == 1200


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("evaluate", ["nowhere"], "nowhere holds neither a run"),
        ("evaluate", ["RUN", "--episodes=0"], "--episodes must be at least 1"),
        ("evaluate", ["RUN", "--task=cheetah_run"], "--task: dot_goal"),
        ("evaluate", ["RUN", "--checkpoint=9"], "has no checkpoint 9, only [4, 3]"),
        ("evaluate", ["RUN", "--video=film.avi"], "must end in .mp4 or .gif"),
        ("evaluate", ["RUN", "--json=no/where.json"], "make it first"),
        ("evaluate", ["RUN", "--gin_bindings=cem.horizn=9"], "did you mean 'horizon'"),
        ("evaluate", ["RUN", "--gin_bindings=RSSMCell.deter_size=9"], "does not fit"),
        ("evaluate", ["RUN/policy", "--gin_bindings=cem.horizon=9"], "settings are fixed"),
        ("export", ["nowhere", "OUT"], "nowhere holds no run"),
        ("export", ["RUN", "RUN"], "is no exported policy: name another place"),
        ("imagine", ["nowhere"], "nowhere holds no run"),
        ("imagine", ["RUN", "--episode=no.npz"], "no.npz is no episode"),
        ("imagine", ["RUN", "--context=0"], "--context"),
        ("imagine", ["RUN", "--size=0"], "--size"),
        ("evaluate", ["RUN", "--size=0"], "--size"),
        ("imagine", ["RUN", "--out=no/where"], "no/where.gif: no such directory; make it first"),
    ],
)
def test_wrong_input_ends_with_the_way_out(command, toy_run, tmp_path, name, arguments, said):
    places = {"RUN": toy_run, "RUN/policy": toy_run / "policy", "OUT": tmp_path / "policy"}
    arguments = [places.get(argument, argument) for argument in arguments]
    status, _, err = command(name, *arguments)
    assert status == 2 and said in err, err
