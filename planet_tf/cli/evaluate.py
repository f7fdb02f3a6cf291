"""Scores a trained policy without noise: a run's, or an exported one."""

import argparse
import contextlib
import json
import sys

import numpy as np

from planet_tf import errors, run_files, storage
from planet_tf.cli import flags as common

EXAMPLE = "example: planet-tf evaluate runs/cartpole_swingup-cpu --episodes=10 --video=swingup.mp4"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("path", help="a run's directory, or an exported policy (SavedModel)")
    parser.add_argument("--episodes", type=common.count, default=10)
    parser.add_argument("--seed", type=common.natural, default=0, help="decides all episodes")
    parser.add_argument(
        "--task", help="one of a run's tasks, or another task than the policy was trained on"
    )
    common.add_checkpoint(parser)
    common.add_gin(parser, files=False)
    common.add_json(parser)
    parser.add_argument(
        "--video",
        type=storage.expand,
        metavar="FILE",
        help="writes the first episode as .mp4 or .gif; for a run on images beside the "
        "reconstruction and the open-loop prediction from 5 frames",
    )
    common.add_video_size(parser)


def run(flags: argparse.Namespace) -> None:
    """Evaluates; scores are printed and written before the video is made."""
    import tqdm

    from planet_tf import training
    from planet_tf.analysis import videos
    from planet_tf.experience.rollout import FilmedEnvironment
    from planet_tf.experience.timing import TimedPolicy

    if flags.video:
        videos.check_path(flags.video)
    trained = training.load(
        flags.path,
        flags.task,
        flags.checkpoint,
        flags.gin_bindings,
        wrap=FilmedEnvironment if flags.video else lambda env: env,
        report=lambda line: tqdm.tqdm.write(line, file=sys.stderr),  # not into the bar
    )
    with contextlib.closing(trained.collector) as collector:
        if flags.video:
            _check_image(collector.env)
        policy = TimedPolicy(trained.policy)
        episodes, frames, failure = _episodes(collector, policy, flags)
    if not episodes:
        raise failure
    _report(flags, trained, policy, episodes)
    if flags.video:
        _write_video(flags, trained.agent, episodes[0], frames)
    if failure:
        raise failure


def _check_image(env) -> None:
    """Draws an image before the episodes are run, or raises ConfigError if there is none."""
    try:
        env.reset()
    except Exception as error:  # whatever a simulator or a renderer may raise
        raise errors.ConfigError(f"{env.name}: there is no image to film: {error}") from error


def _episodes(collector, policy, flags: argparse.Namespace):
    """Runs the episodes one by one.

    Returns:
      the episodes, the frames of the first one, and what ended them early, or None.
    """
    import tqdm

    episodes: list[dict] = []
    frames: list[np.ndarray] = []
    with tqdm.tqdm(total=flags.episodes, unit="episode", disable=None) as bar:
        for sequence in np.random.SeedSequence(flags.seed).spawn(flags.episodes):
            try:
                episodes += collector.collect(policy, [sequence])
            except (errors.EnvironmentFailure, errors.NotFiniteError, KeyboardInterrupt) as failure:
                return episodes, frames, failure
            frames = frames or getattr(collector.env, "frames", [])
            bar.update()
            bar.set_postfix_str(f"return {episodes[-1]['reward'].sum():.1f}")
    return episodes, frames, None


def _report(flags: argparse.Namespace, trained, policy, episodes: list[dict]) -> None:
    """Prints the scores, and writes them as JSON."""
    from planet_tf.experience import episode as of_episodes

    returns, env = of_episodes.returns(episodes), trained.collector.env
    agent_steps = sum(len(episode["reward"]) - 1 for episode in episodes)
    found = {
        "path": flags.path,
        "task": env.name,
        "seed": flags.seed,
        "episodes": len(episodes),
        "updates": trained.updates,
        "returns": returns.tolist(),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
        "agent_steps": agent_steps,
        "env_steps": agent_steps * env.action_repeat,
        "environment_failures": trained.collector.failures,
        "decision_ms_median": 1000 * float(np.median(policy.seconds)),
        "decision_ms_95": 1000 * float(np.percentile(policy.seconds, 95)),
    }
    print(
        "{task}, {episodes} episodes, seed {seed}: return {mean:.1f} (std {std:.1f}, "
        "min {min:.1f}, max {max:.1f}) in {env_steps} env steps; a decision takes "
        "{decision_ms_median:.1f} ms (median; 95 %: {decision_ms_95:.1f} ms)".format(**found)
    )
    if flags.json:
        found["run"] = _run(flags.path, env.name, trained.updates)
        storage.write_text(flags.json, json.dumps(found, indent=1) + "\n")
        print(f"json: {flags.json}")


def _run(path: str, task: str, updates: int) -> dict | None:
    """Returns how a run was trained up to a checkpoint; None for an exported policy."""
    from planet_tf.analysis import curves

    root = storage.expand(path)
    if not (root / run_files.SCALARS).is_file():
        return None
    for curve in curves.read_run(root):
        rows = np.flatnonzero(curve.columns["updates"] <= updates)
        if curve.task == task and len(rows):
            break
    else:  # another task than those it was trained on, or a log that was cut off
        return None
    row = int(rows[-1])
    counts = {name: int(curve.columns[name][row]) for name in curves.COUNTERS}
    return {
        "variant": curve.variant,
        "seed": curve.seed,
        **counts,
        "minutes": round(float(curve.columns["minutes"][row]), 2),
        "processes": storage.json_lines(root / run_files.PROCESSES),
    }


def _write_video(flags: argparse.Namespace, agent, episode: dict, frames: list) -> None:
    from planet_tf.analysis import predictions, videos

    model = agent.world_model if agent else None
    video = predictions.evaluation_video(model, episode, np.array(frames), size=flags.size)
    videos.write(flags.video, video, flags.fps)
    print(f"video: {flags.video}")
