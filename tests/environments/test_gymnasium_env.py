"""Gymnasium's environments as tasks: a scripted one for the exact rules, and registered ones."""

import functools
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from planet_tf import action_specs, environments, errors
from planet_tf.environments import gymnasium_env
from planet_tf.environments.gymnasium_env import GymnasiumEnvironment
from planet_tf.experience import UniformPolicy, run_episodes

STATE = spaces.Box(-np.inf, np.inf, (2,), np.float64)
IMAGE = spaces.Box(0, 255, (128, 96, 3), np.uint8)
CHANNELS_FIRST = spaces.Box(0, 255, (3, 128, 96), np.uint8)
ACTION = spaces.Box(np.float32([[-2.0, 0.0]]), np.float32([[1.0, 10.0]]))  # a matrix


class Scripted(gymnasium.Env):
    """Pays 1, 2, 3, ... and terminates after `length` env steps."""

    def __init__(self, observation=STATE, action=ACTION, length=1000, render_mode=None, seen=None):
        self._seen = seen
        self.observation_space, self.action_space = observation, action
        self.render_mode, self._length = render_mode, length
        self.count, self.taken, self.seeds = 0, [], []

    def observe(self):
        if self.observation_space is IMAGE:
            return np.full(IMAGE.shape, self.count, np.uint8)
        if self.observation_space is STATE:
            return np.array([self.count, 0.5])
        if self._seen is not None:
            return self._seen
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.count = 0
        return self.observe(), {}

    def step(self, action):
        self.taken.append(action)
        self.count += 1
        return self.observe(), float(self.count), self.count == self._length, False, {}

    def render(self):
        picture = np.zeros([64, 128, 3], np.uint8)
        picture[:, ::2] = 2 * self.count  # averages to `count`
        return picture


def wrap(env, action_repeat=1, observations=("state",), limit=10, **changes):
    limited = gymnasium.wrappers.TimeLimit(env, limit) if limit else env
    return GymnasiumEnvironment(limited, "scripted", action_repeat, observations, **changes)


def test_rewards_are_summed_and_actions_mapped_to_the_bounds():
    env = Scripted()
    task = wrap(env, action_repeat=2)
    assert (task.max_steps, task.action_spec().shape) == (5, (2,))
    np.testing.assert_array_equal(task.reset().observation["state"], np.float32([0, 0.5]))
    step = task.step(np.float32([1, -1]))
    assert (step.reward, step.discount) == (1 + 2, 1.0)
    np.testing.assert_array_equal(step.observation["state"], np.float32([2, 0.5]))
    assert env.taken[0].shape == (1, 2) and env.taken[0].dtype == np.float32
    np.testing.assert_array_equal(env.taken, np.float32([[[1, 0]]] * 2))
    np.testing.assert_array_equal(task.step(np.float32([0, 0])).reward, 3 + 4)
    np.testing.assert_array_equal(env.taken[-1], np.float32([[-0.5, 5]]))


@pytest.mark.parametrize(("length", "steps", "discount"), [(3, 2, 0.0), (1000, 5, 1.0)])
def test_terminated_is_discount_0_and_truncated_1(length, steps, discount):
    task = wrap(Scripted(length=length), action_repeat=2)
    task.reset()
    for _ in range(steps - 1):
        assert not task.step(np.zeros(2, np.float32)).is_last()
    last = task.step(np.zeros(2, np.float32))
    assert last.is_last() and last.discount == discount
    assert task.step(np.zeros(2, np.float32)).is_first()


def test_what_an_environment_truncates_itself_is_not_terminated():
    class Truncates(Scripted):
        def step(self, action):
            observation, reward, *_ = super().step(action)
            return observation, reward, False, self.count == 2, {}

    task = wrap(Truncates())
    task.reset()
    task.step(np.zeros(2, np.float32))
    last = task.step(np.zeros(2, np.float32))
    assert last.is_last() and last.discount == 1.0


