"""Scores of evaluation episodes."""

import numpy as np

from planet_tf.training.evaluation import Score


def test_a_score_has_mean_and_population_std_of_returns():
    rewards = ([0.0, 1.0], [0.0, 1.5, 0.5], [0.0, 6.0])
    score = Score([{"reward": np.array(each)} for each in rewards])
    assert score.returns == [1, 2, 6]
    assert score.mean == 3
    np.testing.assert_allclose(score.std, np.sqrt((4 + 1 + 9) / 3))
    assert score.agent_steps == 1 + 2 + 1
