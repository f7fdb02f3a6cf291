"""dm_control's tasks: real episodes, and a scripted task for the exact rules."""

import threading
import types

import dm_env
import numpy as np
import pytest
from dm_env import specs
from tf_agents.environments import utils
from tf_agents.specs import array_spec

from planet_tf import environments, errors
from planet_tf.environments import dm_control_env, rendering

REPEATS = {
    "cheetah_run": 4,
    "cartpole_balance": 8,
    "cartpole_swingup": 8,
    "reacher_easy": 4,
    "finger_spin": 2,
    "ball_in_cup_catch": 4,
    "walker_walk": 2,
}
CAMERA = "load_environment.camera"


def actions(env, count, seed=0):
    shape = (count, *env.action_spec().shape)
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def suite_env(domain, task, seed):
    suite = rendering.import_suite()
    return suite.load(domain, task, task_kwargs={"random": np.random.RandomState(seed)})


@pytest.mark.parametrize(("name", "repeat"), REPEATS.items())
def test_the_papers_tasks_have_its_action_repeats(name, repeat):
    env = environments.load(name, seed=0)
    assert (env.name, env.action_repeat, env.max_steps) == (name, repeat, 1000 // repeat)
    frames = [env.reset().observation["image"]]
    frames += [env.step(action).observation["image"] for action in actions(env, 5)]
    assert len({frame.tobytes() for frame in frames}) > 3  # it moves
    env.close()


def test_a_whole_episode_renders_once_per_decision():
    env = environments.load("cartpole_swingup", seed=0)
    steps, renders, draw = [], [], env._draw
    env._draw = lambda: renders.append(draw()) or renders[-1]
    step = env._step
    env._step = lambda action: steps.append(step(action)) or steps[-1]
    utils.validate_py_environment(env, episodes=1)
    assert len(steps) == env.max_steps == 125
    assert len(renders) == 126
    assert [s.is_last() for s in steps] == [False] * 124 + [True]
    assert all(s.discount == 1.0 for s in steps)  # the time limit is no termination
    assert len({image.tobytes() for image in renders}) > 63
    assert env.step(actions(env, 1)[0]).is_first()  # the next episode
    env.close()


def test_specs():
    env = environments.load("cheetah_run", seed=0)
    assert set(env.observation_spec()) == {"image"}
    image = env.observation_spec()["image"]
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert (image.minimum, image.maximum) == (0, 255)
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


def test_the_image_is_from_the_suites_first_camera():
    env = environments.load("reacher_easy", seed=0)
    image = env.reset().observation["image"]
    expected = env._env.physics.render(64, 64, camera_id=0)
    np.testing.assert_array_equal(image, expected)
    env.close()


@pytest.mark.parametrize("name", ["cartpole_swingup", "reacher_easy", "hopper_hop"])
def test_the_state_is_the_suites_own_observation(name):
    env = environments.load(name, seed=3, observations=("state",))
    by_hand = suite_env(*name.split("_"), seed=3)

    def flat(step):  # some of hopper's and reacher's are scalars or not in alphabetical order
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


def test_states_need_no_rendering(monkeypatch):
    asked = []

    def choose():
        asked.append(1)
        raise errors.RenderingError("no backend works")

    monkeypatch.setattr(rendering, "choose", choose)
    env = environments.load("acrobot_swingup", seed=0, observations=("state",), action_repeat=20)
    utils.validate_py_environment(env, episodes=1)
    assert env._renderer is None and asked == []
    with pytest.raises(errors.RenderingError):
        env.render()
    monkeypatch.undo()
    env.step(actions(env, 1)[0])
    np.testing.assert_array_equal(env.render(), env._env.physics.render(64, 64, camera_id=0))
    before = env.render()
    for action in actions(env, 5):
        env.step(action)
    assert not np.array_equal(env.render(), before)  # the current image
    env.close()


def test_a_state_needs_no_opengl_and_an_image_can_follow(python, monkeypatch):
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "PLANET_TF_RENDERING"):
        monkeypatch.delenv(name, raising=False)
    done = python(
        "-c",
        "import sys\n"
        "from planet_tf import environments\n"
        'env = environments.load("hopper_hop", seed=1, observations=("state",))\n'
        "env.reset()\n"
        'assert "OpenGL" not in sys.modules\n'
        "image = env.render()\n"
        'other = environments.load("hopper_hop", seed=1).reset().observation["image"]\n'
        "assert (image == other).all() and image.any()\n",
    )
    assert done.returncode == 0, done.stderr


