"""Whether this machine is set up right, and what a run needs of it; `scripts/doctor.py` prints it.

Nothing but the standard library is imported before it is looked at: what is missing or broken is
what is to be found out. A run's needs are computed from its settings and from a short piece of it,
built as for training in a temporary directory.
"""

import inspect
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

from planet_tf import estimates, paths

_PACKAGE = "planet_tf"
_INSTALL = "pip install -e ."
_PATIENCE = 24 * 3600  # seconds without a GPU; beyond them the way out is named
_TIMINGS = 3  # that each median is taken of


class Finding(NamedTuple):
    """One line of the report; bad: the run fails for it."""

    level: str  # 'ok', 'note', 'bad'
    what: str
    text: str
    way_out: str = ""

    def __str__(self) -> str:
        """Lays it out in columns, for reading."""
        way_out = f" ({self.way_out})" if self.way_out else ""
        return f"{self.level:4}  {self.what + ':':12} {self.text}{way_out}"


def examine(
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    root_dir: str | os.PathLike | None = None,
    device: str | None = None,
    quick: bool = False,
) -> Iterator[Finding]:
    """Yields what is found about the machine and a run on it, as it is found.

    Args:
      gin_files, bindings: the run's settings, as for training.
      root_dir: where the run would go, as for training; nothing is written there.
      device: 'cpu', 'gpu' or 'auto'; None: `train.device`.
      quick: leaves out the timings, and the estimate that is made of them.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    yield from installed()
    try:
        import tensorflow as tf

        from planet_tf import config, devices, environments, tasks
    except Exception as error:  # a broken package may raise anything
        yield Finding("bad", "import", _told(error), _INSTALL)
        yield from _rendering(needed=False)
        yield Finding("note", "run", "not tried: it needs what cannot be imported")
        return
    settings = _settings(gin_files, bindings)
    with config.config_errors():
        names = tasks.checked(settings["task"])
        device = device or settings["device"]
        devices.choose(device)
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    yield _cpu(len(os.sched_getaffinity(0)), os.getloadavg()[0])
    yield _gpu(gpus, device, tf.test.is_built_with_cuda())
    yield _xla(bool(gpus), settings["jit_compile"])
    observations = config.value_of(environments.load, "observations")
    needed = any(environments.needs_rendering(name, observations) for name in names)
    rendering = list(_rendering(needed))
    yield from rendering
    if any(finding.level == "bad" for finding in rendering):
        yield Finding("note", "run", "not tried: it needs rendering")
        return
    root_dir = root_dir or config.default_root_dir(gin_files)
    yield from _run(settings, names, root_dir, bool(gpus), quick)


def _settings(gin_files: Sequence[str], bindings: Sequence[str]) -> dict:
    """Returns the settings of `training.train` by name, checked."""
    import gin

    from planet_tf import config, training

    gin.clear_config()
    config.parse(gin_files, bindings)
    names = inspect.signature(training.train).parameters
    settings = {name: config.value_of(training.train, name) for name in names if name != "root_dir"}
    config.check_training(settings)
    return settings


def _run(
    settings: Mapping, names: Sequence[str], root_dir: str | os.PathLike, gpu: bool, quick: bool
) -> Iterator[Finding]:
    """Starts the run in a temporary directory; says what it needs, what there is, how long."""
    from planet_tf import benchmark, config, replay

    try:
        with benchmark.fresh_run(settings["jit_compile"]) as run:
            seconds = None if quick else benchmark.act_seconds(run, _TIMINGS)
            needs = estimates.measured(run, seconds)
            observed = "frames" if "image" in run.env.observation_spec() else "steps"
    except config.ConfigError:
        raise
    except Exception as error:  # the simulator's, the GPU's, XLA's
        yield Finding("bad", "run", f"does not start: {_told(error)}")
        return
    capacity = config.value_of(replay.ReplayBuffer, "capacity")
    kept = estimates.episodes_kept(settings, len(names), capacity)
    yield _memory(needs, kept)
    yield _disk(needs, kept, settings, root_dir)
    if needs.seconds:
        update, decision, step = needs.seconds
        yield Finding("ok", f"{observed}/s", f"{1 / step:.0f}")
        yield Finding("ok", "update", f"{update:.3g} s")
        yield Finding("ok", "decision", f"{1000 * decision:.3g} ms")
        total = estimates.training_seconds(settings, len(names), needs.agent_steps, *needs.seconds)
        yield _time(" and ".join(names), settings, total, gpu)


# What is installed.


def installed() -> Iterator[Finding]:
    """Compares Python and the packages with what planet_tf's metadata asks for."""
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet

        about = metadata.metadata(_PACKAGE)
        lines = metadata.requires(_PACKAGE) or []
    except (ImportError, metadata.PackageNotFoundError) as error:
        yield Finding("bad", "packages", f"the pins cannot be read: {_told(error)}", _INSTALL)
        return
    python, asked = platform.python_version(), about["Requires-Python"] or ""
    if SpecifierSet(asked).contains(python, prereleases=True):
        yield Finding("ok", "python", python)
    else:
        yield Finding("bad", "python", f"{python} is not {asked}", "make PYTHON=/path/to/another")
    requirements = [Requirement(line) for line in lines]
    base = [each for each in requirements if _asked_for(each, "")]
    wrong = [problem for each in base for problem in problems(each)]
    for problem in wrong:
        yield Finding("bad", "packages", problem, _INSTALL)
    if not wrong:
        versions = ", ".join(f"{each.name} {metadata.version(each.name)}" for each in base)
        yield Finding("ok", "packages", f"as pinned: {versions}")
    for extra in about.get_all("Provides-Extra") or []:
        extras = [each for each in requirements if each not in base and _asked_for(each, extra)]
        wrong = [problem for each in extras for problem in problems(each)]
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            way_out = f'pip install -e ".[{extra}]", where it is wanted'
            yield Finding("note", f"extra {extra}", wrong[0] + more, way_out)
        elif extras:
            yield Finding("ok", f"extra {extra}", "installed")


