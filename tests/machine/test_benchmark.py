"""The benchmark: a run of all its parts, and what cannot be measured."""

import contextlib
import functools
import types

import gin
import pytest

from planet_tf import environments, errors
from planet_tf.machine import benchmark
from planet_tf.training import Settings
from planet_tf.training.learner import Learner


@pytest.fixture
def small_matmul(monkeypatch):
    rate = functools.partial(benchmark.matmul_rate, size=256)
    monkeypatch.setattr(benchmark, "matmul_rate", rate)


def test_a_run_is_compiled_as_train_says_unless_asked_otherwise(monkeypatch):
    found = []

    def opened(root, settings):
        found.append(settings.jit_compile)
        tasks = types.SimpleNamespace(names=[])
        run = types.SimpleNamespace(tasks=tasks, collect_random=lambda count: None)
        return contextlib.nullcontext(run)

    monkeypatch.setattr(benchmark, "opened", opened)
    gin.parse_config("train.jit_compile = True")
    for asked in (None, False):
        with benchmark.fresh_run(asked):
            pass
    assert found == [True, False]


def test_all_parts_are_measured(small_matmul, tmp_path, monkeypatch):
    fitted, fit = [], Learner.fit

    def note(self, replay, updates, progress):
        fitted.append(updates)
        return fit(self, replay, updates, progress)

    monkeypatch.setattr(Learner, "fit", note)
    rate, parts = benchmark.run(
        {"toy": ["dot_goal.gin", "debug.gin"]},
        jit_compile=False,
        repeats=2,
        updates=2,
        profile=str(tmp_path / "trace"),
    )
    assert rate > 0 and benchmark.matmul_rate(dtype="bfloat16") > 0
    assert fitted == [1, 2]  # the first one is not timed
    found = {part.name.removeprefix("toy: "): part for part in parts}
    # These two are differences of times, and below 0 where a step happens to be slow.
    differences = ("simulation", "the rest (files, logs)")
    assert all(part.seconds > 0 for part in parts if not part.name.endswith(differences))
    for name in ("update", "decision"):
        part = found[name]
        assert 0 < part.of_matmul == pytest.approx(1e9 * part.gflop / part.seconds / rate)
    assert found["frame"].gflop is None and "sampled batch" in found
    assert not any("suite" in name for name in found)  # dot_goal has no other settings
    whole = found.pop("cycle of 2 updates and an episode").seconds
    shares = [part.seconds for name, part in found.items() if name.startswith("cycle")]
    assert len(shares) == 5 and sum(shares) == pytest.approx(whole)
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    table = benchmark.table(parts)
    assert all(part.name in table for part in parts)


def test_custom_network_is_timed_but_not_counted(agent, monkeypatch):
    def refuse(*_):
        raise TypeError

    for name in ("update_flops", "decision_flops"):
        monkeypatch.setattr(benchmark.flops, name, refuse)
    run, seconds = types.SimpleNamespace(agent=agent), benchmark.ActSeconds(1.0, 2.0, 2.0, 3.0)
    parts = benchmark._arithmetic(run, Settings(), seconds, rate=1.0)
    assert [(part.seconds, part.gflop) for part in parts] == [(1, None), (2, None), (3, None)]


def test_the_collecting_planner_is_timed_apart_if_it_differs(agent):
    run, parts = types.SimpleNamespace(agent=agent), {}
    for collecting in (2.0, 0.5):
        seconds = benchmark.ActSeconds(1.0, 2.0, collecting, 3.0)
        found = benchmark._arithmetic(run, Settings(), seconds, rate=1.0)
        parts[collecting] = {part.name: part.seconds for part in found}
    assert "decision that collects" not in parts[2.0]
    assert parts[0.5]["decision that collects"] == 0.5 and parts[0.5]["decision"] == 2.0


def test_median_ignores_the_first_call(monkeypatch):
    clock = iter([0, 100, 200, 203, 300, 301, 400, 402])  # the calls take 100, 3, 1 and 2
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    assert benchmark.median_seconds(lambda: None, repeats=3) == 2


def test_missing_file_is_refused(small_matmul):
    with pytest.raises(errors.ConfigError, match=r"nothing\.gin"):
        benchmark.run({"none": ["nothing.gin"]})


def test_frames_are_compared_with_the_suites_own():
    env = environments.load("cartpole_balance", seed=0)
    env.reset()
    own, suites = benchmark._frames(env, 1)
    assert own.name == "frame" and "suite" in suites.name
    env.name = "custom_tasks:make"  # a custom task has no other settings
    assert [part.name for part in benchmark._frames(env, 1)] == ["frame"]
    env.close()
