"""`planet-tf export`: any checkpoint, any planner."""

import json
import shutil

import numpy as np
import pytest
from helpers import contents, sequences

from planet_tf import environments


def still_return(sequence):
    """Returns the return in dot_goal of an episode without any action."""
    env = environments.load("dot_goal")
    env.seed(int(sequence.generate_state(3)[0]))
    env.reset()
    return sum(env.step(np.zeros(2, np.float32)).reward for _ in range(50))


def test_another_planner_replaces_an_exported_policy(command, toy_run, tmp_path):
    out, file = tmp_path / "policy", tmp_path / "x.json"
    shutil.copytree(toy_run / "policy", out)
    assert "update 6" in command("export", toy_run, out, "--checkpoint=best")[1]
    flags = ["--checkpoint=3", "--gin_bindings=CEM.iterations=0"]
    status, said, err = command("export", toy_run, out, *flags)
    assert status == 0, err
    assert str(out) in said and "update 3" in said
    status, _, err = command("evaluate", out, "--episodes=2", f"--json={file}")
    assert status == 0, err
    # Without an iteration every action is 0: the dot stays where it starts.
    expected = [still_return(sequence) for sequence in sequences(2, 0)]
    np.testing.assert_allclose(json.loads(file.read_text())["returns"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere", "OUT"], "nowhere"),
        (["RUN", "RUN"], "RUN"),  # not an exported policy: it is not replaced
        (["RUN", "OUT", "--checkpoint=9"], "checkpoint 9"),
        (["RUN", "OUT", "--checkpoint=bset"], "'best'"),
        (["RUN", "OUT", "--gin_bindings=CEM.horizn=9"], "'horizon'"),
        (["RUN", "x[12]"], "x[12]"),
        (["RUN"], "out"),
    ],
)
def test_wrong_input_is_named(command, toy_run, tmp_path, arguments, part):
    places = {"RUN": toy_run, "OUT": tmp_path / "policy"}
    before = contents(toy_run)
    status, out, err = command("export", *[places.get(each, each) for each in arguments])
    assert status == 2 and not out and part.replace("RUN", str(toy_run)) in err, err
    assert contents(toy_run) == before and not list(tmp_path.iterdir())
