"""How fast each part is, compared with what the machine could do.

Times on a shared machine are noise; ratios measured in one run are not. So every part that is
arithmetic is given as a fraction of the rate at which the same machine, in the same run, multiplies
large float32 matrices.
"""

import contextlib
import dataclasses
import functools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from planet_tf import action_specs, config, environments, errors
from planet_tf.environments import dm_control_env
from planet_tf.environments.base import IMAGE_SIZE
from planet_tf.machine import flops
from planet_tf.training import opened
from planet_tf.training.run import Run
from planet_tf.training.settings import Settings


@dataclasses.dataclass
class Part:
    """One measured part.

    Attributes:
      name: what was measured.
      seconds: median time.
      gflop: arithmetic counted from the layers' shapes, 10^9 operations; None if there is none.
      of_matmul: fraction of the machine's matmul rate; None if there is no arithmetic.
    """

    name: str
    seconds: float
    gflop: float | None = None
    of_matmul: float | None = None


class ActSeconds(NamedTuple):
    """Median seconds of single acts.

    Attributes:
      update: an optimizer step.
      decision: of the policy that is evaluated and exported.
      collecting: a decision of the policy that collects; the same unless its planner differs.
      step: an agent step with its observation.
    """

    update: float
    decision: float
    collecting: float
    step: float


