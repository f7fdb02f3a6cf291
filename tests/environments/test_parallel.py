"""Environments in processes: each row is the single environment, and no failure goes unnamed."""

import os
import signal

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.environments import utils
from tf_agents.utils import nest_utils

from planet_tf import environments, errors
from planet_tf.environments import parallel
from planet_tf.experience import UniformPolicy, run_episodes

POLES = {"action_repeat": 100, "observations": ("image", "state")}
FINE, FAILS, NAN = 3, 4, 5  # seeds of `own_tasks:Moody`


@pytest.fixture(scope="module")
def poles():
    """Two environments in processes, which the tests share: starting takes seconds."""
    with parallel.ParallelEnvironment("cartpole_swingup", 2, seed=3, **POLES) as env:
        env.first = env.reset().observation
        yield env


@pytest.fixture
def dots(monkeypatch):
    """Two environments in threads, which fail as their seeds say."""
    helpers.workers_as_threads(monkeypatch)
    with environments.load("own_tasks:Moody", processes=2) as env:
        yield env


def pids(env):
    return [worker.process.pid for worker in env._workers]


def assert_gone(pids):
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def zeros(env):
    return np.zeros([env.batch_size, *env.action_spec().shape], np.float32)


def test_a_row_is_a_single_environment(poles):
    with environments.load("cartpole_swingup", **POLES) as one:
        for name in ("name", "action_repeat", "max_steps", "camera"):
            assert getattr(poles, name) == getattr(one, name)
        assert poles.time_step_spec() == one.time_step_spec()
        assert poles.action_spec() == one.action_spec()
        assert poles.batched and poles.batch_size == 2
        expected, got = (
            run_episodes(env, UniformPolicy(env), helpers.sequences(3)) for env in (one, poles)
        )
    assert len({episode["reward"].sum() for episode in expected}) == len(got) == 3
    for a, b in zip(expected, got, strict=True):
        helpers.assert_same(a, b)
        assert all(b[key].dtype == value.dtype for key, value in a.items())


def test_the_seed_of_all_gives_each_row_its_own(poles):
    seeds = np.random.SeedSequence(3).generate_state(2).tolist()
    with environments.load("cartpole_swingup", **POLES) as one:
        for row, seed in enumerate(seeds):
            one.seed(seed)
            for key, value in one.reset().observation.items():
                np.testing.assert_array_equal(poles.first[key][row], value)
    assert not np.array_equal(*poles.first["state"])


def test_rows_start_again_on_their_own(dots):
    utils.validate_py_environment(dots, episodes=2)
    dots.seed([3, 6])
    step, singles = dots.reset(), [environments.load("dot_goal", seed=seed) for seed in (3, 6)]
    expected = [env.reset() for env in singles]
    for _ in range(52):  # an episode, a reset, a step of the next one
        for row, single in enumerate(expected):
            mine = nest_utils.unstack_nested_arrays(step)[row]
            tf.nest.map_structure(np.testing.assert_array_equal, mine, single)
        assert (step.step_type.dtype, step.reward.dtype) == (np.int32, np.float32)
        step = dots.step(zeros(dots))
        expected = [env.step(np.zeros(2, np.float32)) for env in singles]
    unseeded = dots.reset().observation["image"]
    assert not np.array_equal(unseeded[0], unseeded[1])


def test_wrong_seeds_and_actions_are_refused(dots):
    with pytest.raises(ValueError, match="2 seeds.*3"):
        dots.seed([1, 2, 3])
    assert dots.step(zeros(dots)).is_first().all()  # the first step is a reset
    for action in (np.zeros([3, 2]), np.zeros([2, 3]), np.zeros(2), np.float32(0)):
        with pytest.raises(ValueError, match=r"\(2, 2\)"):
            dots.step(action)
    assert dots.step(zeros(dots)).is_mid().all()
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"got {count}"):
            environments.load("dot_goal", processes=count)


def test_an_environment_that_cannot_be_made_is_named(monkeypatch):
    helpers.workers_as_threads(monkeypatch)
    gin.bind_parameter("load_environment.action_repeat", 51)
    with pytest.raises(errors.ConfigError, match="environment 0 of dot_goal: .*50.*51") as error:
        environments.load("dot_goal", processes=2)
    assert error.value.setting == "load_environment.action_repeat"


@pytest.mark.parametrize(
    ("seed", "kind", "cause"),
    [(FAILS, errors.EnvironmentFailure, "OSError.*hot"), (NAN, errors.NotFiniteError, "step 4")],
)
def test_an_error_keeps_its_kind_and_names_the_row(dots, seed, kind, cause):
    dots.seed([FINE, seed])
    dots.reset()
    with pytest.raises(kind, match=f"environment 1 of own_tasks:Moody: .*{cause}"):
        for _ in range(4):
            dots.step(zeros(dots))
    with pytest.raises(errors.EnvironmentFailure, match="have ended"):
        dots.reset()


# Processes.


def test_ctrl_c_is_left_to_the_parent(poles):
    for pid in pids(poles):
        os.kill(pid, signal.SIGINT)
    assert poles.reset().is_first().all()
    assert poles.step(zeros(poles)).is_mid().all()


def test_the_end_of_one_process_ends_all(poles):  # the last test of `poles`
    poles.reset()
    running = pids(poles)
    os.kill(running[1], signal.SIGKILL)
    with pytest.raises(errors.EnvironmentFailure, match="environment 1 of cartpole.*code -9"):
        poles.step(zeros(poles))
    assert_gone(running)


def test_no_process_is_left_after_close():
    env = environments.load("dot_goal", processes=1)
    running = pids(env)
    os.kill(running[0], 0)
    for _ in range(2):
        env.close()
        assert_gone(running)
    with pytest.raises(errors.EnvironmentFailure, match="have ended"):
        env.reset()


@pytest.mark.faults
def test_no_answer_in_time_is_a_failure(monkeypatch):
    with environments.load("dot_goal", processes=2) as env:
        env.reset()
        monkeypatch.setattr(env, "_timeout", 0.5)
        os.kill(pids(env)[1], signal.SIGSTOP)
        with pytest.raises(errors.EnvironmentFailure, match="environment 1 of dot_goal.* 0.5 "):
            env.step(zeros(env))


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="exit", marks=pytest.mark.faults),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="kill"),
    ],
)
def test_no_process_outlives_its_parent(python, tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from planet_tf import environments\n"
        'if __name__ == "__main__":\n'
        '    env = environments.load("dot_goal", processes=1)\n'
        "    env.reset()\n"
        f"    {end}\n"
    )
    done = python(script)  # this ends when all that hold its output have ended
    assert done.returncode == (-signal.SIGKILL if end else 0), done.stderr
    assert "Error" not in done.stderr