def test_a_seed_is_for_the_next_reset_alone():
    env = Scripted()
    task = wrap(env, seed=3)
    task.reset()
    task.reset()
    task.seed(7)
    task.reset()
    assert env.seeds == [3, None, 7]


@pytest.mark.parametrize("observation", [STATE, IMAGE])
def test_images_are_observed_or_rendered_and_averaged(observation):
    task = wrap(Scripted(observation, render_mode="rgb_array"), observations=("image",))
    task.reset()
    for count in (1, 2):
        image = task.step(np.zeros(2, np.float32)).observation["image"]
        np.testing.assert_array_equal(image, np.full([64, 64, 3], count, np.uint8))
        np.testing.assert_array_equal(task.render(), image)


def test_image_and_state_together():
    task = wrap(Scripted(render_mode="rgb_array"), observations=("image", "state"))
    observation = task.reset().observation
    assert observation["image"].shape == (64, 64, 3) and observation["state"].shape == (2,)


@pytest.mark.parametrize("shape", [(128, 64), (128, 64, 1), (128, 64, 3), (7, 5, 3), (64, 64, 3)])
def test_pictures_of_any_size_become_64x64_colour(shape):
    image = gymnasium_env.to_image(np.full(shape, 9, np.uint8))
    np.testing.assert_array_equal(image, np.full([64, 64, 3], 9, np.uint8))


def test_averaging_is_exact():
    frame = np.zeros([128, 128, 3], np.uint8)
    frame[::2, ::2] = [4, 8, 12]
    np.testing.assert_array_equal(
        gymnasium_env.to_image(frame), np.broadcast_to(np.uint8([1, 2, 3]), [64, 64, 3])
    )


PARTS = {"b": np.int64(1), "a": np.float32([[1, 2, 3], [4, 5, 6]])}


@pytest.mark.parametrize(
    ("space", "observation", "state"),
    [
        (spaces.Discrete(4), np.int64(2), [0, 0, 1, 0]),
        (
            spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(0, 9, (2, 3))}),
            PARTS,
            [1, 2, 3, 4, 5, 6, 0, 1],  # Gymnasium orders the parts by their names
        ),
        (
            spaces.Tuple([spaces.MultiBinary(3), spaces.Box(-1, 1, (2,))]),
            (np.int8([1, 0, 1]), np.float32([0.5, -1])),
            [1, 0, 1, 0.5, -1],
        ),
    ],
)
def test_states_are_flattened(space, observation, state):
    task = wrap(Scripted(space, seen=observation))
    for step in (task.reset(), task.step(np.zeros(2, np.float32))):
        np.testing.assert_array_equal(step.observation["state"], np.float32(state))


@pytest.mark.parametrize("camera", ["z", "camera"])  # before and after the other names
def test_a_picture_beside_joints_is_the_image_and_they_are_the_state(camera):
    space = spaces.Dict(
        {camera: spaces.Box(0, 255, (128, 96, 3), np.uint8), "joints": spaces.Box(-9, 9, (2,))}
    )
    seen = {camera: np.full([128, 96, 3], 7, np.uint8), "joints": np.float32([1, 2])}
    task = wrap(Scripted(space, seen=seen), observations=("image", "state"))
    observation = task.reset().observation
    np.testing.assert_array_equal(observation["image"], np.full([64, 64, 3], 7, np.uint8))
    np.testing.assert_array_equal(observation["state"], np.float32([1, 2]))
    assert list(wrap(Scripted(space)).observation_spec()) == ["state"]


def test_boards_and_maps_of_bytes_are_states():
    parts = {
        "board": spaces.Box(0, 2, (3, 3), np.uint8),
        "map": spaces.Box(0, 9, (7, 7, 3), np.uint8),
    }
    task = wrap(Scripted(spaces.Dict({**parts, "turn": spaces.Discrete(2)})))
    assert task.observation_spec()["state"].shape == (9 + 147 + 2,)


