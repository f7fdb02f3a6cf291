"""Whether this machine is set up correctly, and what a run needs from it: `planet-tf doctor`.

Only the standard library is imported before the packages have been checked: they may be missing or
broken. A run's needs are computed from its settings and from its first episode, which is really
collected, in a temporary directory.
"""

import os
import pathlib
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence

from planet_tf import stack, storage
from planet_tf.machine.findings import Finding, summary
from planet_tf.machine.installed import INSTALL, installed

_PATIENCE = 24 * 3600  # seconds without a GPU; beyond them a smaller model is suggested
_TIMINGS = 3  # per median


def examine(
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    root_dir: str | os.PathLike | None = None,
    device: str | None = None,
    quick: bool = False,
) -> Iterator[Finding]:
    """Yields findings about the machine and a run on it, one by one.

    Args:
      gin_files, bindings: the run's settings, as for training.
      root_dir: where the run would go, as for training; nothing is written there.
      device: 'cpu', 'gpu' or 'auto'; None: `train.device`.
      quick: skips the timings and the estimate of the run's time.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    yield from installed()
    try:
        import tensorflow as tf

        from planet_tf import config, environments, runtime
        from planet_tf.training import tasks
    except Exception as error:  # a broken package may raise anything
        yield Finding("bad", "import", summary(error), INSTALL)
        yield from _rendering(needed=False)
        yield Finding("note", "run", "not tried: it needs what cannot be imported")
        return
    settings = _settings(gin_files, bindings)
    names = tasks.checked(settings.task)
    device = device or settings.device
    runtime.choose_device(device)
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    yield _stack(tf.__version__, tf.sysconfig.get_build_info())
    yield _cpu(len(os.sched_getaffinity(0)), os.getloadavg()[0])
    yield _gpu(gpus, device, tf.test.is_built_with_cuda())
    yield _xla(bool(gpus), settings.jit_compile)
    observations = config.value_of(environments.load, "observations")
    needed = any(environments.needs_rendering(name, observations) for name in names)
    rendering = list(_rendering(needed))
    yield from rendering
    if any(finding.level == "bad" for finding in rendering):
        yield Finding("note", "run", "not tried: it needs rendering")
        return
    yield from _run(settings, root_dir or config.default_root_dir(gin_files), bool(gpus), quick)


def _settings(gin_files: Sequence[str], bindings: Sequence[str]):

    from planet_tf import config, errors
    from planet_tf.training import Settings

    config.configure(gin_files, bindings)
    with errors.as_config_errors():
        return Settings()


# What computes and what renders.


def _stack(version: str, build: Mapping[str, str]) -> Finding:
    """Reports which of the two stacks is in use, and the CUDA libraries that it expects."""
    python = platform.python_version_tuple()
    keras = "Keras 2 as tf_keras" if stack.is_modern() else "with its Keras 2"
    text = f"TensorFlow {version}, {keras}, as for Python {python[0]}.{python[1]}"
    if cuda := build.get("cuda_version"):
        text += f"; for a GPU: CUDA {cuda}, cuDNN {build.get('cudnn_version')}"
    return Finding("ok", "stack", text)


def _cpu(cores: int, load: float) -> Finding:
    """Reports the cores, and whether other programs use them: times are longer then."""
    if load < cores / 2:
        return Finding("ok", "CPU", f"{cores} cores")
    return Finding("note", "CPU", f"{cores} cores, but busy (load {load:.1f}): times are too long")


def _gpu(gpus: Sequence[str], device: str, built_with_cuda: bool) -> Finding:
    """Reports the GPUs that TensorFlow uses, or the likely reason why there is none."""
    if gpus:
        return Finding("ok", "GPU", ", ".join(gpus))
    if device == "cpu":
        return Finding("ok", "GPU", "not used: the device is 'cpu'")
    if not built_with_cuda:
        return Finding("note", "GPU", "none: this TensorFlow is built without CUDA")
    if shutil.which("nvidia-smi"):
        hint = 'pip install -e ".[gpu]", and check that CUDA_VISIBLE_DEVICES does not hide it'
        return Finding("note", "GPU", "TensorFlow finds none, although nvidia-smi exists", hint)
    return Finding("note", "GPU", "none; TensorFlow is built with CUDA and would use one")


def _xla(gpu: bool, jit_compile: bool | None) -> Finding:
    """Reports whether updates and plans are compiled; jit_compile: `train.jit_compile`."""
    if jit_compile is not None:
        text = f"{'used' if jit_compile else 'not used'}: train.jit_compile = {jit_compile}"
        return Finding("ok", "XLA", text)
    text = "used, on a GPU" if gpu else "not used: by default only on a GPU"
    return Finding("ok", "XLA", text)


def _rendering(needed: bool) -> Iterator[Finding]:
    try:
        from planet_tf.environments import rendering
    except ImportError as error:
        yield Finding("bad", "rendering", f"not tried: {summary(error)}", INSTALL)
        return
    tried = rendering.try_backends()
    yield from backends(tried, os.environ.get("MUJOCO_GL"), needed, rendering.PACKAGES)


def backends(
    tried: Sequence[tuple[str, str, str]],
    chosen: str | None,
    needed: bool,
    packages: Mapping[str, str],
) -> Iterator[Finding]:
    """Reports which backends render; bad if a run would find none.

    Args:
      tried: as `rendering.try_backends` returns it.
      chosen: the user's MUJOCO_GL, if it is set: then a run uses no other.
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
        hint = INSTALL if error.startswith("ModuleNotFoundError") else ""
        if name in packages and not hint:
            hint = f"apt-get install {packages[name]}"
        if name == chosen:
            hint = " or ".join(filter(None, ["unset MUJOCO_GL", hint]))
        yield Finding("bad" if fatal else "note", "rendering", text, hint)