def test_image_and_state_can_be_observed_together():
    both, image, state = (
        environments.load("cartpole_swingup", seed=1, observations=observations, action_repeat=40)
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


def test_the_reward_is_the_sum_over_the_action_repeat():
    env, by_hand = environments.load("cheetah_run", seed=3), suite_env("cheetah", "run", seed=3)
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
    """The mean difference from the suite's own image is below 0.1 of 255."""
    rendering.choose()
    plain, cheap = (suite_env(domain, task, seed=0) for _ in range(2))
    dm_control_env.make_rendering_cheap(cheap.physics)
    plain.reset()
    cheap.reset()
    size = plain.action_spec().shape
    random = np.random.RandomState(0)
    differences = []
    for _ in range(10):
        for action in random.uniform(-1, 1, (8, *size)):
            plain.step(action)
            cheap.step(action)
        images = [e.physics.render(64, 64, camera_id=0).astype(float) for e in (plain, cheap)]
        differences.append(np.abs(images[0] - images[1]).mean())
    print(f"{domain}_{task}: mean difference {np.mean(differences):.4f} of 255")
    assert np.mean(differences) < 0.1
    plain.physics.free()
    cheap.physics.free()


# Cameras and threads.


def test_the_image_of_every_default_camera_shows_the_body():
    env = environments.load("quadruped_walk", seed=0)
    assert env.camera == 2
    env.reset()
    physics = env._env.physics
    segments = physics.render(64, 64, camera_id=env.camera, segmentation=True)[..., 0]
    body = [i for i, b in enumerate(physics.model.geom_bodyid) if physics.model.body_weldid[b]]
    assert np.isin(segments, body).mean() > 0.03
    env.close()


def test_a_camera_is_chosen_by_index_or_name():
    images = [
        environments.load("cheetah_run", seed=0, camera=camera).reset().observation["image"]
        for camera in (None, 0, "side", 1, "back")
    ]
    for image in images[1:3]:
        np.testing.assert_array_equal(image, images[0])
    np.testing.assert_array_equal(images[3], images[4])
    assert not np.array_equal(images[0], images[3])


@pytest.mark.parametrize(
    ("name", "camera", "named"),
    [
        *(("cheetah_run", wrong, "'side'") for wrong in ("front", 2, -1, True)),
        ("dot_goal", 0, "dot_goal"),
        ("odd_tasks:no_camera", None, "<camera>"),
    ],
)
def test_a_camera_that_is_not_there_is_refused(name, camera, named):
    with pytest.raises(errors.ConfigError) as error:
        environments.load(name, camera=camera)
    assert named in str(error.value)
    if ":" not in name:  # what a custom task raises is wrapped
        assert error.value.setting == CAMERA


def test_an_environment_belongs_to_the_thread_it_renders_in():
    env = environments.load("cartpole_swingup", seed=0)
    rendered, tried = threading.Event(), threading.Event()

    def live():
        env.reset()
        rendered.set()
        tried.wait()
        env.close()

    thread = threading.Thread(target=live)
    thread.start()
    rendered.wait()
    for act in (lambda: env.step(np.zeros(1, np.float32)), env.close):
        with pytest.raises(errors.ConfigError, match="cartpole_swingup.*thread"):
            act()
    tried.set()
    thread.join()


def test_a_closed_environment_cannot_be_used():
    env = environments.load("cartpole_balance", seed=0)
    env.reset()
    env.close()
    env.close()
    for act in (env.reset, lambda: env.step(np.zeros(1, np.float32))):
        with pytest.raises(errors.EnvironmentFailure, match="cartpole_balance.*closed"):
            act()


# Odd tasks.


def test_a_task_without_a_time_limit_gets_one():
    env = environments.load("lqr_lqr_2_1", seed=0, action_repeat=100)
    assert env.max_steps == 10
    env.close()


def test_an_observation_may_need_a_first_reset():
    env = environments.load("odd_tasks:target", seed=1, observations=("state",))
    assert env.observation_spec()["state"].shape == (2,)
    first = env.reset().observation["state"]
    env.seed(1)
    np.testing.assert_array_equal(env.reset().observation["state"], first)


@pytest.mark.parametrize("name", ["array_reward", "int_reward", "bool_reward"])
def test_rewards_of_other_types_are_numbers(name):
    env = environments.load(f"odd_tasks:{name}", observations=("state",))
    env.reset()
    reward = env.step(np.zeros(1, np.float32)).reward
    assert reward.shape == () and reward.dtype == np.float32


def test_diverging_physics_is_an_environment_failure():
    env = environments.load("odd_tasks:diverges", seed=0, observations=("state",))
    env.reset()
    with pytest.raises(errors.EnvironmentFailure, match="odd_tasks:diverges: PhysicsError"):
        for _ in range(2000):
            env.step(np.zeros(1, np.float32))


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


class Blank(dm_control_env.DmControlEnvironment):
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


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_a_task_that_terminates_keeps_its_discount(discount):
    env = Blank(Scripted(length=6, discount=discount), "scripted", action_repeat=4)
    env.reset()
    zero = np.zeros(3, np.float32)
    first, last = env.step(zero), env.step(zero)
    assert (first.is_mid(), first.reward, first.discount) == (True, 1 + 2 + 3 + 4, 1.0)
    assert (last.is_last(), last.reward, last.discount) == (True, 5 + 6, discount)


def test_the_tasks_time_limit_ends_episodes():
    env = Blank(Scripted(limit=10), "scripted", action_repeat=3)
    env.reset()
    steps = [env.step(np.zeros(3, np.float32)) for _ in range(3)]
    assert [bool(s.is_last()) for s in steps] == [False, False, True]
    assert steps[-1].discount == 1.0


def test_a_task_that_cannot_be_seeded_is_refused():
    scripted = Scripted()
    scripted.task = object()
    with pytest.raises(errors.ConfigError, match="scripted.*random"):
        Blank(scripted, "scripted", action_repeat=1)
