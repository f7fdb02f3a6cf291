"""Scores a trained policy without noise: of a run's directory, or an exported one."""

import argparse
import json
import sys

from planet_tf import quiet

quiet.libraries()

import numpy as np  # noqa: E402
import tqdm  # noqa: E402

from planet_tf import config, evaluation, files, imagination, paths, trained, videos  # noqa: E402


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
    parser.add_argument(
        "--json", type=paths.expanded, metavar="FILE", help="writes the figures there too"
    )
    parser.add_argument(
        "--video",
        type=paths.expanded,
        metavar="FILE",
        help="writes the first episode as .mp4 or .gif; of a run with images beside what its model "
        "reconstructs, and what it imagines after 5 frames from the actions alone",
    )
    parser.add_argument(
        "--fps", type=videos.fps, default=15.0, help="frames per second, 0.1 to 100"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each picture in the video, as far as whole times of its own go",
    )
    flags = parser.parse_args()
    if flags.episodes < 1 or flags.seed < 0 or flags.size < 1:
        parser.error("--episodes must be at least 1, --seed at least 0, --size positive")
    if flags.json and not flags.json.resolve().parent.is_dir():
        parser.error(f"--json={flags.json}: no such directory; make it first")
    return flags


def _evaluate(flags: argparse.Namespace) -> None:
    if flags.video:
        videos.check_path(flags.video)
    policy, source, run = trained.load(flags.path, flags.task, flags.checkpoint, flags.gin_bindings)
    if flags.video:
        evaluation.check_picture(source.env)
    watched = evaluation.Watched(policy, source, pictures=bool(flags.video))
    failures: list[str] = []
    episodes: list[dict] = []
    frames: list[np.ndarray] = []
    error: evaluation.EnvironmentFailure | None = None
    with tqdm.tqdm(total=flags.episodes, unit="episode", disable=None) as bar:

        def failed(line: str) -> None:
            failures.append(line)
            bar.write(line, file=sys.stderr)

        for seed in np.random.SeedSequence(flags.seed).spawn(flags.episodes):
            try:
                episodes += source.run_episodes(watched, [seed], failed)
            except evaluation.EnvironmentFailure as failure:
                error = failure
                break
            if len(episodes) == 1:  # the video's
                frames, watched.frames = watched.frames or [], None
            bar.update()
            bar.set_postfix_str(f"return {episodes[-1]['reward'].sum():.1f}")
    if error and not episodes:
        raise error
    found = _scores(flags, run.updates if run else policy.get_train_step(), source.env, episodes)
    found["environment_failures"] = len(failures)
    found["decision_ms_median"] = 1000 * float(np.median(watched.seconds))
    found["decision_ms_95"] = 1000 * float(np.percentile(watched.seconds, 95))
    _report(flags, found)
    if flags.video:
        model = run.agent.world_model if run else None
        film = imagination.film(model, episodes[0], np.array(frames), size=flags.size)
        videos.write(flags.video, film, flags.fps)
        print(f"video: {flags.video}")
    if error:
        raise error


def _scores(flags: argparse.Namespace, updates, env, episodes: list[dict]) -> dict:
    score = evaluation.Score(episodes)
    steps = sum(len(episode["reward"]) - 1 for episode in episodes)
    return {
        "path": str(flags.path),
        "task": env.name,
        "seed": flags.seed,
        "episodes": len(episodes),
        "updates": int(updates),
        "returns": score.returns,
        "mean": score.mean,
        "std": score.std,
        "min": min(score.returns),
        "max": max(score.returns),
        "agent_steps": steps,
        "env_steps": steps * env.action_repeat,
    }


def _report(flags: argparse.Namespace, found: dict) -> None:
    """Prints the scores and writes them, before anything that may go wrong with a video."""
    print(
        "{task}, {episodes} episodes, seed {seed}: return {mean:.1f} (std {std:.1f}, "
        "min {min:.1f}, max {max:.1f}) in {env_steps} env steps; a decision takes "
        "{decision_ms_median:.1f} ms (median; 95 %: {decision_ms_95:.1f} ms)".format(**found)
    )
    if flags.json:
        with files.written_whole(flags.json) as out:
            out.write(json.dumps(found, indent=1).encode() + b"\n")
        print(f"json: {flags.json}")


def main() -> int:
    """Parses the flags, evaluates and prints; returns the exit status."""
    flags = _flags()
    try:
        _evaluate(flags)
    except (config.ConfigError, evaluation.EnvironmentFailure, files.StorageError) as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