def problems(requirement) -> list[str]:
    """Lists what is missing or of a wrong version of a requirement and of the extras it names."""
    from packaging.requirements import Requirement

    name = requirement.name
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return [f"{name} is missing"]
    if not requirement.specifier.contains(version, prereleases=True):
        return [f"{name} {version} is not {requirement.specifier}"]
    parts = [Requirement(line) for line in metadata.requires(name) or []]
    return [
        problem
        for extra in requirement.extras
        for part in parts
        if _asked_for(part, extra) and not _asked_for(part, "")
        for problem in problems(part)
    ]


def _asked_for(requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


# What computes and what renders.


def _cpu(cores: int, load: float) -> Finding:
    """Says how many cores there are, and whether others compute on them: times are longer then."""
    if load < cores / 2:
        return Finding("ok", "CPU", f"{cores} cores")
    text = f"{cores} cores, and other work on them (load {load:.1f}): times are longer for it"
    return Finding("note", "CPU", text)


def _gpu(gpus: Sequence[str], device: str, built_with_cuda: bool) -> Finding:
    """Says which GPUs TensorFlow uses, and what may be wrong if there is none."""
    if gpus:
        return Finding("ok", "GPU", ", ".join(gpus))
    if device == "cpu":
        return Finding("ok", "GPU", "not used: the device is 'cpu'")
    if not built_with_cuda:
        return Finding("note", "GPU", "none: this TensorFlow is built without CUDA")
    if shutil.which("nvidia-smi"):
        way_out = 'pip install -e ".[gpu]", and see that CUDA_VISIBLE_DEVICES does not hide it'
        return Finding("note", "GPU", "TensorFlow finds none, though there is nvidia-smi", way_out)
    return Finding("note", "GPU", "none; TensorFlow is built with CUDA and would use one")


def _xla(gpu: bool, jit_compile: bool | None) -> Finding:
    """Says whether updates and plans are compiled; jit_compile: `train.jit_compile`."""
    if jit_compile is not None:
        text = f"{'used' if jit_compile else 'not used'}: train.jit_compile = {jit_compile}"
        return Finding("ok", "XLA", text)
    return Finding("ok", "XLA", "used, on a GPU" if gpu else "not used: it is on a GPU alone")


def _rendering(needed: bool) -> Iterator[Finding]:
    try:
        from planet_tf.environments import rendering
    except ImportError as error:
        yield Finding("bad", "rendering", f"not tried: {_told(error)}", _INSTALL)
        return
    tried = rendering.try_backends()
    yield from backends(tried, os.environ.get("MUJOCO_GL"), needed, rendering.PACKAGES)


def backends(
    tried: Sequence[tuple[str, str, str]],
    chosen: str | None,
    needed: bool,
    packages: Mapping[str, str],
) -> Iterator[Finding]:
    """Says which backends render; bad if none does that a run would take.

    Args:
      tried: as `rendering.try_backends` returns it.
      chosen: the user's MUJOCO_GL, if it is set: then a run takes no other.
      needed: whether the run renders at all.
      packages: those to install, by backend.
    """
    working = [name for name, _, error in tried if not error]
    used = chosen or next(iter(working), "")
    for name, renderer, error in tried:
        if not error:
            note = ", used" * (needed and name == used)
            yield Finding("ok", "rendering", f"{name} renders with {renderer}{note}")
            continue
        fatal = needed and (name == chosen or not working)
        text = f"{name} fails: {error}" if fatal else f"{name} fails, not needed: {error}"
        if error.startswith("ModuleNotFoundError"):
            way_out = _INSTALL
        elif name in packages:
            way_out = f"apt-get install {packages[name]}"
        else:
            way_out = ""
        if name == chosen:
            way_out = " or ".join(filter(None, ["unset MUJOCO_GL", way_out]))
        yield Finding("bad" if fatal else "note", "rendering", text, way_out)


# What a run needs.


def nearest_directory(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path, or the nearest of its parents that exists."""
    path = paths.expanded(path).absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _memory(needs: estimates.Needs, episodes: int) -> Finding:
    need = estimates.memory_bytes(needs, episodes)
    text = pathlib.Path("/proc/meminfo").read_text()
    # What this process holds is the run's, when it is gone.
    free = estimates.kernel_bytes(text, "MemAvailable") + needs.held_bytes
    way_out = "lower ReplayBuffer.capacity or train.episodes"
    return _room("memory", need, free, f"{episodes} episodes in the replay", way_out)


def _disk(needs: estimates.Needs, episodes: int, settings: Mapping, root_dir) -> Finding:
    directory = nearest_directory(root_dir)
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        return Finding("bad", "disk", f"{directory} cannot be written to", "another --root_dir")
    need, free = estimates.disk_bytes(needs, episodes, settings), shutil.disk_usage(directory).free
    way_out = "make room, or name another --root_dir"
    return _room("disk", need, free, f"{episodes} episodes in {os.fspath(root_dir)}", way_out)


def _room(what: str, need: int, free: int, of: str, way_out: str) -> Finding:
    text = f"{estimates.size(need)} needed, for {of}; {estimates.size(free)} free"
    return Finding("bad", what, text, way_out) if need > free else Finding("ok", what, text)


def _time(task: str, settings: Mapping, seconds: float, gpu: bool) -> Finding:
    about = estimates.duration(seconds)
    text = f"{task}, {settings['episodes']} episodes: about {about} on this machine"
    if settings["environments"] > 1:
        text += ", less with several environments at once"
    if seconds > _PATIENCE and not gpu:
        way_out = "a GPU, or a smaller model: --gin_file=gin/cpu.gin after the task's"
        return Finding("note", "time", text, way_out)
    return Finding("ok", "time", text)


def _told(error: Exception) -> str:
    """Returns an error's kind and its last line, which says what it comes to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[-1:]])
