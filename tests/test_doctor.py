"""The doctor: estimates worked out by hand, and what it finds on machines that lack something."""

import contextlib
import pathlib
import re
import types
from importlib import metadata

import pytest
import tensorflow as tf
from packaging.requirements import Requirement

from planet_tf import benchmark, config, doctor, estimates, training
from planet_tf.environments import rendering

SETTINGS = {
    "episodes": 10,
    "seed_episodes": 2,
    "heldout_episodes": 3,
    "updates_per_episode": 5,
    "chunk_length": 50,
    "evaluate_every": 4,
    "evaluation_episodes": 2,
    "environments": 1,
    "random_collection": False,
}
NEEDS = estimates.Needs(
    agent_steps=20,
    frame_bytes=1000,
    episode_bytes=500.5,
    picture_bytes=100,
    parameters=1_000_000,
    process_bytes=50_000,
    held_bytes=0,
    seconds=None,
)
LINE = r"(ok  |note|bad )  (?=.{13}\S)(\S[^:]*): +(\S.*)"  # columns


def report(done):
    """Returns the lines that a subprocess has printed as (level, what, rest)."""
    matches = [re.fullmatch(LINE, line) for line in done.stdout.splitlines()]
    assert all(matches), done.stdout
    return [(found[1].strip(), found[2], found[3]) for found in matches]


@pytest.fixture
def script(python, root):
    """Runs scripts/doctor.py: (gin files of gin/, *flags)."""

    def run(files, *flags):
        gin_files = [f"--gin_file={root / 'gin' / file}" for file in files]
        return python(root / "scripts" / "doctor.py", *gin_files, *flags)

    return run


# The command.


def test_the_report_of_a_run(script, tmp_path):
    root_dir = tmp_path / "runs" / "dots"
    done = script(["dot_goal.gin", "debug.gin"], f"--root_dir={root_dir}")
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    lines = report(done)
    assert {level for level, _, _ in lines} <= {"ok", "note"}
    found = {what: rest for _, what, rest in lines}
    assert "tensorflow 2.15." in found["packages"] and found["python"].startswith("3.1")
    assert found["GPU"] and found["XLA"].startswith("not used")
    tried = " ".join(rest for _, what, rest in lines if what == "rendering")
    assert all(name in tried for name in rendering.BACKENDS) and "used" not in tried
    # 4 collected episodes, 1 held out, 1 evaluated.
    assert "needed, for 6 episodes in the replay" in found["memory"]
    assert f"needed, for 6 episodes in {root_dir}; " in found["disk"]
    assert int(found["frames/s"]) > 0
    assert float(found["update"].removesuffix(" s")) > 0
    assert float(found["decision"].removesuffix(" ms")) > 0
    assert found["time"] == "dot_goal, 4 episodes: about 1 minute on this machine"
    assert not list(tmp_path.iterdir())


def test_a_misspelt_setting_is_answered_with_the_right_one(script):
    done = script([], "--gin_bindings=train.episodess=9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "did you mean 'episodes'" in done.stderr
    assert report(done)


def test_settings_that_cannot_be_used_are_refused(root):
    files = [str(root / "gin" / "cheetah.gin")]
    for bindings, device, words in [
        (["train.task='dot_gaol'"], None, "did you mean 'dot_goal'"),
        (["train.episodes=5"], None, "nothing would be learned"),
        (["train.device='gpu'"], None, "finds no GPU"),
        ([], "gpu", "finds no GPU"),
        ([], "tpu", "device must be one of"),
    ]:
        with pytest.raises(config.ConfigError, match=words):
            list(doctor.examine(files, bindings, device=device))


def test_rendering_that_fails_is_bad_where_it_is_needed(script, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    done = script(["cheetah.gin", "debug.gin"], "--quick")
    assert done.returncode == 1 and not done.stderr
    lines = report(done)
    (bad,) = [line for line in lines if line[0] == "bad"]
    assert bad[1] == "rendering" and bad[2].startswith("nonsense fails: RuntimeError")
    assert bad[2].endswith("(unset MUJOCO_GL)")
    assert any("renders with" in rest for level, _, rest in lines if level == "ok")
    assert lines[-1] == ("note", "run", "not tried: it needs rendering")


@pytest.mark.parametrize("missing", [["tensorflow", "packaging"], ["gin"]])
def test_it_runs_without_the_packages_that_it_looks_for(python, root, missing):
    program = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({missing}))\n"  # importing it now raises ImportError
        "sys.argv = ['doctor.py']\n"
        f"runpy.run_path({str(root / 'scripts' / 'doctor.py')!r}, run_name='__main__')\n"
    )
    done = python("-c", program)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    bad = [rest for level, _, rest in report(done) if level == "bad"]
    for name in missing:
        assert any(name in rest and "pip install -e ." in rest for rest in bad), bad
    assert any(what == "rendering" for _, what, _ in report(done))


