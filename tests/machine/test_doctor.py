"""The doctor: what it finds on machines that lack something."""

import contextlib
import os
import pathlib
import sys

import pytest
import tensorflow as tf
from helpers import NEEDS

from planet_tf import errors
from planet_tf.environments import rendering
from planet_tf.machine import benchmark, doctor, estimates, findings
from planet_tf.training import Settings

TINY = ["dot_goal.gin", "debug.gin"]
EGL, OSMESA = ("egl", "", "Error: none"), ("osmesa", "llvmpipe", "")


@pytest.fixture
def backends(monkeypatch):
    """Sets what trying the rendering backends finds; at first EGL works: (*tried)."""

    def found(*tried):
        monkeypatch.setattr(rendering, "try_backends", lambda: list(tried))

    found(("egl", "llvmpipe", ""))
    return found


def levels(found):
    return {finding.what: finding.level for finding in found}


# The whole report.


def test_report_of_a_run(backends, tmp_path, monkeypatch):
    # What they measure is tested with the benchmark.
    monkeypatch.setattr(benchmark, "matmul_rate", lambda size, dtype: 1e9)
    seconds = benchmark.ActSeconds(update=0.5, decision=0.1, collecting=0.2, step=0.01)
    monkeypatch.setattr(benchmark, "act_seconds", lambda run, repeats: seconds)
    root_dir = tmp_path / "runs" / "dots"
    report = list(doctor.examine(TINY, root_dir=root_dir))
    assert {finding.level for finding in report} <= {"ok", "note"}
    found = {finding.what: finding.text for finding in report}
    order = "python packages stack CPU GPU XLA rendering bfloat16 memory disk frames/s update"
    what = [what for what in found if not what.startswith("extra")]
    assert what == [*order.split(), "decision", "time"]
    # 4 collected episodes, 1 held out, 1 evaluated.
    assert "6 episodes" in found["memory"]
    assert "6 episodes" in found["disk"] and str(root_dir) in found["disk"]
    assert (found["frames/s"], found["update"]) == ("100", "0.5 s")
    assert found["decision"] == "100 ms; 200 ms while collecting"
    assert "dot_goal" in found["time"] and "4 episodes" in found["time"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("ratio", "level"), [(0.8, "ok"), (1.4, "ok"), (2.0, "note")])
def test_bfloat16_is_suggested_where_it_is_faster(ratio, level):
    finding = doctor._bfloat16(ratio)
    assert (finding.what, finding.level) == ("bfloat16", level)
    assert f"{ratio:.2g} times" in finding.text
    assert ("mixed_bfloat16" in finding.hint) == (level == "note")


@pytest.mark.parametrize(
    ("bindings", "device", "setting"),
    [
        (["train.task='dot_gaol'"], None, "train.task"),
        (["train.episodes=5"], None, "train.episodes"),
        (["train.device='gpu'"], None, "train.device"),
        ([], "gpu", "train.device"),
        (["train.device='tpu'"], None, "train.device"),
    ],
)
def test_unusable_settings_are_refused(backends, bindings, device, setting):
    with pytest.raises(errors.ConfigError) as error:
        list(doctor.examine(["cheetah.gin"], bindings, device=device))
    assert error.value.setting == setting


@pytest.mark.parametrize(
    ("files", "level"), [(["cheetah.gin"], "bad"), (["cheetah.gin", "ablations/state.gin"], "note")]
)
def test_run_that_cannot_render_is_not_tried(backends, monkeypatch, files, level):
    monkeypatch.setattr(doctor, "_run", lambda *_: [findings.Finding("ok", "run", "tried")])
    backends(EGL, ("osmesa", "", "Error: none"))
    *_, last = found = list(doctor.examine(files))
    assert levels(found)["rendering"] == level
    assert last.level == ("note" if level == "bad" else "ok")


