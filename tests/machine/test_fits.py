"""Fits: which share of a variance counts as predicted, what is fitted, what is refused."""

import shutil

import numpy as np
import pytest

from planet_tf import environments, errors, training
from planet_tf.experience import Collector, ReplayBuffer, UniformPolicy
from planet_tf.machine import fits, points


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


def test_one_of_five_episodes_is_held_out(tmp_path):
    train = tmp_path / "run" / "episodes" / "train"
    train.mkdir(parents=True)
    for number in range(12):
        (train / f"{number:06d}-9.npz").touch()
    assert len(fits.episode_files(tmp_path / "run")) == 12
    files = fits.episode_files(tmp_path / "run", 11)
    (tmp_path / "links").mkdir()
    fitted, heldout = fits._split(files, tmp_path / "links")
    assert sorted(path.name for path in heldout.iterdir()) == ["000004-9.npz", "000009-9.npz"]
    assert len(list(fitted.iterdir())) == 9
    assert all(path.resolve().parent == train for path in fitted.iterdir())


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
    with pytest.raises(errors.ConfigError, match=f"has 0 episodes: a fit needs {needed}"):
        fits.episode_files(tmp_path, count)
