"""dm_control's tasks: real episodes, and a scripted task for the exact rules."""

import types

import dm_env
import numpy as np
import pytest
from dm_env import specs
from tf_agents.environments import utils
from tf_agents.specs import array_spec

from planet_tf import environments
from planet_tf.environments import dm_control_environment, rendering

REPEATS = {
    "cheetah_run": 4,
    "cartpole_balance": 8,
    "cartpole_swingup": 8,
    "reacher_easy": 4,
    "finger_spin": 2,
    "ball_in_cup_catch": 4,
    "walker_walk": 2,
}


def actions(env, count, seed=0):
    shape = (count, *env.action_spec().shape)
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("name", "repeat"), REPEATS.items())
def test_one_whole_episode(name, repeat):
    env = environments.load(name, seed=0)
    assert (env.name, env.action_repeat, env.max_steps) == (name, repeat, 1000 // repeat)
    steps, renders, draw = [], [], env._draw
    env._draw = lambda: renders.append(draw()) or renders[-1]
    step = env._step
    env._step = lambda action: steps.append(step(action)) or steps[-1]
    utils.validate_py_environment(env, episodes=1)
    assert len(steps) == env.max_steps
    assert len(renders) == env.max_steps + 1  # one a decision, one at reset
    assert [s.is_last() for s in steps] == [False] * (env.max_steps - 1) + [True]
    assert all(s.discount == 1.0 for s in steps)  # the time limit is no termination
    assert len({image.tobytes() for image in renders}) > env.max_steps / 2  # it moves
    assert env.step(actions(env, 1)[0]).is_first()  # the next episode
    env.close()


def test_specs():
    env = environments.load("cheetah_run", seed=0)
    assert set(env.observation_spec()) == {"image"}
    image = env.observation_spec()["image"]
    assert (image.shape, image.dtype, image.minimum, image.maximum) == (
        (64, 64, 3),
        np.uint8,
        0,
        255,
    )
    action = env.action_spec()
    assert (action.shape, action.dtype) == ((6,), np.float32)
    assert np.all(action.minimum == -1) and np.all(action.maximum == 1)
    assert env.reward_spec().dtype == np.float32
    env.close()


def test_frames_belong_to_the_caller():
    env = environments.load("cartpole_swingup", seed=0)
    frames = [env.reset().observation["image"]]
    copies = [frames[0].copy()]
    for action in actions(env, 5):
        frames.append(env.step(action).observation["image"])
        copies.append(frames[-1].copy())
    for frame, copy in zip(frames, copies, strict=True):
        assert frame.flags.c_contiguous and frame.flags.owndata and frame.flags.writeable
        np.testing.assert_array_equal(frame, copy)
    assert not np.array_equal(frames[0], frames[-1])
    rendered = env.render()
    np.testing.assert_array_equal(rendered, frames[-1])
    frames[-1][:] = 0
    np.testing.assert_array_equal(env.render(), rendered)
    env.close()


def test_the_picture_is_the_suites_camera_zero():
    env = environments.load("reacher_easy", seed=0)
    image = env.reset().observation["image"]
    expected = env._env.physics.render(64, 64, camera_id=0)
    np.testing.assert_array_equal(image, expected)
    env.close()


@pytest.mark.parametrize("name", ["cartpole_swingup", "reacher_easy", "hopper_hop"])
def test_the_state_is_the_suites_own_observation(name):
    env = environments.load(name, seed=3, observations=("state",))
    domain, task = name.split("_")
    suite = rendering.import_suite()
    by_hand = suite.load(domain, task, task_kwargs={"random": np.random.RandomState(3)})

    def flat(step):  # some of hopper's and reacher's are scalars or in no alphabetical order
        return np.concatenate([np.ravel(part) for part in step.observation.values()])

    (spec,) = env.observation_spec().values()
    assert type(spec) is array_spec.ArraySpec
    assert (spec.name, spec.dtype) == ("state", np.float32)
    for _ in range(2):
        step, expected = env.reset(), by_hand.reset()
        for action in actions(env, 5):
            assert set(step.observation) == {"state"}
            state = step.observation["state"]
            assert state.shape == spec.shape and state.dtype == np.float32 and state.flags.owndata
            np.testing.assert_array_equal(state, flat(expected).astype(np.float32))
            step = env.step(action)
            for _ in range(env.action_repeat):
                expected = by_hand.step(action)
    env.close()


def test_nothing_is_rendered_where_only_the_state_is_observed(monkeypatch):
    asked = []

    def choose():
        asked.append(1)
        raise rendering.RenderingError("no backend works")

    monkeypatch.setattr(rendering, "choose", choose)
    env = environments.load("acrobot_swingup", seed=0, observations=("state",))
    utils.validate_py_environment(env, episodes=1)
    assert env._renderer is None and asked == []
    with pytest.raises(rendering.RenderingError):
        env.render()
    monkeypatch.undo()
    env.step(actions(env, 1)[0])
    np.testing.assert_array_equal(env.render(), env._env.physics.render(64, 64, camera_id=0))
    before = env.render()
    for action in actions(env, 5):
        env.step(action)
    assert not np.array_equal(env.render(), before)  # the present picture
    env.close()


@pytest.mark.parametrize("MUJOCO_GL", [None, "off"])
def test_a_state_needs_no_opengl_and_a_picture_can_follow(python, monkeypatch, MUJOCO_GL):
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "PLANET_TF_RENDERING"):
        monkeypatch.delenv(name, raising=False)
    if MUJOCO_GL:
        monkeypatch.setenv("MUJOCO_GL", MUJOCO_GL)
    done = python(
        "-c",
        "import sys\n"
        "from planet_tf import environments\n"
        'env = environments.load("hopper_hop", seed=1, observations=("state",))\n'
        "env.reset()\n"
        'assert "OpenGL" not in sys.modules\n'
        "picture = env.render()\n"
        'other = environments.load("hopper_hop", seed=1).reset().observation["image"]\n'
        "assert (picture == other).all() and picture.any()\n",
    )
    if MUJOCO_GL:
        assert "MUJOCO_GL is set, so nothing else was tried" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_picture_and_state_at_once():
    both, image, state = (
        environments.load("cartpole_swingup", seed=1, observations=observations)
        for observations in (["state", "image"], ("image",), ("state",))
    )
    utils.validate_py_environment(both, episodes=1)
    assert both.observation_spec() == {**image.observation_spec(), **state.observation_spec()}
    for env in (both, image, state):
        env.seed(7)
        env.reset()
    for action in actions(both, 3):
        seen, *parts = (env.step(action).observation for env in (both, image, state))
        assert seen.keys() == {"image", "state"}
        for part in parts:
            for key, value in part.items():
                np.testing.assert_array_equal(seen[key], value)
    for env in (both, image, state):
        env.close()


