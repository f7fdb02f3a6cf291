"""One run: its parts, the acts of Algorithm 1, and what stands in its directory."""

import contextlib
import os
import pathlib
import shlex
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import (
    agent as agents,
    checkpoints,
    config,
    custom_code,
    evaluation,
    export,
    imagination,
    policy as policies,
    replay as replays,
    run_directory,
    signals,
    summaries,
    tasks,
)

# Streams of randomness; each is a function of the run's seed and a counter, so that a resumed run
# draws what it would have drawn.
_WEIGHTS, _UPDATES, _REPLAY, _COLLECT, _HELDOUT, _EVALUATION, _ENVIRONMENT = range(7)


def environment_seed(seed: int) -> int:
    """Returns the seed that the environments of a run of this seed are made with."""
    return _word(seed, _ENVIRONMENT)


def _word(seed: int, stream: int) -> int:
    """Returns a stream's seed as a non-negative int32."""
    return int(np.random.SeedSequence([seed, stream, 0]).generate_state(1)[0] >> 1)


class Run:
    """The parts of a run, and the acts that `train` is made of. All state is in the parts."""

    def __init__(
        self,
        root_dir: pathlib.Path,
        task: str | Sequence[str],
        seed: int,
        batch_size: int,
        chunk_length: int,
        jit_compile: bool | None,
        environments: int = 1,
    ):
        """Builds what needs no directory, and tries the environment and the planner."""
        self.root = root_dir
        self._seed, self._batch_size, self._chunk_length = seed, batch_size, chunk_length
        if jit_compile is None:
            jit_compile = bool(tf.config.list_logical_devices("GPU"))
        self.tasks = tasks.Tasks(task, environment_seed(seed), environments, chunk_length)
        tf.keras.utils.set_random_seed(self._word(_WEIGHTS))
        self.agent = agents.PlanetAgent(
            ts.time_step_spec(tensor_spec.from_spec(self.env.observation_spec())),
            tensor_spec.from_spec(self.env.action_spec()),
            seed=self._word(_UPDATES),
            jit_compile=jit_compile,
        )
        distance = self.agent.world_model.overshooting_distance
        if distance >= chunk_length:
            raise config.ConfigError(
                f"WorldModel.overshooting_distance ({distance}) must be below train.chunk_length "
                f"({chunk_length}): no chunk holds so many steps ahead"
            )
        self.update = tf.function(self.agent.train, jit_compile=jit_compile)
        self._loss = tf.function(self.agent.loss, jit_compile=jit_compile)
        self._predict = tf.function(self.agent.world_model.predict, jit_compile=jit_compile)
        self.collect_policy, self.policy = (
            policies.PlanetPyPolicy(policy, batch_time_steps=not self.env.batched)
            for policy in (self.agent.collect_policy, self.agent.policy)
        )
        self._random_policy = evaluation.UniformPolicy(self.env)
        for policy in (self.collect_policy, self.policy):
            policy.action(self.env.reset(), policy.get_initial_state(environments))
            policy.pop_decision_ms()  # that one was slow: it was traced
        self._best_evaluation = tf.Variable(float("-inf"), trainable=False, name="best")
        self._evaluated = tf.Variable(0, trainable=False, name="evaluated")
        self._checkpoints = checkpoints.Checkpoints(
            self.root / "checkpoints",
            agent=self.agent,
            best_evaluation=self._best_evaluation,
            evaluated=self._evaluated,
            failures=self.tasks.failures,
            **self.tasks.metrics,
        )
        self.last_terms: dict[str, float] = {}
        self._no_test_reported = False

    def open(self, episodes: int) -> None:
        """Opens the directory, and takes up the run that is in it.

        Raises:
          ConfigError: if the directory is in use, or holds another run or another model.
        """
        self._directory = run_directory.RunDirectory(self.root, self.identity())
        try:
            self._take_up(episodes)
        except BaseException:
            self._directory.release()
            raise

    def _take_up(self, episodes: int) -> None:
        spec = self.agent.training_data_spec
        self.replay = replays.ReplayBuffer(spec, self.root / "episodes" / "train")
        self.heldout = replays.ReplayBuffer(spec, self.root / "episodes" / "heldout")
        saved = self._checkpoints.restore()
        self.agent.optimizer.learning_rate = self.agent.learning_rate  # gin's, not the checkpoint's
        for number, episode in self.replay.episodes_since(saved or 0):
            self.tasks.observe(number, episode)  # collected after the checkpoint
        self._summaries = summaries.Summaries(self.root)
        settings = self._directory.take()
        self._summaries.text("config", settings, self.updates)
        self._summaries.hparams(config.settings(settings), os.fspath(self.root))
        self._progress = summaries.Progress(episodes, self.episodes)
        if self.episodes:
            self._say_what_was_found(episodes, saved)

    def _say_what_was_found(self, episodes: int, saved: int | None) -> None:
        checkpoint = f"checkpoint {saved}" if saved else "no checkpoint yet"
        say, killed = self._progress.say, self._directory.killed
        say(
            f"resumed {self.root}: episode {self.episodes} of {episodes}, update {self.updates} "
            f"({checkpoint})"
        )
        if killed or self.episodes > (saved or 0):
            lost = f"lost: the updates after update {self.updates}"
            say(f"{lost} and the episode under way, for {killed} was killed" if killed else lost)
        if aside := self.replay.moved_aside + self.heldout.moved_aside:
            say(f"lost: {aside} episodes whose files were bad, now *.bad")
        if self._directory.changes:
            say("settings changed since: " + "; ".join(self._directory.changes))
        if self.episodes >= episodes:
            say(
                "it is complete: set train.episodes higher to go on, "
                f'such as --gin_bindings="train.episodes={2 * self.episodes}"'
            )

    # The acts of Algorithm 1.

    def collect_random(self, count: int = 1) -> None:
        """Adds episodes of uniform random actions to the replay."""
        self._collect(self._random_policy, count)

    def hold_out_random(self, count: int = 1) -> None:
        """Adds episodes of uniform random actions to the held-out ones."""
        first = self.heldout.num_episodes
        for _, episode in self._play(self._random_policy, _HELDOUT, first, count):
            self.heldout.add_episode(episode)

    def fit(self, updates: int) -> None:
        """Takes `updates` optimizer steps on chunks of the replay; logs the terms' means."""
        self.check_long_enough()
        start, first = time.perf_counter(), self.updates
        history: list[dict[str, tf.Tensor]] = []
        for batch in self.replay.chunks(
            self._word(_REPLAY), first, updates, self._batch_size, self._chunk_length
        ):
            terms = self.update(batch).extra
            if history:  # an update late, lest a GPU has to wait
                self._check_finite(history[-1], first + len(history))
            history.append(terms)
            self._progress.within("update", len(history), updates)
        self._check_finite(history[-1], first + updates)
        means = {key: float(np.mean([terms[key] for terms in history])) for key in history[0]}
        seconds = time.perf_counter() - start
        self.last_terms = {
            **{f"train/{key}": value for key, value in means.items()},
            **self._test_terms(),
            "time/updates_per_second": updates / seconds,
        }

    def check_long_enough(self) -> None:
        """Raises ConfigError if no training episode holds a chunk; reports it of held-out ones."""
        length, longest = self._chunk_length, self.replay.longest
        if longest < length:
            advice = f"at most {longest}" if longest > 1 else "lower"
            raise config.ConfigError(
                f"train.chunk_length ({length}) exceeds the {longest} frames of the longest "
                f"episode collected so far: set it to {advice}"
            )
        if self.heldout.longest < length and not self._no_test_reported:
            self._no_test_reported = True
            self._progress.say(
                f"no test terms yet: the longest held-out episode has {self.heldout.longest} "
                f"frames, a chunk has {length} (train.chunk_length)"
            )

    def _test_terms(self) -> dict[str, float]:
        """Returns the loss terms of held-out chunks; none if no held-out episode holds a chunk."""
        batch = self._heldout_chunks(self._batch_size)
        if batch is None:
            return {}
        return {f"test/{key}": float(value) for key, value in self._loss(batch).extra.items()}

    def _check_finite(self, terms: dict[str, tf.Tensor], update: int) -> None:
        broken = [key for key, value in terms.items() if not np.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} became NaN or infinite in update {update}; what is in "
                f"{self.root} is from before that"
            )

    def collect(self, count: int = 1, random: bool = False) -> None:
        """Adds episodes of the collect policy, or random ones, to the replay; logs the last fit."""
        if random:
            self.collect_random(count)
        else:
            self._collect(self.collect_policy, count)
            self.last_terms["time/decision_ms"] = self.collect_policy.pop_decision_ms()
        self._summaries.scalars(self.updates, self.last_terms, **self.counters())

    def evaluate(self, episodes: int) -> None:
        """Scores the policy without noise, and draws what the model predicts of held-out chunks.

        Of several tasks each has so many episodes, and the score is the mean of theirs.
        """
        scores = {}
        for number, name in enumerate(self.tasks.names):
            seeds = self._random(_EVALUATION, self.episodes).spawn(episodes)
            runs = self.tasks.run_episodes(number, self.policy, seeds, self._progress.say)
            scores[name] = evaluation.Score(runs)
            for episode in runs:
                self.heldout.add_episode(episode)
        mean = float(np.mean([score.mean for score in scores.values()]))
        std = float(np.mean([score.std for score in scores.values()]))
        by_task = {name: score.mean for name, score in scores.items() if self.tasks.several}
        self._best_evaluation.assign(max(mean, float(self._best_evaluation)))
        self._evaluated.assign(self.episodes)
        counters = self.counters()
        env_steps = counters["env_steps"]
        self._summaries.scalars(
            env_steps,
            {
                "evaluation/return": mean,
                "evaluation/return_std": std,
                **{f"evaluation/return/{name}": value for name, value in by_task.items()},
                "time/evaluation_decision_ms": self.policy.pop_decision_ms(),
            },
            **counters,
        )
        self._imagine(env_steps)
        each = "".join(f"; {name} {value:.1f}" for name, value in by_task.items())
        self._progress.say(
            f"evaluation after {self.episodes} episodes, {env_steps} env steps: return "
            f"{mean:.1f} (std {std:.1f}, {episodes} episodes{' of each task' * bool(each)}{each})"
        )

    def _imagine(self, env_steps: int) -> None:
        """Logs open-loop predictions of held-out chunks: how far off they are, and pictures."""
        context, batch = min(imagination.CONTEXT, self._chunk_length - 1), self._heldout_chunks(8)
        if batch is None:
            return
        prediction = self._predict(batch, context, tf.constant(imagination.SEED))
        errors = imagination.errors(prediction, batch["reward"])
        means = {
            f"open_loop/{name}": float(tf.reduce_mean(error[:, context:]))
            for name, error in errors.items()
        }
        self._summaries.scalars(env_steps, means, **self.counters())
        if self.agent.world_model.reads == "image":
            first = {key: value[0].numpy() for key, value in prediction.items()}
            # Small: an evaluation's pictures take disk.
            strip, film = imagination.strip(first), imagination.difference_film(first, size=64)
            self._summaries.image("heldout/real_model_difference", strip, env_steps)
            self._summaries.video("heldout/open_loop", film, env_steps)

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
          FloatingPointError: if the model is not finite; there is no such checkpoint then.
          StorageError: if it cannot be written; the one before is as it was.
        """
        for variable in self.agent.world_model.variables:
            if not np.all(np.isfinite(variable)):
                raise FloatingPointError(
                    f"{variable.name} is NaN or infinite after update {self.updates}; what is in "
                    f"{self.root} is from before that"
                )
        with signals.held():
            self._checkpoints.save(self.episodes)

    def export(self) -> None:
        """Writes the policy as a SavedModel."""
        export.export_policy(
            self.agent.policy,
            self.root / "policy",
            self.agent.train_step_counter,
            trained_on=self.identity(),
        )

    def close(self) -> None:
        """Closes files and environments, and says where everything is."""
        self._summaries.close()
        self._progress.close()
        self.tasks.close()
        self._directory.release()
        policy = "policy (SavedModel), " if (self.root / "policy").exists() else ""
        root = shlex.quote(os.fspath(self.root))
        modules = [name.partition(":")[0] for name in self.tasks.names if ":" in name]
        modules += [line.removeprefix("import ") for line in self._directory.imports]
        folders = custom_code.folders(modules)
        path = f"PYTHONPATH={shlex.quote(os.pathsep.join(folders))} " if folders else ""
        print(
            f"{self.root}: {policy}checkpoints, episodes, tensorboard, scalars.jsonl\n"
            f"next: {path}python scripts/evaluate.py {root} --video=evaluation.gif\n"
            f"      {path}python scripts/imagine.py {root}\n"
            f"      tensorboard --logdir {root}"
        )

    @contextlib.contextmanager
    def saved_if_stopped(self) -> Iterator[None]:
        """Writes a checkpoint, and closes, if what stops the run meanwhile is no fault of it."""
        try:
            with signals.as_exceptions():
                yield
        except (KeyboardInterrupt, signals.Terminated, evaluation.EnvironmentFailure):
            self._progress.say(f"stopped at update {self.updates}: writing a checkpoint")
            try:
                self.save()
            finally:
                self.close()
            raise
        except BaseException:
            self._directory.release()
            raise

    # What they share.

    def identity(self) -> dict:
        """Returns what must not change in a run: run.json."""
        return {"seed": self._seed, **self.tasks.identity()}

    @property
    def env(self):
        """The first task's environment; another one after a failure."""
        return self.tasks.env(0)

    @property
    def episodes(self) -> int:
        """Episodes in the replay, random ones included."""
        return self.replay.num_episodes

    @property
    def evaluated(self) -> int:
        """Episodes that there were at the last evaluation; 0: there was none."""
        return int(self._evaluated)

    @property
    def updates(self) -> int:
        """Optimizer steps taken."""
        return int(self.agent.train_step_counter.numpy())

    def counters(self) -> dict[str, int]:
        """Returns all counters; an env step is a simulator step (agent steps x action repeat)."""
        return {"updates": self.updates, "episodes": self.episodes, **self.tasks.steps()}

    def _collect(self, policy, count: int) -> None:
        for number, episode in self._play(policy, _COLLECT, self.episodes, count):
            with signals.held():  # or a checkpoint would count one without the other
                self.replay.add_episode(episode)
                self.tasks.observe(number, episode)
            metrics, task = self.tasks.metrics, ""
            values = {f"collect/{key}": float(metrics[key].result()) for key in _METRICS}
            if failures := int(self.tasks.failures):
                values["collect/environment_failures"] = failures
            if self.tasks.several:
                task = self.tasks.env(number).name
                values[f"collect/return/{task}"] = values["collect/return"]
            counters = self.counters()
            self._summaries.scalars(counters["env_steps"], values, **counters)
            self._summaries.flush()
            text, trained = self._line(task, values, counters), bool(self.last_terms)
            self._progress.episode(self.episodes, text, trained)

    def _play(self, policy, stream: int, first: int, count: int):
        """Yields the episodes first, ..., first + count - 1 of a stream with their numbers.

        Several that act at once are of one task: then there is no other.
        """
        rows = self.env.batch_size or 1
        for start in range(first, first + count, rows):
            numbers = range(start, min(start + rows, first + count))
            seeds = [self._random(stream, number) for number in numbers]
            episodes = self.tasks.run_episodes(start, policy, seeds, self._progress.say)
            yield from zip(numbers, episodes, strict=True)

    def _line(self, task, values, counters) -> str:
        parts = [f"{counters['env_steps']} env steps", f"return {values['collect/return']:.1f}"]
        if task:
            parts.insert(0, task)
        if np.isfinite(best := float(self._best_evaluation)):
            parts.append(f"best evaluation {best:.1f}")
        if self.last_terms:
            parts.append(f"loss {self.last_terms['train/loss']:.1f}")
            parts.append(f"{self.last_terms['time/updates_per_second']:.2f} updates/s")
            parts.append(f"{self.collect_policy.decision_ms:.0f} ms a decision")
        return ", ".join(parts)

    def _heldout_chunks(self, count: int):
        """Returns a batch of held-out chunks; None if no held-out episode is long enough."""
        if self.heldout.longest < self._chunk_length:
            return None
        chunks = self.heldout.chunks(
            self._word(_HELDOUT), self.updates, 1, count, self._chunk_length
        )
        return next(iter(chunks))

    def _random(self, stream: int, number: int = 0) -> np.random.SeedSequence:
        """Returns the source of what is random in one use of a stream, such as one episode."""
        return np.random.SeedSequence([self._seed, stream, number])

    def _word(self, stream: int) -> int:
        return _word(self._seed, stream)


_METRICS = ("return", "length")  # of each episode