def test_backend_of_the_user_is_the_only_one_used(backends, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    backends(EGL, OSMESA)
    *_, last = found = list(doctor.examine(["cheetah.gin"]))
    assert [each.level for each in found if each.what == "rendering"] == ["bad", "ok"]
    assert (last.level, last.what) == ("note", "run")


def test_missing_package_is_bad(backends, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    found = list(doctor.examine(TINY))
    assert levels(found)["import"] == "bad" and levels(found)["run"] == "note"
    assert "rendering" in levels(found)


def test_run_that_does_not_start_is_bad(backends, monkeypatch):
    @contextlib.contextmanager
    def fails(jit_compile):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\na tensor")
        yield

    monkeypatch.setattr(benchmark, "fresh_run", fails)
    *_, last = doctor.examine(["cheetah.gin"], quick=True)
    assert (last.level, last.what) == ("bad", "run")
    assert "ResourceExhaustedError: a tensor" in last.text


def test_a_signal_ends_it(backends, monkeypatch):
    def interrupted(jit_compile):
        raise errors.Interrupted("stopped by SIGTERM", 143)

    monkeypatch.setattr(benchmark, "fresh_run", interrupted)
    with pytest.raises(errors.Interrupted):
        list(doctor.examine(TINY, quick=True))


# What computes and what renders.


@pytest.mark.parametrize(
    ("tried", "chosen", "needed", "expected"),
    [
        ([EGL, OSMESA], None, True, ["note", "ok"]),
        ([EGL, OSMESA], "osmesa", True, ["note", "ok"]),
        ([EGL, OSMESA], "egl", True, ["bad", "ok"]),
        ([EGL, ("osmesa", "", "Error: none")], None, True, ["bad", "bad"]),
        ([EGL, ("osmesa", "", "Error: none")], None, False, ["note", "note"]),
    ],
)
def test_failing_backend_is_bad_if_a_run_would_use_it(tried, chosen, needed, expected):
    found = list(doctor.backends(tried, chosen, needed, rendering.PACKAGES))
    assert [finding.level for finding in found] == expected
    for finding, (name, _, error) in zip(found, tried, strict=True):
        assert finding.text.startswith(name)
        assert (rendering.PACKAGES[name] in finding.hint) == bool(error)
        assert ("MUJOCO_GL" in finding.hint) == (finding.level == "bad" and name == chosen)


def test_backend_without_dm_control_needs_the_installation():
    missing = ("egl", "", "ModuleNotFoundError: No module named 'dm_control'")
    (found,) = doctor.backends([missing], None, True, rendering.PACKAGES)
    assert (found.level, found.hint) == ("bad", doctor.INSTALL)


def test_only_the_first_working_backend_is_used():
    tried = [OSMESA, ("egl", "llvmpipe", "")]
    found = [str(each) for each in doctor.backends(tried, None, True, rendering.PACKAGES)]
    assert found[0] == "ok    rendering:   osmesa renders with llvmpipe, used"
    assert "used" not in found[1]


def test_the_stack_and_its_cuda_libraries_are_named(monkeypatch):
    build = {"cuda_version": "12.5.1", "cudnn_version": "9", "is_cuda_build": True}
    monkeypatch.setattr(doctor.stack, "is_modern", lambda: True)
    text = doctor._stack("2.21.0", build).text
    assert all(word in text for word in ("2.21.0", "tf_keras", "CUDA 12.5.1", "cuDNN 9"))
    monkeypatch.setattr(doctor.stack, "is_modern", lambda: False)
    text = doctor._stack("2.15.1", {"is_cuda_build": False}).text
    assert "2.15.1" in text and "tf_keras" not in text and "CUDA" not in text


def test_gpu(monkeypatch):
    assert doctor._gpu(["H200", "H100"], "auto", True)[:3] == ("ok", "GPU", "H200, H100")
    assert doctor._gpu([], "cpu", True).level == "ok"
    assert "CUDA" in doctor._gpu([], "auto", False).text
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    driver = doctor._gpu([], "auto", True)
    assert driver.level == "note" and ".[gpu]" in driver.hint
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert not doctor._gpu([], "auto", True).hint


@pytest.mark.parametrize(
    ("gpu", "jit_compile", "used"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_xla_is_used_on_a_gpu_or_as_set(gpu, jit_compile, used):
    text = doctor._xla(gpu, jit_compile).text
    assert text.startswith("used" if used else "not used")
    assert (jit_compile is not None) == (f"train.jit_compile = {jit_compile}" in text)


def test_busy_cores_are_a_note():
    assert doctor._cpu(4, 1.9) == ("ok", "CPU", "4 cores", "")
    assert doctor._cpu(4, 2.0).level == "note" and "2.0" in doctor._cpu(4, 2.0).text


# What a run needs.


def test_too_little_space_is_bad(tmp_path):
    counts = estimates.DryRun(Settings(), 1)
    assert doctor._memory(NEEDS, 19).level == "ok"
    memory = doctor._memory(NEEDS._replace(frame_bytes=10**15), 19)
    assert memory.level == "bad" and "ReplayBuffer.capacity" in memory.hint
    assert doctor._disk(NEEDS, 19, counts, 50, tmp_path / "a" / "b").level == "ok"
    disk = doctor._disk(NEEDS._replace(episode_bytes=1e17), 19, counts, 50, tmp_path)
    assert disk.level == "bad" and "--root_dir" in disk.hint
    (tmp_path / "file").write_text("")
    blocked = doctor._disk(NEEDS, 19, counts, 50, tmp_path / "file" / "run")
    assert blocked.level == "bad" and str(tmp_path / "file") in blocked.text


def test_space_that_just_suffices_is_ok():
    assert doctor._space("disk", 1, 1, "x", "y").level == "ok"
    space = doctor._space("disk", 2_000_000_000, 1_999_999_999, "x", "y")
    assert (space.level, space.hint) == ("bad", "y") and "x" in space.text


def test_nearest_directory_exists(tmp_path, monkeypatch):
    assert doctor.nearest_directory(tmp_path) == tmp_path
    assert doctor.nearest_directory(tmp_path / "a" / "b") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert doctor.nearest_directory("runs/a") == pathlib.Path.cwd()
    assert doctor.nearest_directory("~/no/such") == pathlib.Path(os.path.expanduser("~"))


def test_days_without_a_gpu_are_a_note():
    day = 24 * 3600
    slow = doctor._time("cheetah_run", Settings(), 3 * day, gpu=False)
    assert slow.text == "cheetah_run, 1000 episodes: about 3.0 days on this machine"
    assert slow.level == "note" and "cpu.gin" in slow.hint
    assert doctor._time("cheetah_run", Settings(), 3 * day, gpu=True).level == "ok"
    assert doctor._time("cheetah_run", Settings(), day, gpu=False).level == "ok"
    several = doctor._time("a", Settings(environments=2), day, gpu=True)
    assert len(several.text) > len(doctor._time("a", Settings(), day, gpu=True).text)


def test_findings_are_laid_out_in_columns():
    assert str(findings.Finding("ok", "disk", "x")) == "ok    disk:        x"
    assert str(findings.Finding("bad", "disk", "x", "y")) == "bad   disk:        x (y)"


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("one\n  two \n\n"), "ValueError: two"), (ValueError(), "ValueError")],
)
def test_summary_is_kind_and_last_line(error, text):
    assert findings.summary(error) == text