def test_reward_is_the_sum_over_the_repeat():
    env = environments.load("cheetah_run", seed=3)
    from dm_control import suite

    by_hand = suite.load("cheetah", "run", task_kwargs={"random": np.random.RandomState(3)})
    env.reset()
    by_hand.reset()
    for action in actions(env, 20):
        expected = sum(by_hand.step(action).reward for _ in range(4))
        assert env.step(action).reward == np.float32(expected)
        np.testing.assert_array_equal(by_hand.physics.get_state(), env._env.physics.get_state())
    env.close()


@pytest.mark.parametrize("name", ["cartpole_swingup", "lqr_lqr_2_1"])
def test_a_seed_decides_everything(name):
    def two_starts(seed):
        env = environments.load(name, seed=seed)
        steps = []
        for _ in range(2):
            steps.append(env.reset())
            steps += [env.step(action) for action in actions(env, 3)]
        env.close()
        return [(s.observation["image"].tobytes(), s.reward.tobytes()) for s in steps]

    one = two_starts(1)
    assert one == two_starts(1)
    assert one != two_starts(2)
    assert one[0] != one[4]  # episodes of one environment differ
    assert two_starts(None) != two_starts(None)


@pytest.mark.parametrize(("domain", "task"), [("cheetah", "run"), ("cartpole", "swingup")])
def test_cheap_rendering_looks_the_same(domain, task):
    """The mean difference to the suite's own picture is under 0.1 of 255."""
    rendering.choose()
    suite = rendering.import_suite()

    plain, cheap = (
        suite.load(domain, task, task_kwargs={"random": np.random.RandomState(0)}) for _ in range(2)
    )
    dm_control_environment.make_rendering_cheap(cheap.physics)
    plain.reset()
    cheap.reset()
    size = plain.action_spec().shape
    random = np.random.RandomState(0)
    differences = []
    for _ in range(10):
        for action in random.uniform(-1, 1, (8, *size)):
            plain.step(action)
            cheap.step(action)
        pictures = [e.physics.render(64, 64, camera_id=0).astype(float) for e in (plain, cheap)]
        differences.append(np.abs(pictures[0] - pictures[1]).mean())
    print(f"{domain}_{task}: mean difference {np.mean(differences):.4f} of 255")
    assert np.mean(differences) < 0.1
    plain.physics.free()
    cheap.physics.free()


