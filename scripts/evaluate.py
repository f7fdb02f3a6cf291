"""Scores a trained policy without noise: of a run's directory, or an exported one."""

import argparse
import json
import pathlib
import sys

from planet_tf import quiet

quiet.libraries()

import numpy as np  # noqa: E402
import tqdm  # noqa: E402

from planet_tf import config, evaluation, files, imagination, trained, videos  # noqa: E402


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/evaluate.py runs/cartpole_swingup-cpu --episodes=10 "
        "--video=swingup.mp4",
    )
    parser.add_argument("path", help="a run's directory, or an exported policy (SavedModel)")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="decides all episodes, each its own")
    parser.add_argument(
        "--task", help="one of a run's tasks, or the task of an exported policy without its run"
    )
    parser.add_argument("--checkpoint", type=int, help="a run's checkpoint (default: the newest)")
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting other than the run's, such as cem.horizon=24; may be repeated",
    )
    parser.add_argument("--json", metavar="FILE", help="writes the figures there too")
    parser.add_argument(
        "--video",
        metavar="FILE",
        help="writes the first episode as .mp4 or .gif; of a run with images beside what its model "
        "reconstructs, and what it imagines after 5 frames from the actions alone",
    )
    parser.add_argument("--fps", type=float, default=15.0, help="frames a second of the video")
    parser.add_argument(
        "--size",
        type=int,
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each picture in the video, as far as whole times of its own go",
    )
    flags = parser.parse_args()
    if flags.episodes < 1 or flags.seed < 0 or flags.fps <= 0 or flags.size < 1:
        parser.error("--episodes must be at least 1, --seed at least 0, --fps and --size positive")
    if flags.json and not pathlib.Path(flags.json).resolve().parent.is_dir():
        parser.error(f"--json={flags.json}: no such directory; make it first")
    return flags


def _evaluate(flags: argparse.Namespace) -> dict:
    if flags.video:
        videos.check_path(flags.video)
    policy, env, run = trained.load(flags.path, flags.task, flags.checkpoint, flags.gin_bindings)
    frames: list[np.ndarray] = []
    with tqdm.tqdm(total=flags.episodes, unit="episode", disable=None) as bar:
        watched = evaluation.Watched(policy, env, frames if flags.video else None)
        episodes = []
        for seed in np.random.SeedSequence(flags.seed).spawn(flags.episodes):
            episodes += evaluation.run_episodes(env, watched, [seed])
            bar.update()
            bar.set_postfix_str(f"return {episodes[-1]['reward'].sum():.1f}")
    if flags.video:
        model = run.agent.world_model if run else None
        first = np.array(frames[: len(episodes[0]["reward"]) - 1])
        film = imagination.film(model, episodes[0], first, size=flags.size)
        videos.write(flags.video, film, flags.fps)
    score = evaluation.Score(episodes)
    steps = sum(len(episode["reward"]) - 1 for episode in episodes)
    return {
        "path": flags.path,
        "task": env.name,
        "seed": flags.seed,
        "episodes": flags.episodes,
        "updates": int(run.updates if run else policy.get_train_step()),
        "returns": score.returns,
        "mean": score.mean,
        "std": score.std,
        "min": min(score.returns),
        "max": max(score.returns),
        "agent_steps": steps,
        "env_steps": steps * env.action_repeat,
        "decision_ms_median": 1000 * float(np.median(watched.seconds)),
        "decision_ms_95": 1000 * float(np.percentile(watched.seconds, 95)),
    }


def main() -> int:
    """Parses the flags, evaluates and prints; returns the exit status."""
    flags = _flags()
    try:
        found = _evaluate(flags)
        if flags.json:
            with files.written_whole(flags.json) as out:
                out.write(json.dumps(found, indent=1).encode() + b"\n")
    except (config.ConfigError, evaluation.EnvironmentFailure, files.StorageError) as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    print(
        "{task}, {episodes} episodes, seed {seed}: return {mean:.1f} (std {std:.1f}, "
        "min {min:.1f}, max {max:.1f}) in {env_steps} env steps; a decision takes "
        "{decision_ms_median:.1f} ms (median; 95 %: {decision_ms_95:.1f} ms)".format(**found)
    )
    for what in ("json", "video"):
        if getattr(flags, what):
            print(f"{what}: {getattr(flags, what)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