# What is installed.


@pytest.fixture
def packages(monkeypatch):
    """Stands for what is installed, with planet_tf's requirements: dicts by name, to be filled."""
    versions = {"one": "2.15.1", "two": "1.0", "part": "12.2"}
    requires = {
        "planet_tf": ["one~=2.15.1", 'one[cuda]~=2.15.1; extra == "gpu"', 'two; extra == "plot"'],
        "one": ["two", 'part==12.2; extra == "cuda"', 'none; extra == "other"'],
    }
    about = metadata.metadata("planet_tf")
    del about["Requires-Python"], about["Provides-Extra"]
    about["Requires-Python"] = ">=3.10,<4"
    for extra in ("gpu", "plot"):
        about["Provides-Extra"] = extra

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    stand_in = types.SimpleNamespace(
        metadata=lambda _: about,
        requires=requires.get,
        version=version,
        PackageNotFoundError=metadata.PackageNotFoundError,
    )
    monkeypatch.setattr(doctor, "metadata", stand_in)
    return types.SimpleNamespace(versions=versions, requires=requires, about=about)


def findings():
    return {what: (level, text, way_out) for level, what, text, way_out in doctor.installed()}


def test_packages_are_compared_with_the_pins(packages):
    found = findings()
    assert {level for level, _, _ in found.values()} == {"ok"}
    assert found["packages"][1] == "as pinned: one 2.15.1"
    packages.versions["one"] = "2.16.0"
    bad = ("bad", "one 2.16.0 is not ~=2.15.1", "pip install -e .")
    assert findings()["packages"] == bad
    del packages.versions["one"]
    assert findings()["packages"] == ("bad", "one is missing", "pip install -e .")


def test_extras_are_no_fault_and_hold_those_of_others(packages):
    packages.versions["part"] = "11"
    found = findings()
    way_out = 'pip install -e ".[gpu]", where it is wanted'
    assert found["extra gpu"] == ("note", "part 11 is not ==12.2", way_out)
    assert found["extra plot"][0] == found["packages"][0] == "ok"
    packages.requires["one"].append('more; extra == "cuda"')
    assert findings()["extra gpu"][1] == "part 11 is not ==12.2, and 1 more"
    assert doctor.problems(Requirement("one[cuda]")) == ["part 11 is not ==12.2", "more is missing"]


def test_python_is_compared_with_what_is_asked_for(packages):
    del packages.about["Requires-Python"]
    packages.about["Requires-Python"] = "<3"
    level, text, _ = findings()["python"]
    assert level == "bad" and text.endswith("is not <3")


# What computes and what renders.


def levels(tried, chosen=None, needed=True):
    found = doctor.backends(tried, chosen, needed, rendering.PACKAGES)
    return [(finding.level, finding.way_out) for finding in found]


def test_a_backend_that_fails_is_bad_only_if_a_run_would_take_it():
    egl, osmesa = ("egl", "", "Error: none"), ("osmesa", "llvmpipe", "")
    mended = "apt-get install libegl1 libgl1-mesa-dri"
    assert levels([egl, osmesa]) == [("note", mended), ("ok", "")]
    assert levels([egl, osmesa], chosen="osmesa") == [("note", mended), ("ok", "")]
    chosen = levels([egl, osmesa], chosen="egl")
    assert chosen == [("bad", f"unset MUJOCO_GL or {mended}"), ("ok", "")]
    neither = [egl, ("osmesa", "", "Error: none")]
    assert levels(neither) == [("bad", mended), ("bad", "apt-get install libosmesa6")]
    assert [level for level, _ in levels(neither, needed=False)] == ["note", "note"]
    missing = ("egl", "", "ModuleNotFoundError: No module named 'dm_control'")
    assert levels([missing]) == [("bad", "pip install -e .")]
    (line, _) = map(str, doctor.backends([osmesa, egl], None, True, rendering.PACKAGES))
    assert line == "ok    rendering:   osmesa renders with llvmpipe, used"


