"""Environments in processes: each row is the single environment, and no failure goes unnamed."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.environments import utils
from tf_agents.utils import nest_utils

from planet_tf import environments, evaluation
from planet_tf.environments import processes

# Starting takes seconds: the tests share the processes.


@pytest.fixture(scope="module")
def dots():
    with environments.load("dot_goal", count=2) as env:
        yield env


@pytest.fixture(scope="module")
def poles():
    with environments.load("cartpole_swingup", count=2) as env:
        yield env


def pids(env):
    return [worker.process.pid for worker in env._workers]


def check_gone(pids):
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def zeros(env):
    return np.zeros([env.batch_size, *env.action_spec().shape], np.float32)


@pytest.mark.parametrize("several", ["dots", "poles"])
def test_a_row_gives_the_episodes_of_a_single_environment(several, request):
    several = request.getfixturevalue(several)
    seeds = np.random.SeedSequence(5).spawn(3)
    with environments.load(several.name) as one:
        for name in ("name", "action_repeat", "max_steps"):
            assert getattr(several, name) == getattr(one, name)
        assert several.time_step_spec() == one.time_step_spec()
        assert several.action_spec() == one.action_spec()
        assert several.batched and several.batch_size == 2
        expected, got = (
            evaluation.run_episodes(env, evaluation.UniformPolicy(env), seeds)
            for env in (one, several)
        )
    assert len({episode["reward"].sum() for episode in expected}) == len(got) == 3
    for a, b in zip(expected, got, strict=True):
        for key, value in a.items():
            np.testing.assert_array_equal(b[key], value)
            assert b[key].dtype == value.dtype


def test_it_is_a_valid_environment_whose_rows_start_again(dots):
    utils.validate_py_environment(dots, episodes=2)
    dots.seed([3, 4])
    step, singles = dots.reset(), [environments.load("dot_goal", seed=seed) for seed in (3, 4)]
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


def test_rows_observe_what_was_asked_for():
    settings = {"seed": 3, "observations": ("image", "state")}
    seeds = np.random.SeedSequence(3).generate_state(2).tolist()
    with environments.load("dot_goal", count=2, **settings) as several:
        one = environments.load("dot_goal", **settings)
        assert several.observation_spec() == one.observation_spec()
        seen = several.reset().observation
        for row, seed in enumerate(seeds):
            one.seed(seed)
            for key, value in one.reset().observation.items():
                np.testing.assert_array_equal(seen[key][row], value)


def test_the_seed_of_all_decides_what_each_starts_with(dots):
    with environments.load("dot_goal", seed=3, count=2) as env:
        first = env.reset().observation["image"]
    dots.seed(np.random.SeedSequence(3).generate_state(2))
    np.testing.assert_array_equal(dots.reset().observation["image"], first)
    assert not np.array_equal(first[0], first[1])


def test_ctrl_c_is_the_parents_business(dots):
    for pid in pids(dots):
        os.kill(pid, signal.SIGINT)
    assert dots.reset().is_first().all()
    assert dots.step(zeros(dots)).is_mid().all()


def fail(env):
    env.step(np.array([[0, 0], [0, np.nan]], np.float32))


def die(env):
    os.kill(pids(env)[1], signal.SIGKILL)
    env.step(zeros(env))


def hang(env):
    os.kill(pids(env)[1], signal.SIGSTOP)
    env._timeout = 0.5
    try:
        env.step(zeros(env))
    finally:
        env._timeout = 60.0


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (fail, "ValueError.*nan.*is not a number"),
        (die, "died with exit code -9"),
        (hang, "no answer within 0.5 seconds"),
    ],
)
def test_a_failure_names_the_row_and_a_restart_mends_it(dots, act, cause):
    dots.seed([1, 2])
    before, running = dots.reset(), pids(dots)
    with pytest.raises(processes.WorkerError, match=f"environment 1 of dot_goal: .*{cause}"):
        act(dots)
    check_gone(running)
    with pytest.raises(processes.WorkerError, match=r"restart\(\)"):
        dots.reset()
    dots.restart()
    dots.seed([1, 2])
    after = dots.step(zeros(dots))  # the first step is a reset
    assert after.is_first().all()
    np.testing.assert_array_equal(after.observation["image"], before.observation["image"])


def test_what_does_not_fit_is_refused(dots):
    with pytest.raises(ValueError, match="2 seeds.*got 3"):
        dots.seed([1, 2, 3])
    dots.reset()
    for action in (np.zeros([3, 2]), np.zeros([2, 3]), np.zeros(2), np.float32(0)):
        with pytest.raises(ValueError, match=r"expected \(2, 2\)"):
            dots.step(action)
    assert dots.step(zeros(dots)).is_mid().all()
    for count in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            environments.load("dot_goal", count=count)
    with pytest.raises(ValueError, match="did you mean 'dot_goal'"):
        environments.load("dotgoal", count=2)


def test_an_environment_that_cannot_be_made_is_said():
    message = "environment 0 of dot_goal: .*action_repeat.* 1 to 50.* 51"
    with pytest.raises(processes.WorkerError, match=message):
        environments.load("dot_goal", action_repeat=51, count=2)


def test_no_process_is_left_after_close():
    env = processes.EnvironmentProcesses("dot_goal", 1)
    env.reset()
    running = pids(env)
    os.kill(running[0], 0)
    for _ in range(2):
        env.close()
        check_gone(running)
    with pytest.raises(processes.WorkerError, match=r"restart\(\)"):
        env.reset()


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["exit", "kill"])
def test_no_process_outlives_its_parent(python, tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from planet_tf import environments\n"
        'if __name__ == "__main__":\n'
        '    env = environments.load("dot_goal", count=2)\n'
        "    env.reset()\n"
        f"    {end}\n"
    )
    done = python(script)  # this ends when all that hold its output have ended
    assert done.returncode == (-signal.SIGKILL if end else 0), done.stderr
    assert "Error" not in done.stderr