# What a run needs.


def _run(settings, root_dir: str | os.PathLike, gpu: bool, quick: bool) -> Iterator[Finding]:
    """Starts the run in a temporary directory; reports what it needs, and how long it takes."""
    from planet_tf import config, errors
    from planet_tf.experience import ReplayBuffer
    from planet_tf.machine import benchmark, estimates

    if not quick:
        size = 4096 if gpu else 1024  # large enough that a GPU computes longer than it starts
        rates = [benchmark.matmul_rate(size, dtype=each) for each in ("bfloat16", "float32")]
        yield _bfloat16(rates[0] / rates[1])
    try:
        with benchmark.fresh_run(settings.jit_compile) as (run, _):
            seconds = None if quick else benchmark.act_seconds(run, _TIMINGS)
            needs = estimates.measured(run)
            observed = "frames" if "image" in run.tasks.env.observation_spec() else "steps"
            names = run.tasks.names
    except (errors.ConfigError, errors.Interrupted):
        raise
    except Exception as error:  # the simulator's, the GPU's, XLA's
        yield Finding("bad", "run", f"does not start: {summary(error)}")
        return
    counts = estimates.DryRun(settings, len(names))
    kept = counts.kept(config.value_of(ReplayBuffer, "capacity"))
    yield _memory(needs, kept)
    yield _disk(needs, kept, counts, settings.chunk_length, root_dir)
    if seconds:
        yield Finding("ok", f"{observed}/s", f"{1 / seconds.step:.0f}")
        yield Finding("ok", "update", f"{seconds.update:.3g} s")
        text = f"{1000 * seconds.decision:.3g} ms"
        if seconds.collecting != seconds.decision:
            text += f"; {1000 * seconds.collecting:.3g} ms while collecting"
        yield Finding("ok", "decision", text)
        total = counts.seconds(needs.agent_steps, seconds)
        yield _time(" and ".join(names), settings, total, gpu)


def _bfloat16(ratio: float) -> Finding:
    """Reports how fast matrices multiply in bfloat16, relative to float32."""
    text = f"{ratio:.2g} times float32's speed"
    if ratio < 1.5:
        return Finding("ok", "bfloat16", f"{text}: little to gain")
    hint = (
        "where layers are large, as in planet.gin: WorldModel.precision = 'mixed_bfloat16', in "
        "training or for `planet-tf export` alone"
    )
    return Finding("note", "bfloat16", text, hint)


def nearest_directory(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path, or the nearest of its parents that exists."""
    path = storage.expand(path).absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _memory(needs, episodes: int) -> Finding:
    from planet_tf.machine import estimates

    need = estimates.memory_bytes(needs, episodes)
    text = pathlib.Path("/proc/meminfo").read_text()
    # The memory of this process will be free for the run.
    free = estimates.kernel_bytes(text, "MemAvailable") + needs.held_bytes
    hint = "lower ReplayBuffer.capacity or train.episodes"
    return _space("memory", need, free, f"{episodes} episodes in the replay", hint)


def _disk(needs, kept: int, counts, chunk_length: int, root_dir) -> Finding:
    from planet_tf.machine import estimates

    directory = nearest_directory(root_dir)
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        return Finding("bad", "disk", f"{directory} cannot be written to", "another --root_dir")
    need = estimates.disk_bytes(needs, kept, counts, chunk_length)
    free, what = shutil.disk_usage(directory).free, f"{kept} episodes in {os.fspath(root_dir)}"
    return _space("disk", need, free, what, "free some space, or choose another --root_dir")


def _space(what: str, need: int, free: int, of: str, hint: str) -> Finding:
    from planet_tf.machine import estimates

    text = f"{estimates.size(need)} needed for {of}; {estimates.size(free)} free"
    return Finding("bad", what, text, hint) if need > free else Finding("ok", what, text)


def _time(task: str, settings, seconds: float, gpu: bool) -> Finding:
    from planet_tf.machine import estimates

    about = estimates.duration(seconds)
    text = f"{task}, {settings.episodes} episodes: about {about} on this machine"
    if settings.environments > 1:
        text += ", less with several environments in parallel"
    if seconds > _PATIENCE and not gpu:
        hint = "use a GPU, or a smaller model: --gin_file=gin/cpu.gin after the task's"
        return Finding("note", "time", text, hint)
    return Finding("ok", "time", text)