def test_gpus_xla_and_cores(monkeypatch):
    assert doctor._gpu(["H200", "H100"], "auto", True)[:3] == ("ok", "GPU", "H200, H100")
    assert doctor._gpu([], "cpu", True).level == "ok"
    assert "without CUDA" in doctor._gpu([], "auto", False).text
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    driver = doctor._gpu([], "auto", True)
    assert driver.level == "note" and ".[gpu]" in driver.way_out
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert not doctor._gpu([], "auto", True).way_out
    assert doctor._xla(True, None).text.startswith("used")
    assert doctor._xla(False, None).text.startswith("not used")
    assert doctor._xla(False, True).text == "used: train.jit_compile = True"
    assert doctor._xla(True, False).text == "not used: train.jit_compile = False"
    assert doctor._cpu(4, 1.9) == ("ok", "CPU", "4 cores", "")
    assert doctor._cpu(4, 2.0).level == "note" and "load 2.0" in doctor._cpu(4, 2.0).text


def test_a_run_that_does_not_start_is_bad(root, monkeypatch):
    @contextlib.contextmanager
    def fails(jit_compile):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\na tensor")
        yield

    monkeypatch.setattr(benchmark, "fresh_run", fails)
    monkeypatch.setattr(rendering, "try_backends", lambda: [("egl", "llvmpipe", "")])
    *_, last = doctor.examine([str(root / "gin" / "cheetah.gin")])
    assert last[:3] == ("bad", "run", "does not start: ResourceExhaustedError: a tensor")


# What a run needs.


class CountingRun:
    """Stands for a Run: counts what `train` has it do."""

    def __init__(self, *_):
        self.episodes = self.evaluated = self.updates = self.evaluations = 0
        self.heldout = types.SimpleNamespace(num_episodes=0)
        self.open = self.export = self.save = self.close = lambda *_: None
        self.saved_if_stopped = contextlib.nullcontext

    def collect_random(self, count):
        self.episodes += count

    def hold_out_random(self, count):
        self.heldout.num_episodes += count

    def fit(self, updates):
        self.updates += updates

    def collect(self, count, random):
        self.episodes += count

    def evaluate(self, episodes):
        self.evaluations += 1
        self.evaluated = self.episodes
        self.heldout.num_episodes += episodes


@pytest.mark.parametrize("episodes", [10, 12, 13])
@pytest.mark.parametrize("evaluate_every", [1, 4, 50])
@pytest.mark.parametrize("environments", [1, 3, 7])
def test_what_is_counted_is_what_training_does(monkeypatch, episodes, evaluate_every, environments):
    given = {"episodes": episodes, "evaluate_every": evaluate_every, "environments": environments}
    settings = {**SETTINGS, **given}
    run = CountingRun()
    monkeypatch.setattr(training.runs, "Run", lambda *_: run)
    training.train("nowhere", "dot_goal", **settings)
    assert estimates.evaluations(settings) == run.evaluations
    kept = run.episodes + run.heldout.num_episodes
    assert estimates.episodes_kept(settings, 1, capacity=1000) == kept
    assert estimates.training_seconds(settings, 1, 0.0, 1.0, 0.0, 0.0) == run.updates


def test_episodes_that_are_kept():
    assert estimates.evaluations(SETTINGS) == 3  # after 4, 8 and 10
    assert estimates.episodes_kept(SETTINGS, 1, 100) == 10 + 3 + 3 * 2
    assert estimates.episodes_kept(SETTINGS, 5, 100) == 10 + 3 + 3 * 2 * 5
    assert estimates.episodes_kept(SETTINGS, 5, 12) == 10 + 12
    assert estimates.episodes_kept(SETTINGS, 1, 8) == 8 + 8


def test_memory_and_disk_are_those_worked_out_by_hand():
    assert estimates.memory_bytes(NEEDS, 19) == 50_000 + 19 * 21 * 1000
    episodes, checkpoints = 9510, 3 * 3 * 4_000_000  # 9509.5 and up
    logs = 10 * 6000 + 3 * 50 * 100
    expected = episodes + checkpoints + 2 * 5_000_000 + logs
    assert estimates.disk_bytes(NEEDS, 19, SETTINGS) == expected


