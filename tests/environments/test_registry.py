"""Names, suggestions, what gin sets, and what importing the package costs."""

import gin
import pytest

from planet_tf import environments, errors
from planet_tf.environments import rendering

OBSERVATIONS = "load_environment.observations"


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
def test_a_misspelt_name_gets_the_nearest_right_one(wrong, right):
    with pytest.raises(errors.ConfigError) as error:
        environments.check_name(wrong)
    assert error.value.setting == "train.task"
    assert repr(wrong) in error.value.message and repr(right) in error.value.hint


@pytest.mark.parametrize("load", [environments.load, lambda n: environments.load(n, processes=2)])
def test_loading_checks_the_name(load):
    with pytest.raises(errors.ConfigError, match="'finger_spin'"):
        load("finger_spinn")


def test_all_names_hold_the_suite():
    from dm_control import suite

    assert len(environments.all_names()) == len(suite.ALL_TASKS) + 1
    assert set(environments.names()) < set(environments.all_names())
    for name in ("quadruped_walk", "lqr_lqr_6_2", *environments.names()):
        environments.check_name(name)


def test_right_names_are_checked_without_heavy_imports(python):
    done = python(
        "-c",
        "import sys\n"
        'for module in ("tensorflow", "tf_agents", "dm_control", "mujoco"):\n'
        "    sys.modules[module] = None\n"  # importing it now raises ImportError
        "from planet_tf import environments\n"
        "for name in environments.names(): environments.check_name(name)\n",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong", ["state", (), ("pixels",), ("image", "depth"), ("state", "state"), None, 3, ([],)]
)
def test_wrong_observations_are_refused(wrong):
    with pytest.raises(errors.ConfigError) as error:
        environments.load("dot_goal", observations=wrong)
    assert error.value.setting == OBSERVATIONS and repr(wrong) in error.value.message
    gin.bind_parameter(OBSERVATIONS, wrong)
    with pytest.raises(errors.ConfigError) as error:
        environments.load("dot_goal", processes=2)
    assert error.value.setting == OBSERVATIONS


def test_gin_sets_how_environments_are_loaded():
    gin.parse_config("load_environment.action_repeat = 5")
    assert environments.load("dot_goal").max_steps == 10
    gin.parse_config("load_environment.observations = ('state',)")
    assert set(environments.load("dot_goal").observation_spec()) == {"state"}
    with pytest.raises(ValueError, match="name"):  # train.task is the place for it
        gin.parse_config("load_environment.name = 'dot_goal'")


@pytest.mark.parametrize("repeat", [0, 1.5, "2", True])
def test_an_action_repeat_is_a_whole_number(repeat):
    with pytest.raises(errors.ConfigError) as error:
        environments.load("dot_goal", action_repeat=repeat)
    assert error.value.setting == "load_environment.action_repeat"


@pytest.mark.parametrize(
    ("name", "observations", "needs"),
    [
        ("cheetah_run", ("image", "state"), True),
        ("cheetah_run", ("state",), False),
        ("dot_goal", ("image",), False),
        ("own_tasks:make", ("image",), False),
    ],
)
def test_only_images_of_the_suite_need_rendering(name, observations, needs):
    assert environments.needs_rendering(name, observations) == needs


@pytest.mark.parametrize(
    ("name", "processes"), [("cheetah_run", None), ("cheetah_run", 2), ("gym:Hopper-v5", None)]
)
def test_a_missing_renderer_is_found_before_anything_is_made(name, processes, monkeypatch):
    asked = []

    def choose():
        asked.append(1)
        raise errors.RenderingError("no backend works")

    monkeypatch.setattr(rendering, "choose", choose)
    with pytest.raises(errors.RenderingError, match="^no backend works"):
        environments.load(name, processes=processes)
    assert asked == [1]
