"""Every file of gin/ablations and gin/presets: trained a little, stopped, resumed, exported."""

import json

import gin
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import config, training
from tests.conftest import ROOT

FILES = sorted([*(ROOT / "gin" / "ablations").glob("*.gin"), *(ROOT / "gin" / "presets").glob("*")])
SMALL = [
    "SSMCell.stoch_size = 4",
    "SSMCell.hidden_size = 16",
    "RNNCell.deter_size = 16",
    "RNNCell.hidden_size = 16",
    "StateEncoder.units = 16",
    "StateDecoder.units = 16",
    "ContinuationHead.units = 16",
]


def train(root_dir, file, further):
    gin.clear_config()
    names = ["dot_goal.gin", "debug.gin", file.relative_to(ROOT / "gin")]
    seeds = 6 if file.stem == "all_tasks" else 2
    counts = f"train.episodes = {seeds + further}", f"train.seed_episodes = {seeds}"
    settings = [
        *SMALL,
        *counts,
        "train.heldout_episodes = 1",
        "cem.horizon = 2",
        "train.export_every = 99",
    ]
    if file.stem == "all_tasks":
        settings.append("load_environment.action_repeat = 100")  # short episodes
    config.parse([str(ROOT / "gin" / name) for name in names], settings)
    training.train(str(root_dir))
    return seeds + further


@pytest.mark.parametrize("stops", [False, pytest.param(True, marks=pytest.mark.faults)])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_trains_goes_on_and_is_exported(file, stops, tmp_path):
    if stops:
        train(tmp_path, file, 1)
    episodes = train(tmp_path, file, 2)
    lines = (tmp_path / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert rows[-1]["episodes"] == episodes and rows[-1]["updates"] == 6
    assert any(np.isfinite(row.get("evaluation/return", np.nan)) for row in rows)
    policy = tf.saved_model.load(str(tmp_path / "policy"))
    spec = policy.signatures["action"].structured_input_signature[1]
    observed = [name for name in spec if "observation" in name]
    reads = "state" if file.stem == "state" else "image"
    assert [name.split("_")[-1] for name in observed] == [reads]
    inputs = {name: tf.zeros([2, *s.shape[1:]], s.dtype) for name, s in spec.items()}
    actions = [policy.signatures["action"](**inputs)["action"] for _ in range(2)]
    np.testing.assert_array_equal(*actions)
    assert np.all(np.abs(actions[0]) <= 1) and np.any(actions[0] != 0)


def test_the_readme_names_every_file(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    for file in FILES:
        assert str(file.relative_to(ROOT)) in readme, file
