"""Estimates of memory, disk and time, worked out by hand."""

import dataclasses

import pytest
from helpers import NEEDS, names, scalars

from planet_tf.machine import benchmark, estimates
from planet_tf.training import Settings

SETTINGS = Settings(
    episodes=10,
    seed_episodes=2,
    heldout_episodes=3,
    updates_per_episode=5,
    evaluate_every=4,
    evaluation_episodes=2,
)
SECONDS = benchmark.ActSeconds(update=0.5, decision=0.1, collecting=0.04, step=0.01)


def dry_run(tasks=1, **settings):
    return estimates.DryRun(dataclasses.replace(SETTINGS, **settings), tasks)


def test_dry_run_counts_what_training_does():
    run = dry_run()
    assert (run.episodes, run.updates) == (10, 8 * 5)
    assert run.evaluations == 3  # after 4, 8 and 10
    assert run.heldout_episodes == 3 + 3 * 2
    assert (run.random_episodes, run.planned_episodes, run.scored_episodes) == (2 + 3, 8, 3 * 2)


def test_dry_run_agrees_with_a_run(toy_run, tiny):
    run = estimates.DryRun(Settings(), tasks=1)
    for kind, count in (("train", run.episodes), ("heldout", run.heldout_episodes)):
        assert len(names(toy_run / "episodes" / kind)) == count
    lines = scalars(toy_run)
    assert lines[-1]["updates"] == run.updates
    assert sum("evaluation/return" in line for line in lines) == run.evaluations


@pytest.mark.parametrize(
    ("settings", "updates", "evaluations"),
    [
        ({"environments": 3}, 40, 3),  # after 5, 8 and 10
        ({"environments": 7}, 40, 2),  # after 9 and 10
        ({"environments": 20}, 40, 1),
        ({"evaluate_every": 1}, 40, 8),
        ({"evaluate_every": 50}, 40, 1),
        ({"episodes": 13}, 55, 4),
        ({"random_collection": True}, 40, 3),
    ],
)
def test_dry_run_follows_the_settings(settings, updates, evaluations):
    run = dry_run(**settings)
    assert (run.updates, run.evaluations) == (updates, evaluations)


def test_episodes_that_are_kept():
    assert dry_run().kept(100) == 10 + 3 + 3 * 2
    assert dry_run(tasks=2).kept(100) == 10 + 3 + 3 * 2 * 2
    assert dry_run(tasks=2).kept(12) == 10 + 12
    assert dry_run().kept(8) == 8 + 8


def test_memory_and_disk():
    assert estimates.memory_bytes(NEEDS, 19) == 50_000 + 19 * 21 * 1000
    episodes, checkpoints = 9510, 6 * 3 * 4_000_000  # 9509.5, rounded up
    logs = 10 * 6000 + 3 * 50 * 100
    expected = episodes + checkpoints + 2 * 5_000_000 + logs
    assert estimates.disk_bytes(NEEDS, 19, dry_run(), chunk_length=50) == expected


@pytest.mark.parametrize(
    ("run", "collected", "scored", "random"),
    [
        (dry_run(), 8, 6, 5),
        (dry_run(random_collection=True), 0, 6, 13),
        (dry_run(tasks=3), 8, 18, 5),
    ],
)
def test_time(run, collected, scored, random):
    acting = collected * 0.05 + scored * 0.11 + random * 0.01  # per agent step
    expected = 40 * 0.5 + 20 * acting
    assert run.seconds(20, SECONDS) == pytest.approx(expected)


def test_an_episode_that_ended_early_is_as_large_per_frame(tmp_path):
    file = tmp_path / "000007-11.npz"  # of eleven frames
    file.write_bytes(b"x" * 2200)
    assert estimates._bytes_per_frame(file) == 200


def test_run_is_measured(tiny):
    with benchmark.fresh_run(jit_compile=False) as (run, _):
        needs = estimates.measured(run)
        (file,) = (run.directory.root / "episodes" / "train").iterdir()
        assert needs.episode_bytes == pytest.approx(file.stat().st_size)
        run.save()
        (checkpoint,) = (run.directory.root / "checkpoints").glob("*.data-*")
        # Parameters and Adam's two moments of them, float32; counters and names.
        assert 0 < checkpoint.stat().st_size - 3 * 4 * needs.parameters < 50_000
    assert needs.agent_steps == 50 and needs.picture_bytes == 30_000
    # Image, action [2], reward, discount, is_first.
    assert needs.frame_bytes == 64 * 64 * 3 + 8 + 4 + 4 + 1 + 5 * 300
    assert 1e8 < needs.held_bytes <= needs.process_bytes < 1e11


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 minute"),
        (89, "1 minute"),
        (90, "2 minutes"),
        (5340, "89 minutes"),
        (5400, "1.5 hours"),
        (35_900, "10.0 hours"),
        (36_000, "10 hours"),
        (171_000, "48 hours"),
        (172_800, "2.0 days"),
        (864_000, "10 days"),
    ],
)
def test_durations_in_words(seconds, words):
    assert estimates.duration(seconds) == words


def test_sizes_in_words():
    words = {0: "0 MB", 1: "1 MB", 12_000_001: "13 MB", 10**9: "1.0 GB", 5_250_000_000: "5.2 GB"}
    assert {count: estimates.size(count) for count in words} == words


def test_numbers_of_the_kernel():
    text = "MemTotal:       24000 kB\nMemAvailable:     123 kB\nVmHWM:\t  7 kB\nHugePages:  5\n"
    assert estimates.kernel_bytes(text, "MemAvailable") == 123 * 1024
    assert estimates.kernel_bytes(text, "VmHWM") == 7168
    for name in ("Available", "HugePages", "None"):
        with pytest.raises(ValueError, match=name):
            estimates.kernel_bytes(text, name)