@pytest.mark.parametrize(
    ("settings", "changes", "parts"),
    [
        ({"action": spaces.Text(3)}, {}, ["Text"]),
        ({"action": spaces.Box(-np.inf, 1, (2,))}, {}, ["no bounds", "TransformAction"]),
        ({"action": spaces.Box(-1, np.finfo(np.float32).max, (2,))}, {}, ["no bounds"]),
        ({"observation": spaces.Dict({"l": IMAGE, "r": IMAGE})}, {}, ["pictures: l, r", "Filter"]),
        ({"observation": spaces.Dict({"camera": IMAGE})}, {}, ["'state'", "('image',)"]),
        ({"observation": CHANNELS_FIRST}, {}, ["'state'", "be uint8 [H, W]"]),
        ({"observation": spaces.Dict({"a": CHANNELS_FIRST})}, {}, ["'state'", "be uint8 [H, W]"]),
        ({"observation": spaces.Sequence(STATE)}, {}, ["'state'", "Sequence"]),
        ({"observation": IMAGE}, {}, ["'state'", "('image',)"]),
        ({}, {"observations": ("image",)}, ["render mode is None", "('state',)"]),
        ({}, {"limit": None}, ["no time limit", "TimeLimit"]),
        ({}, {"action_repeat": 11}, ["action_repeat", "from 1 to 10"]),
    ],
)
def test_an_environment_that_does_not_fit_is_named(settings, changes, parts):
    with pytest.raises(errors.ConfigError) as error:
        wrap(Scripted(**settings), **changes)
    for part in ["scripted", *parts]:
        assert part in str(error.value)


class Broken(Scripted):
    """Fails in its second step in the way that is asked for."""

    how = ""

    def reset(self, *, seed=None, options=None):
        if self.how == "reset":
            raise OSError("no connection")
        return super().reset(seed=seed)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.count == 2 and self.how == "step":
            raise OSError("no connection")
        if self.count == 2 and self.how == "nan":
            observation = observation * np.nan
        if self.count == 2 and self.how == "shape":
            observation = observation[:1]
        return observation, reward, *rest


@pytest.mark.parametrize(
    ("how", "kind", "part"),
    [
        ("reset", errors.EnvironmentFailure, "scripted: OSError: no connection"),
        ("step", errors.EnvironmentFailure, "scripted: OSError: no connection"),
        ("nan", errors.NotFiniteError, "agent step 2: state is NaN"),
        ("shape", errors.EnvironmentFailure, "the state must be float32 [2], got float32 [1]"),
    ],
)
def test_failures_are_named(how, kind, part):
    env = Broken()
    env.how = how
    task = wrap(env)
    with pytest.raises(kind) as error:
        task.reset()
        for _ in range(2):
            task.step(np.zeros(2, np.float32))
    assert part in str(error.value)


# Registered environments.


@pytest.mark.parametrize(
    "family", ["Blackjack", "CliffWalking", "FrozenLake", "FrozenLake8x8", "Taxi"]
)
def test_toy_text_is_seen_as_states(family):
    newest = max(name for name in gymnasium.registry if name.startswith(f"{family}-v"))
    name, kwargs = f"gym:{newest}", {"max_episode_steps": 20}
    env = environments.load(name, seed=0, observations=("state",), kwargs=kwargs)
    assert env.max_steps > 1
    (episode,) = run_episodes(env, UniformPolicy(env), [np.random.SeedSequence(0)])
    np.testing.assert_array_equal(episode["action"][1:].sum(1), 1)
    assert np.isin(episode["state"], (0, 1)).all()  # one-hot, of all choices


@pytest.mark.parametrize("start", [0, 5])
def test_a_choice_is_an_index_from_the_spaces_start(start):
    env = Scripted(action=spaces.Discrete(3, start=start))
    task = wrap(env, action_repeat=2)
    task.reset()
    task.step(np.float32([0, 0, 1]))
    assert env.taken == [start + 2] * 2
    assert task.action_spec().shape == (3,) and task.action_spec().minimum == 0