def test_close_twice_and_use_after_close():
    env = environments.load("cartpole_balance", seed=0)
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ValueError, match="closed"):
        env.reset()
    with pytest.raises(ValueError, match="closed"):
        env.step(np.zeros(1, np.float32))


def test_a_task_without_time_limit_gets_one():
    env = environments.load("lqr_lqr_2_1", seed=0, action_repeat=100)
    assert env.max_steps == 10
    env.close()


class Scripted(dm_env.Environment):
    """Pays 1, 2, 3, ... and terminates after `length` env steps with the given discount."""

    task = types.SimpleNamespace(random=np.random.RandomState(0))
    physics = types.SimpleNamespace(
        model=types.SimpleNamespace(ncam=1, id2name=lambda number, kind: "fixed")
    )

    def __init__(self, length=1000, discount=1.0, limit=None):
        self.taken, self.length, self.discount, self.count = [], length, discount, 0
        if limit:
            self._step_limit = limit

    def reset(self):
        self.count = 0
        return dm_env.restart(np.zeros(1))

    def step(self, action):
        self.taken.append(action)
        self.count += 1
        if self.count == self.length:
            last = dm_env.StepType.LAST
            return dm_env.TimeStep(last, float(self.count), self.discount, np.zeros(1))
        return dm_env.transition(float(self.count), np.zeros(1))

    def observation_spec(self):
        return specs.Array((1,), float)

    def action_spec(self):
        return specs.BoundedArray((3,), float, [-2.0, 0.0, -1e10], [1.0, 10.0, 1e10])


class Blank(dm_control_environment.DmControlEnvironment):
    def _draw(self):
        return np.zeros((64, 64, 3), np.uint8)


def test_actions_are_mapped_to_the_tasks_bounds():
    scripted = Scripted()
    env = Blank(scripted, "scripted", action_repeat=1)
    env.reset()
    for action in ([-1, -1, -1], [1, 1, 1], [0, 0, 0], [0.5, -0.5, 0.25]):
        env.step(np.array(action, np.float32))
    np.testing.assert_allclose(
        scripted.taken,
        [[-2, 0, -1], [1, 10, 1], [-0.5, 5, 0], [0.25, 2.5, 0.25]],  # no bounds: as it is
    )
    env.step(np.full(3, 1 + 1e-6, np.float32))  # float error is forgiven and clipped
    np.testing.assert_array_equal(scripted.taken[-1], [1, 10, 1])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0, 0, 1.5], r"scripted: action .*1\.5.* outside \[-1, 1\]"),
        ([0, -2, 0], r"outside \[-1, 1\]"),
        ([0, np.nan, 0], "nan.* not a number"),
        ([0, 0], r"has shape \(2,\), expected \(3,\)"),
        ([[0, 0, 0]], r"has shape \(1, 3\)"),
    ],
)
def test_wrong_actions_are_named(action, message):
    env = Blank(Scripted(), "scripted", action_repeat=1)
    env.reset()
    with pytest.raises(ValueError, match=message):
        env.step(np.array(action, np.float32))


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_a_task_that_ends_inside_a_repeat(discount):
    env = Blank(Scripted(length=6, discount=discount), "scripted", action_repeat=4)
    env.reset()
    zero = np.zeros(3, np.float32)
    first, last = env.step(zero), env.step(zero)
    assert (first.is_mid(), first.reward, first.discount) == (True, 1 + 2 + 3 + 4, 1.0)
    assert (last.is_last(), last.reward, last.discount) == (True, 5 + 6, discount)
    assert first.reward.dtype == first.discount.dtype == last.discount.dtype == np.float32
    assert env.step(zero).is_first()


def test_an_episode_ends_after_the_whole_agent_steps_of_the_limit():
    env = Blank(Scripted(limit=10), "scripted", action_repeat=3)
    env.reset()
    steps = [env.step(np.zeros(3, np.float32)) for _ in range(3)]
    assert [bool(s.is_last()) for s in steps] == [False, False, True]
    assert steps[-1].discount == 1.0


@pytest.mark.parametrize("repeat", [0, 11, 1.5])
def test_a_repeat_that_does_not_fit(repeat):
    with pytest.raises(ValueError, match="action_repeat must be a whole number from 1 to 10"):
        Blank(Scripted(limit=10), "scripted", action_repeat=repeat)


def test_a_task_that_cannot_be_seeded_is_refused():
    scripted = Scripted()
    scripted.task = object()
    with pytest.raises(ValueError, match="scripted: its task has no `random`.*base.Task"):
        Blank(scripted, "scripted", action_repeat=1)
