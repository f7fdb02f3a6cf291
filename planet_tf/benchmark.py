"""How fast each part is, and how far from what the machine could do.

Times on a shared machine are noise; what holds are ratios taken in one run. So every part that is
arithmetic is given as a fraction of the rate at which the same machine, in the same run, multiplies
large float32 matrices.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import gin
import numpy as np
import tensorflow as tf

from planet_tf import config, environments, planners, runs, training, world_model as wm
from planet_tf.environments import dm_control_environment
from planet_tf.environments.task_environment import IMAGE_SIZE


@dataclasses.dataclass
class Part:
    """One measured part.

    Attributes:
      name: what was measured.
      seconds: median time.
      gflop: arithmetic counted from the layers' shapes, 10^9 operations; None where there is none.
      of_matmul: fraction of the machine's matmul rate; None likewise.
    """

    name: str
    seconds: float
    gflop: float | None = None
    of_matmul: float | None = None


def layer_flops(layer: tf.keras.layers.Layer, size: int = 1) -> tuple[int, int]:
    """Counts the multiplications and additions of one layer's forward pass on one example.

    Args:
      layer: Dense, Conv2D or Conv2DTranspose, built.
      size: side of the square image that goes in.

    Returns:
      The operations (2 a multiply-add, biases and activations left out), and the side of the
      image that comes out.

    Raises:
      TypeError: for another kind of layer.
    """
    if isinstance(layer, tf.keras.layers.Dense):
        return 2 * layer.kernel.shape.num_elements(), 1
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        # Every input pixel meets the whole kernel.
        kernel = layer.kernel_size[0]
        return 2 * layer.kernel.shape.num_elements() * size**2, (size - 1) * layer.strides[
            0
        ] + kernel
    if isinstance(layer, tf.keras.layers.Conv2D):
        out = (size - layer.kernel_size[0]) // layer.strides[0] + 1
        return 2 * layer.kernel.shape.num_elements() * out**2, out
    raise TypeError(f"cannot count the operations of {layer!r}")


def model_flops(model: wm.WorldModel) -> dict[str, int]:
    """Counts the operations of each part of a world model, forward, for one frame."""
    stacks: dict[str, tuple[list, int]] = {
        "encoder": (model.encoder.layers_in_order, model.input_shape[0]),  # a side, of an image
        **{part: (layers, 1) for part, layers in model.cell.layers_by_part().items()},
        "decoder": (model.decoder.layers_in_order, 1),
        "reward": (model.reward.layers_in_order, 1),
    }
    counts = {}
    for name, (layers, size) in stacks.items():
        counts[name] = 0
        for layer in layers:
            flops, size = layer_flops(layer, size)
            counts[name] += flops
    return counts


def update_flops(model: wm.WorldModel, frames: int) -> int:
    """Counts the operations of an update: forward, and twice that backward.

    The gradient with respect to the images, which nobody needs, is left out.
    """
    first = 0
    if model.reads == "image":
        first, _ = layer_flops(model.encoder.layers_in_order[0], model.image_size)
    return frames * (3 * sum(model_flops(model).values()) - first)


def decision_flops(model: wm.WorldModel, iterations: int, candidates: int, horizon: int) -> int:
    """Counts the operations of a decision: filter one image, then I x J x H imagined steps."""
    parts = model_flops(model)
    filtering = parts["encoder"] + parts["transition"] + parts["posterior"]
    imagined = parts["transition"] + parts["prior"] + parts["reward"]
    return filtering + iterations * candidates * horizon * imagined


def median_seconds(act: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """Times `act`, which returns a tensor or a nest of them, until its results are there."""

    def run() -> float:
        start = time.perf_counter()
        tf.nest.map_structure(_wait, act())
        return time.perf_counter() - start

    for _ in range(warm_up):
        run()
    return statistics.median(run() for _ in range(repeats))


def _wait(value) -> None:
    if tf.is_tensor(value):
        value.numpy()


def matmul_rate(size: int = 4096, repeats: int = 5) -> float:
    """Returns the machine's rate of float32 matrix multiplication, in operations a second."""
    x = tf.random.stateless_normal([size, size], [0, 1])
    total = tf.function(lambda: tf.reduce_sum(tf.matmul(x, x)), autograph=False)
    return 2 * size**3 / median_seconds(total, repeats)