def median_seconds(act: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """Times `act`, which returns a tensor or a nest of them, until its results are computed."""

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


def matmul_rate(size: int = 4096, repeats: int = 5, dtype: str = "float32") -> float:
    """Returns the machine's rate of matrix multiplication, in operations per second."""
    x = tf.cast(tf.random.stateless_normal([size, size], [0, 1]), dtype)

    @tf.function(autograph=False)
    def total():
        return tf.reduce_sum(tf.cast(tf.matmul(x, x), tf.float32))

    return 2 * size**3 / median_seconds(total, repeats)


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
      profile: directory for a trace by TensorFlow's profiler; None: none is written.

    Returns:
      The rate, in operations per second, and the parts of all configurations.

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
      rate: the machine's, from `matmul_rate`.
      jit_compile: compiles updates and decisions with XLA; None: as `train.jit_compile` says.
      repeats: measurements per median.
      updates: updates of the cycle (the algorithm's: 100); 0 omits the cycle.

    Returns:
      The parts; those of the cycle add up to it.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    config.configure(gin_files, bindings)
    with fresh_run(jit_compile) as (run, settings):
        seconds = act_seconds(run, repeats)
        frames = list(_frames(run.tasks.env, 10 * repeats))
        parts = [*_arithmetic(run, settings, seconds, rate), *frames, _batches(run, repeats)]
        if updates:
            parts += _cycle(run, updates, seconds, frames)
    return [dataclasses.replace(part, name=f"{label}: {part.name}") for part in parts]


@contextlib.contextmanager
def fresh_run(jit_compile: bool | None = None) -> Iterator[tuple[Run, Settings]]:
    """Opens a run with gin's settings, one environment per task and a random episode of each.

    It is in a temporary directory, and prints nothing.

    Args:
      jit_compile: compiles updates and decisions with XLA; None: as `train.jit_compile` says.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    with errors.as_config_errors():
        settings = Settings()
        compiles = settings.jit_compile if jit_compile is None else jit_compile
        settings = dataclasses.replace(settings, environments=1, collectors=0, jit_compile=compiles)
    with (
        tempfile.TemporaryDirectory() as root,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
        opened(root, settings) as run,
    ):
        run.collect_random(len(run.tasks.names))
        yield run, settings


def act_seconds(run: Run, repeats: int) -> ActSeconds:
    """Times an update, decisions and an agent step of a run that has an episode."""
    batch = next(iter(run.learner.chunks(run.replay, repeats)))
    update = median_seconds(lambda: run.learner.update(batch).loss, repeats)
    env = run.tasks.env
    first = env.reset()

    def decide(policy) -> float:
        state = policy.get_initial_state(1)
        return median_seconds(lambda: policy.action(first, state).state, 2 * repeats, warm_up=5)

    action = action_specs.sample(env.action_spec(), np.random.default_rng(0))
    step = median_seconds(lambda: env.step(action), 10 * repeats)
    decision = collecting = decide(run.policy)
    if run.agent.collect_policy.planner != run.agent.policy.planner:
        collecting = decide(run.collect_policy)
    return ActSeconds(update, decision, collecting, step)


def _arithmetic(run: Run, settings: Settings, seconds: ActSeconds, rate: float) -> list[Part]:
    model, agent = run.agent.world_model, run.agent
    frames = settings.batch_size * settings.chunk_length
    parts = [_part("update", seconds.update, lambda: flops.update_flops(model, frames), rate)]
    decisions = {"decision": (agent.policy.planner, seconds.decision)}
    if seconds.collecting != seconds.decision:
        decisions["decision that collects"] = agent.collect_policy.planner, seconds.collecting
    for name, (planner, each) in decisions.items():
        count = functools.partial(_decision_flops, model, planner)
        parts.append(_part(name, each, count, rate))
    return [*parts, Part("agent step of the environment, one frame", seconds.step)]


def _decision_flops(model, planner) -> int:
    return flops.decision_flops(model, planner.evaluations * planner.horizon)


def _part(name: str, seconds: float, counted: Callable[[], int], rate: float) -> Part:
    try:
        count = counted()
    except (TypeError, AttributeError):  # a custom network or planner
        return Part(name, seconds)
    return Part(name, seconds, count / 1e9, count / seconds / rate)


def _batches(run: Run, repeats: int) -> Part:
    batches = run.learner.chunks(run.replay, repeats)
    start = time.perf_counter()
    for _ in batches:
        pass
    return Part("sampled batch", (time.perf_counter() - start) / repeats)


def _frames(env, repeats: int) -> Iterator[Part]:
    """Times a frame as we draw it; for dm_control's suite also with the suite's own settings."""
    if "image" not in env.observation_spec():
        return
    yield Part("frame", median_seconds(env._draw, repeats))
    if not isinstance(env, dm_control_env.DmControlEnvironment) or (
        env.name not in environments.all_names()
    ):
        return
    suite_env = environments.load_suite(env.name)
    physics = suite_env.physics
    draw = functools.partial(physics.render, IMAGE_SIZE, IMAGE_SIZE, camera_id=env.camera)
    differences = []
    for action in np.random.default_rng(0).uniform(-1, 1, (repeats, *env.action_spec().shape)):
        image = env.step(action).observation["image"]
        with physics.reset_context():
            physics.set_state(env._env.physics.get_state())
        differences.append(np.abs(draw().astype(float) - image).mean())
    name = f"frame with the suite's settings (ours differs by {np.mean(differences):.3f} of 255)"
    yield Part(name, median_seconds(draw, repeats))
    suite_env.close()


def _cycle(run: Run, updates: int, seconds: ActSeconds, frames: Sequence[Part]) -> list[Part]:
    """Times `updates` updates and a collected episode, and what the time is spent on."""
    run.hold_out_random()
    run.fit(1)  # traces what the first fit traces
    start = time.perf_counter()
    run.fit(updates)
    fitting = time.perf_counter() - start
    run.collect()
    run.save()
    whole = time.perf_counter() - start
    steps = len(run.collect_policy.seconds)
    drawing = steps * frames[0].seconds if frames else 0.0
    deciding, simulating = math.fsum(run.collect_policy.seconds), steps * seconds.step - drawing
    return [
        Part(f"cycle of {updates} updates and an episode", whole),
        Part("cycle, updates with sampling and test terms", fitting),
        Part("cycle, decisions", deciding),
        Part("cycle, rendering", drawing),
        Part("cycle, simulation", simulating),
        Part("cycle, the rest (files, logs)", whole - fitting - deciding - steps * seconds.step),
    ]


def table(parts: Sequence[Part]) -> str:
    """Lays out parts for reading."""
    width = max(len(part.name) for part in parts)
    lines = [f"{'':{width}}   median s      GFLOP   of matmul rate"]
    for part in parts:
        line = f"{part.name:{width}} {part.seconds:10.4f}"
        if part.gflop is not None and part.of_matmul is not None:
            line += f" {part.gflop:10.2f} {part.of_matmul:16.0%}"
        lines.append(line)
    return "\n".join(lines)
