"""Names, suggestions and what importing the package costs."""

import os
import subprocess
import sys
from pathlib import Path

import gin
import pytest

from planet_tf import environments

ROOT = Path(environments.__file__).parents[2]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("cheeta_run", "cheetah_run"),
        ("cartpole-swingup", "cartpole_swingup"),
        ("cup_catch", "ball_in_cup_catch"),
        ("Walker Walk", "walker_walk"),
        ("dotgoal", "dot_goal"),
        ("humanoid_cmu_run", "humanoid_CMU_run"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_right_one(wrong, right):
    with pytest.raises(ValueError, match=f"unknown environment '{wrong}': did you mean '{right}'"):
        environments.check_name(wrong)


def test_load_checks_the_name():
    with pytest.raises(ValueError, match="did you mean 'finger_spin'"):
        environments.load("finger_spinn")


def test_all_names_hold_the_suite():
    from dm_control import suite

    assert len(environments.all_names()) == len(suite.ALL_TASKS) + 1
    assert set(environments.names()) < set(environments.all_names())
    environments.check_name("quadruped_walk")
    environments.check_name("lqr_lqr_6_2")


def test_right_names_are_checked_without_heavy_imports():
    program = (
        "import sys\n"
        'for module in ("tensorflow", "tf_agents", "dm_control", "mujoco"):\n'
        "    sys.modules[module] = None\n"  # importing it now raises ImportError
        "from planet_tf import environments\n"
        "for name in environments.names(): environments.check_name(name)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )


@pytest.mark.parametrize(
    "wrong", ["state", (), ("pixels",), ("image", "depth"), ("state", "state"), None, 3, ([],)]
)
@pytest.mark.parametrize("count", [1, 2])
def test_wrong_observations_are_answered_with_the_right_ones(wrong, count):
    with pytest.raises(
        ValueError, match=r"load_environment\.observations.*'image' or 'state' or both.*got"
    ):
        environments.load("dot_goal", observations=wrong, count=count)


def test_load_is_configurable_by_gin():
    try:
        gin.parse_config("load_environment.action_repeat = 5")
        assert environments.load("dot_goal").max_steps == 10
        gin.parse_config("load_environment.observations = ('state',)")
        assert set(environments.load("dot_goal").observation_spec()) == {"state"}
        with pytest.raises(ValueError, match="name"):  # train.task is the place for it
            gin.parse_config("load_environment.name = 'dot_goal'")
    finally:
        gin.clear_config()