class _Clock:
    """Adds up the time of the calls it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, act: Callable) -> Callable:
        def timed(*arguments):
            start = time.perf_counter()
            result = act(*arguments)
            self.seconds += time.perf_counter() - start
            return result

        return timed


def run(
    configurations: Mapping[str, Sequence[str]],
    bindings: Sequence[str] = (),
    jit_compile: bool | None = None,
    repeats: int = 5,
    updates: int = 0,
    profile: str | None = None,
) -> tuple[float, list[Part]]:
    """Measures the machine's matmul rate and, in the same run, some training configurations.

    Args:
      configurations: gin files by label.
      bindings: gin bindings on top of each.
      jit_compile, repeats, updates: see `measure`.
      profile: directory for a trace by TensorFlow's profiler; None: none is made.

    Returns:
      The rate, in operations a second, and the parts of all configurations.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    rate = matmul_rate()
    if profile:
        tf.profiler.experimental.start(profile)
    parts = [
        part
        for label, files in configurations.items()
        for part in measure(label, files, rate, bindings, jit_compile, repeats, updates)
    ]
    if profile:
        tf.profiler.experimental.stop()
    return rate, parts


def measure(
    label: str,
    gin_files: Sequence[str],
    rate: float,
    bindings: Sequence[str] = (),
    jit_compile: bool | None = None,
    repeats: int = 5,
    updates: int = 0,
) -> list[Part]:
    """Measures the parts of one training configuration, and a whole cycle of Algorithm 1.

    Args:
      label: name of the configuration, put before each part's.
      gin_files, bindings: the configuration, as for training.
      rate: the machine's, of `matmul_rate`.
      jit_compile: compiles updates and decisions with XLA; None: on a GPU.
      repeats: measurements that each median is taken of.
      updates: updates of the cycle (the algorithm's is 100); 0 leaves the cycle out.

    Returns:
      The parts; those of the cycle add up to it.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    gin.clear_config()
    config.parse(gin_files, bindings)
    with fresh_run(jit_compile) as run:
        parts = [*_single_parts(run, rate, repeats)]
        if updates:
            run.hold_out_random()
            parts += _cycle(run, updates)
    return [dataclasses.replace(part, name=f"{label}: {part.name}") for part in parts]


@contextlib.contextmanager
def fresh_run(jit_compile: bool | None = None) -> Iterator[runs.Run]:
    """Gives a run of gin's settings with one environment a task and a random episode of each.

    It is in a temporary directory, and what is printed meanwhile goes nowhere.

    Args:
      jit_compile: compiles updates and decisions with XLA; None: on a GPU.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    with (
        tempfile.TemporaryDirectory() as root,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),  # the run's progress
        contextlib.redirect_stdout(nowhere),
    ):
        with config.config_errors():
            names = ("task", "seed", "batch_size", "chunk_length")
            settings = {name: config.value_of(training.train, name) for name in names}
            run = runs.Run(pathlib.Path(root), **settings, jit_compile=jit_compile)
            run.open(episodes=1)
        run.collect_random(len(run.tasks.names))
        yield run
        run.close()


def _settings(configurable: Callable, *names: str) -> list:
    return [config.value_of(configurable, name) for name in names]


def _batches(run, count: int) -> tf.data.Dataset:
    return run.replay.chunks(0, 0, count, *_settings(training.train, "batch_size", "chunk_length"))


