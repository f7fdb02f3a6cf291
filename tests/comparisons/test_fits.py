"""Fits: which share of a variance counts as predicted, what is fitted, what is refused."""

import json
import shutil

import numpy as np
import pytest

from planet_tf import environments, errors, runtime, training
from planet_tf.agents import building
from planet_tf.comparisons import fits, points
from planet_tf.experience import Collector, ReplayBuffer, UniformPolicy


@pytest.fixture(scope="module")
def toy_episodes(toy_run, tmp_path_factory):
    """The toy run's settings with 10 random episodes."""
    root = tmp_path_factory.mktemp("episodes")
    for name in ("config.gin", "run.json"):
        shutil.copy(toy_run / name, root)
    spec = training.load_agent(toy_run).agent.training_data_spec
    collector = Collector(lambda: environments.load("dot_goal", seed=0))
    replay = ReplayBuffer(spec, root / "episodes" / "train")
    sequences = np.random.SeedSequence(0).spawn(10)
    for sequence in sequences:
        for episode in collector.collect(UniformPolicy(collector.env), [sequence]):
            replay.add_episode(episode)
    return root


def test_the_share_of_the_variance_that_is_explained():
    sums = fits._Sums()
    target = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])[:, :, None]  # [windows, steps, pixels]
    prediction = np.array([[0.0, 5.0], [3.0, 5.0], [4.0, 5.0]])[:, :, None]
    sums.add(prediction[:1], target[:1])
    sums.add(prediction[1:], target[1:])
    # Squared error 1, squares around the mean 4 + 0 + 4; what never changes has no share.
    np.testing.assert_allclose(sums.explained(), [1 - 1 / 8, np.nan])


def test_each_pixel_has_its_own_mean():
    sums = fits._Sums()
    target = np.array([[[0.0, 10.0]], [[2.0, 12.0]]])
    sums.add(np.broadcast_to([[[1.0, 11.0]]], [2, 1, 2]), target)
    np.testing.assert_allclose(sums.explained(), [0.0], atol=1e-9)


def test_nothing_is_explained_where_nothing_varies():
    sums = fits._Sums()
    sums.add(np.full([4, 1], 1.2), np.ones([4, 1]))
    assert np.isnan(sums.explained()).all()


def run_with(root, episodes, task):
    """Writes a run's identity and empty files of episodes; returns their folder."""
    train = root / "episodes" / "train"
    train.mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"task": task}))
    for number in range(episodes):
        (train / f"{number:06d}-9.npz").touch()
    return train


def test_one_of_five_episodes_is_held_out(tmp_path):
    train = run_with(tmp_path / "run", 12, "dot_goal")
    assert len(fits.episode_files(tmp_path / "run")) == 12
    files = fits.episode_files(tmp_path / "run", 11)
    (tmp_path / "links").mkdir()
    fitted, heldout = fits._split(files, 1, tmp_path / "links")
    assert sorted(path.name for path in heldout.iterdir()) == ["000004-9.npz", "000009-9.npz"]
    assert len(list(fitted.iterdir())) == 9
    assert all(path.resolve().parent == train for path in fitted.iterdir())


def test_one_of_five_episodes_of_each_task_is_held_out(tmp_path):
    tasks = ["a", "b", "c", "d", "e"]
    run_with(tmp_path / "run", 26, tasks)
    files = fits.episode_files(tmp_path / "run")
    (tmp_path / "links").mkdir()
    _, heldout = fits._split(files, len(tasks), tmp_path / "links")
    numbers = sorted(int(path.name.split("-")[0]) for path in heldout.iterdir())
    assert numbers == [20, 21, 22, 23, 24]


@pytest.mark.parametrize(("count", "found"), [(None, 14), (9, 9)])
def test_several_tasks_need_five_episodes_each(tmp_path, count, found):
    run_with(tmp_path, 14, ["a", "b", "c"])
    with pytest.raises(errors.ConfigError, match=f"only {found} episodes; a fit needs 15"):
        fits.episode_files(tmp_path, count)


def test_the_device_is_chosen_before_a_model_initialises_tensorflow(toy_run, monkeypatch):
    calls = []
    monkeypatch.setattr(runtime, "choose_device", calls.append)
    monkeypatch.setattr(building, "make_agent", lambda *_, **__: calls.append("agent"))
    fits.check(toy_run, points.parse("train.device = 'gpu'"))
    assert calls == ["gpu", "agent"]


@pytest.mark.slow
def test_more_updates_predict_better(toy_episodes):
    point = points.parse("WorldModel.free_nats = 0; train.batch_size = 3")
    files = fits.episode_files(toy_episodes)
    few, many = (fits.measure(toy_episodes, files, point, n, 0) for n in (1, 40))
    assert many.reward_1 > few.reward_1 and many.observation_1 > few.observation_1
    assert (many.updates, many.episodes, many.task) == (40, 10, "dot_goal")


@pytest.mark.parametrize(
    ("binding", "part"),
    [
        ("train.episodes = 7", "train.episodes has no effect"),
        ("load_environment.observations = ('state',)", "observations has no effect"),
        ("WorldModel.free_nat = 1", "free_nats"),
    ],
)
def test_settings_without_effect_are_refused(toy_run, binding, part):
    with pytest.raises(errors.ConfigError) as error:
        fits.check(toy_run, points.parse(binding))
    assert part in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize(("count", "needed"), [(None, 5), (9, 9)])
def test_too_few_episodes_are_refused(tmp_path, count, needed):
    with pytest.raises(errors.ConfigError, match=f"only 0 episodes; a fit needs {needed}"):
        fits.episode_files(tmp_path, count)