@pytest.mark.parametrize(
    "name",
    [
        "gym:Acrobot-v1",
        "gym:CartPole-v1",
        "gym:MountainCar-v0",
        "gym:MountainCarContinuous-v0",
        "gym:Pendulum-v1",
    ],
)
def test_registered_environments_keep_their_specs(name):
    short = {"max_episode_steps": 20}
    env = environments.load(name, seed=0, observations=("image", "state"), kwargs=short)
    assert env.name == name and env.action_repeat == 1
    usual = environments.load(name, observations=("state",)).max_steps
    assert usual == gymnasium.spec(name.removeprefix("gym:")).max_episode_steps
    random = np.random.default_rng(0)
    step = env.reset()
    while not step.is_last():
        step = env.step(action_specs.sample(env.action_spec(), random))
        for key, spec in env.observation_spec().items():
            assert spec.check_array(step.observation[key])
    assert step.reward.dtype == np.float32 and step.discount in (0, 1)
    env.close()


@pytest.mark.parametrize(
    ("name", "state", "actions", "terminates"),
    [
        ("gym:HalfCheetah-v5", 17, 6, False),
        ("gym:Hopper-v5", 11, 3, True),
        ("gym:InvertedPendulum-v5", 4, 1, True),
    ],
)
def test_mujoco_environments_are_stepped_and_drawn(name, state, actions, terminates):
    env = environments.load(name, seed=0, action_repeat=4, observations=("image", "state"))
    random, step = np.random.default_rng(0), env.reset()
    assert step.observation["state"].shape == (state,) and env.action_spec().shape == (actions,)
    assert step.observation["image"].std() > 10  # not blank
    for _ in range(40):
        if step.is_last():
            break
        step = env.step(action_specs.sample(env.action_spec(), random))
    assert step.is_last() == terminates and step.discount == (0 if terminates else 1)
    env.close()


@pytest.mark.parametrize(
    ("name", "observations", "actions", "discrete"),
    [
        ("gym:BipedalWalker-v3", ("image", "state"), 4, False),
        ("gym:CarRacing-v3", ("image",), 3, False),  # its observation is the picture
        ("gym:LunarLander-v3", ("image", "state"), 4, True),
    ],
)
def test_box2d_environments_are_stepped_and_drawn(name, observations, actions, discrete):
    env = environments.load(name, seed=0, action_repeat=2, observations=observations)
    assert env.action_spec().shape == (actions,)
    assert action_specs.is_discrete(env.action_spec()) == discrete
    random, step = np.random.default_rng(0), env.reset()
    for _ in range(10):
        for key, spec in env.observation_spec().items():
            assert spec.check_array(step.observation[key])
        step = env.step(action_specs.sample(env.action_spec(), random))
    assert step.observation["image"].std() > 10 and not step.is_last()
    env.close()


def test_a_seed_decides_an_episode():
    def starts(seed):
        env = environments.load("gym:Pendulum-v1", seed=seed, observations=("state",))
        return [env.reset().observation["state"].tolist() for _ in range(2)]

    assert starts(3) == starts(3) != starts(4)
    assert starts(3)[0] != starts(3)[1]