def act_seconds(run: runs.Run, repeats: int) -> tuple[float, float, float]:
    """Times an update, a decision and an agent step of the environment, with its observation."""
    run.check_long_enough()
    batch = next(iter(_batches(run, repeats)))
    update = median_seconds(lambda: run.update(batch).loss, repeats)
    step, state = run.env.reset(), run.policy.get_initial_state(1)
    decision = median_seconds(lambda: run.policy.action(step, state).state, 2 * repeats, warm_up=5)
    action = np.zeros(run.env.action_spec().shape, np.float32)
    return update, decision, median_seconds(lambda: run.env.step(action), 10 * repeats)


def _single_parts(run, rate, repeats) -> Iterator[Part]:
    model = run.agent.world_model
    update, decision, step = act_seconds(run, repeats)
    frames = math.prod(_settings(training.train, "batch_size", "chunk_length"))
    yield _arithmetic("update", update, update_flops(model, frames), rate)
    planner = _settings(planners.cem, "iterations", "candidates", "horizon")
    yield _arithmetic("decision", decision, decision_flops(model, *planner), rate)
    yield Part("agent step of the environment, one frame", step)
    yield from _frames(run.env, 10 * repeats)
    batches = _batches(run, repeats)
    start = time.perf_counter()
    for _ in batches:
        pass
    yield Part("sampled batch", (time.perf_counter() - start) / repeats)


def _frames(env, repeats: int) -> Iterator[Part]:
    """Times a frame as we draw it; of dm_control's suite also as the suite comes."""
    if "image" not in env.observation_spec():
        return
    yield Part("frame", median_seconds(env._draw, repeats))
    if not isinstance(env, dm_control_environment.DmControlEnvironment) or (
        env.name not in environments.all_names()
    ):
        return
    suite_env = environments.load_suite(env.name)
    physics = suite_env.physics
    draw = functools.partial(physics.render, IMAGE_SIZE, IMAGE_SIZE, camera_id=0)
    differences = []
    for action in np.random.default_rng(0).uniform(-1, 1, (repeats, *env.action_spec().shape)):
        image = env.step(action).observation["image"]
        with physics.reset_context():
            physics.set_state(env._env.physics.get_state())
        differences.append(np.abs(draw().astype(float) - image).mean())
    name = f"frame as the suite comes (ours differs by {np.mean(differences):.3f} of 255)"
    yield Part(name, median_seconds(draw, repeats))
    suite_env.close()


def _arithmetic(name: str, seconds: float, flops: int, rate: float) -> Part:
    return Part(name, seconds, flops / 1e9, flops / seconds / rate)


def _cycle(run, updates: int) -> list[Part]:
    """Times `updates` updates and a collected episode, and what the time goes to."""
    updating, drawing, stepping = _Clock(), _Clock(), _Clock()
    update = run.update

    def waited_for(batch):
        info = update(batch)
        _wait(info.loss)
        return info

    run.update = updating.around(waited_for)
    run.env._draw = drawing.around(run.env._draw)
    run.env._reset, run.env._step = map(stepping.around, (run.env._reset, run.env._step))
    run.fit(1)  # traces what the first fit traces
    updating.seconds = 0.0
    start = time.perf_counter()
    run.fit(updates)
    run.collect()
    run.save()
    whole = time.perf_counter() - start
    deciding = run.last_terms["time/decision_ms"] / 1000 * run.env.max_steps
    other = whole - updating.seconds - deciding - stepping.seconds
    return [
        Part(f"cycle of {updates} updates and an episode", whole),
        Part("cycle, updates", updating.seconds),
        Part("cycle, decisions", deciding),
        Part("cycle, rendering", drawing.seconds),
        Part("cycle, simulation", stepping.seconds - drawing.seconds),
        Part("cycle, all else (sampling, files, logs)", other),
    ]


def table(parts: Sequence[Part]) -> str:
    """Lays parts out for reading."""
    width = max(len(part.name) for part in parts)
    lines = [f"{'':{width}}   median s      GFLOP   of matmul rate"]
    for part in parts:
        line = f"{part.name:{width}} {part.seconds:10.4f}"
        if part.gflop is not None and part.of_matmul is not None:
            line += f" {part.gflop:10.2f} {part.of_matmul:16.0%}"
        lines.append(line)
    return "\n".join(lines)