def test_the_time_is_that_worked_out_by_hand():
    # 40 updates; 8 collected and 6 evaluated episodes of 20 planned steps; 5 random ones.
    expected = 40 * 0.5 + 14 * 20 * 0.11 + 5 * 20 * 0.01
    seconds = estimates.training_seconds(SETTINGS, 1, 20, 0.5, 0.1, 0.01)
    assert seconds == pytest.approx(expected) == pytest.approx(51.8)
    random = {**SETTINGS, "random_collection": True}
    expected = 40 * 0.5 + 6 * 20 * 0.11 + 13 * 20 * 0.01
    assert estimates.training_seconds(random, 1, 20, 0.5, 0.1, 0.01) == pytest.approx(expected)
    expected = 40 * 0.5 + 26 * 20 * 0.11 + 5 * 20 * 0.01  # 12 evaluated episodes more
    assert estimates.training_seconds(SETTINGS, 3, 20, 0.5, 0.1, 0.01) == pytest.approx(expected)


def test_a_run_is_measured(tiny):
    with benchmark.fresh_run(jit_compile=False) as run:
        needs = estimates.measured(run)
        (file,) = (run.root / "episodes" / "train").iterdir()
        assert needs.episode_bytes == file.stat().st_size > 0
        run.save()
        (checkpoint,) = (run.root / "checkpoints").glob("*.data-*")
        # Parameters and Adam's two moments of them, float32; counters and names.
        assert 0 < checkpoint.stat().st_size - 3 * 4 * needs.parameters < 50_000
    assert needs.agent_steps == 50 and needs.picture_bytes == 20_000 and needs.seconds is None
    # Image, action [2], reward, discount, is_first.
    assert needs.frame_bytes == 64 * 64 * 3 + 8 + 4 + 4 + 1 + 5 * 300
    assert 1e8 < needs.held_bytes <= needs.process_bytes < 1e11


def test_room_that_is_too_small_is_bad_with_the_way_out(tmp_path, monkeypatch):
    assert doctor._memory(NEEDS, 19).level == "ok"
    huge = NEEDS._replace(frame_bytes=10**15)
    memory = doctor._memory(huge, 19)
    assert memory.level == "bad" and "ReplayBuffer.capacity" in memory.way_out
    assert doctor._disk(NEEDS, 19, SETTINGS, tmp_path / "a" / "b").level == "ok"
    disk = doctor._disk(NEEDS._replace(episode_bytes=1e17), 19, SETTINGS, tmp_path)
    assert disk.level == "bad" and "--root_dir" in disk.way_out
    (tmp_path / "file").write_text("")
    blocked = doctor._disk(NEEDS, 19, SETTINGS, tmp_path / "file" / "run")
    assert blocked[:3] == ("bad", "disk", f"{tmp_path / 'file'} cannot be written to")
    room = doctor._room("disk", 2_000_000_000, 1_999_999_999, "x", "y")
    assert room == ("bad", "disk", "2.0 GB needed, for x; 2.0 GB free", "y")
    assert doctor._room("disk", 1, 1, "x", "y").level == "ok"


def test_the_nearest_directory(tmp_path, monkeypatch):
    assert doctor.nearest_directory(tmp_path) == tmp_path
    assert doctor.nearest_directory(tmp_path / "a" / "b") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert doctor.nearest_directory("runs/a") == pathlib.Path.cwd()


def test_times_without_a_gpu_name_the_way_out():
    day = 24 * 3600
    settings = {**SETTINGS, "episodes": 1000}
    slow = doctor._time("cheetah_run", settings, 3 * day, gpu=False)
    assert slow.text == "cheetah_run, 1000 episodes: about 3.0 days on this machine"
    assert slow.level == "note" and "cpu.gin" in slow.way_out
    assert doctor._time("cheetah_run", settings, 3 * day, gpu=True).level == "ok"
    assert doctor._time("cheetah_run", settings, day, gpu=False).level == "ok"
    several = doctor._time("a", {**settings, "environments": 2}, day, gpu=True)
    assert "less with several environments" in several.text


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


def test_the_kernels_numbers():
    text = "MemTotal:       24000 kB\nMemAvailable:     123 kB\nVmHWM:\t  7 kB\nHugePages:  5\n"
    assert estimates.kernel_bytes(text, "MemAvailable") == 123 * 1024
    assert estimates.kernel_bytes(text, "VmHWM") == 7168
    for name in ("Available", "HugePages", "None"):
        with pytest.raises(ValueError, match=name):
            estimates.kernel_bytes(text, name)


def test_settings_are_gins_or_defaults(tiny):
    assert config.value_of(training.train, "episodes") == 4
    assert config.value_of(training.train, "environments") == 1
    assert config.value_of(training.train, "jit_compile") is None