def test_keyword_arguments_reach_the_environment():
    kwargs = {"g": 0.0, "max_episode_steps": 7}
    env = environments.load("gym:Pendulum-v1", observations=("state",), kwargs=kwargs)
    assert env.max_steps == 7
    weightless = env.reset().observation["state"]
    # Without gravity and torque the velocity stays.
    after = env.step(np.zeros(1, np.float32)).observation["state"]
    np.testing.assert_allclose(after[2], weightless[2], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "parts"),
    [
        ("gym:Pendulum-v9", {}, ["versioned environments", "`v1`"]),
        ("gym:Pendulun-v1", {}, ["Did you mean", "Pendulum"]),
        ("gym:nowhere_at_all:Pendulum-v1", {}, ["nowhere_at_all"]),
        ("gym:Pendulum-v1", {"kwargs": {"gravity": 1}}, ["gravity", "load_environment.kwargs"]),
        ("gym:Pendulum-v1", {"camera": 0}, ["camera"]),
        ("dot_goal", {"kwargs": {"g": 1}}, ["dot_goal takes no load_environment.kwargs"]),
    ],
)
def test_wrong_names_and_settings_are_named(name, settings, parts):
    with pytest.raises(errors.ConfigError) as error:
        environments.load(name, observations=("state",), **settings)
    for part in parts:
        assert part in f"{error.value} {error.value.setting}"


def test_a_missing_gymnasium_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(errors.ConfigError, match=r"gymnasium is not installed .*\[gymnasium\]"):
        environments.check_name("gym:Pendulum-v1")


@pytest.fixture
def custom(monkeypatch):
    """Gives a function the name my_gym:make."""

    def name(make):
        monkeypatch.setattr(sys.modules[__name__], "make", make, raising=False)
        monkeypatch.setitem(sys.modules, "my_gym", sys.modules[__name__])

    return name


def test_a_function_may_return_one(custom):
    """A custom task 'module:function' whose function takes no action repeat."""

    def make(seed, observations, length=10):
        return gymnasium.wrappers.TimeLimit(Scripted(length=length), 8)

    custom(make)
    settings = {"action_repeat": 2, "kwargs": {"length": 4}}
    env = environments.load("my_gym:make", observations=("state",), **settings)
    assert (env.name, env.action_repeat, env.max_steps) == ("my_gym:make", 2, 4)
    env.reset()
    env.step(np.zeros(2, np.float32))
    last = env.step(np.zeros(2, np.float32))
    assert last.is_last() and last.discount == 0.0


@pytest.mark.parametrize("action_repeat", [None, 4])
def test_a_function_that_repeats_actions_too_is_refused(custom, action_repeat):
    def make(seed, observations, action_repeat=4):
        return gymnasium.wrappers.TimeLimit(Scripted(), 8)

    custom(make)
    with pytest.raises(errors.ConfigError, match="let it take neither"):
        environments.load("my_gym:make", observations=("state",), action_repeat=action_repeat)


def test_a_function_that_takes_everything_is_not_given_the_action_repeat(custom):
    custom(lambda seed, observations, **kwargs: gymnasium.wrappers.TimeLimit(Scripted(), 8))
    load = functools.partial(environments.load, "my_gym:make", observations=("state",))
    assert load().action_repeat == 1
    with pytest.raises(errors.ConfigError, match="takes action_repeat"):
        load(action_repeat=2)


def test_a_functions_camera_is_the_environments(custom):
    def make(seed, observations, camera="front"):
        return gymnasium.wrappers.TimeLimit(Scripted(), 8)

    custom(make)
    for camera in (None, "top"):
        env = environments.load("my_gym:make", observations=("state",), camera=camera)
        assert env.camera == camera


def test_a_backend_is_chosen_before_mujoco_draws_for_a_run_on_states(monkeypatch):
    chosen = []
    monkeypatch.setattr(gymnasium_env.rendering, "choose", lambda: chosen.append(1))
    env = environments.load("gym:InvertedPendulum-v5", seed=0, observations=("state",))
    env.reset()
    assert not chosen
    monkeypatch.setattr(env._env, "render", lambda: np.full([4, 4, 3], 5, np.uint8))
    np.testing.assert_array_equal(env.render(), np.full([64, 64, 3], 5, np.uint8))
    assert chosen
    plain = environments.load("gym:CartPole-v1", seed=0, observations=("state",))
    plain.reset()
    plain.render()
    assert len(chosen) == 1
