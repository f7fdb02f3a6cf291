"""One run: its parts, and the steps of Algorithm 1."""

import contextlib
import functools
import itertools

import tensorflow as tf
from tf_agents.policies import py_policy

from planet_tf import errors, run_files, seeds, storage
from planet_tf.agents import PlanetPyPolicy, export_policy
from planet_tf.experience import Episode, ReplayBuffer, UniformPolicy
from planet_tf.experience.episode import returns
from planet_tf.experience.metrics import CollectMetrics
from planet_tf.experience.timing import traced
from planet_tf.seeds import Stream
from planet_tf.training import interrupts, remote, replicas
from planet_tf.training.checkpoints import Checkpoints
from planet_tf.training.learner import make_learner
from planet_tf.training.reporting import Counters, Report
from planet_tf.training.run_directory import RunDirectory
from planet_tf.training.settings import Settings
from planet_tf.training.tasks import Tasks


class Run:
    """The parts of a run, and the steps that `loop.learn` calls.

    Attributes:
      tasks: environments and collectors.
      agent: world model, optimizer and networks.
      policy, collect_policy: the agent's, as PyPolicies that are timed.
      learner: updates.
      replay, heldout: the training and the held-out episodes.
      report: logs and prints.
      directory: the locked directory.
      identity: what must not change in a run: seed, task, observations, ...; see run.json.
    """

    report: Report
    directory: RunDirectory

    def __init__(self, root_dir, settings: Settings, strategy=None):
        """Builds everything; writes nothing before environment and planner have been tried.

        `strategy` shares updates between devices; None: as the settings say, see `replicas`.

        Raises:
          ConfigError: if a setting cannot be used, or the directory is in use or holds another run.
        """
        root = storage.tensorflow_path(root_dir)
        self._seeds = seeds.RunSeeds(settings.seed)
        with contextlib.ExitStack() as parts:  # closes those that are open if a later one fails
            with errors.as_config_errors():
                self._build(settings, strategy or replicas.strategy(settings), parts)
                self.directory = RunDirectory(root, self.identity)
            parts.callback(self.directory.release)
            # Late, as they take a while: the directory is this run's by now.
            started = remote.started(settings, self.identity, self._environment_failed)
            self._remote = parts.enter_context(started)
            self._open(settings.episodes)
            parts.callback(self.report.close)
            self._parts = parts.pop_all()

    def _build(self, settings: Settings, strategy, parts: contextlib.ExitStack) -> None:
        """Makes environments, agent, learner and policies."""
        self._orders = replicas.Orders(strategy)
        counter = functools.partial(tf.Variable, 0, trainable=False)
        self._failures, self._evaluated = counter(name="failures"), counter(name="evaluated")
        self._updates_at_collection = counter(name="updates_at_collection")
        seed = self._seeds.integer(Stream.ENVIRONMENT)
        self.tasks = Tasks(settings.task, seed, settings.environments, self._environment_failed)
        parts.callback(self.tasks.close)
        self.identity = self.tasks.identity(settings.seed)
        self.learner = make_learner(self.identity, settings, strategy)
        self.agent = self.learner.agent
        env = self.tasks.env
        self._random_policy = UniformPolicy(env)
        self.collect_policy, self.policy = (
            traced(PlanetPyPolicy(policy, batch_time_steps=not env.batched), env)
            for policy in (self.agent.collect_policy, self.agent.policy)
        )

    def _open(self, episodes: int) -> None:
        """Loads what the directory holds, and starts logging."""
        root, spec = self.directory.root, self.agent.training_data_spec
        with storage.writing(root):
            self.replay = ReplayBuffer(spec, root / run_files.TRAIN_EPISODES)
            self.heldout = ReplayBuffer(spec, root / run_files.HELDOUT_EPISODES)
        self._metrics = CollectMetrics(self.tasks.names)
        self._checkpoints = Checkpoints(
            root / run_files.CHECKPOINTS,
            agent=self.agent,
            evaluated=self._evaluated,
            failures=self._failures,
            updates_at_collection=self._updates_at_collection,
            **self._metrics.objects,
        )
        saved = self._checkpoints.restore()
        for number, episode in self.replay.episodes_since(saved or 0):
            self._metrics.observe(self.tasks.name(number), episode)
            # Updates of a stopped fit in the checkpoint were this episode's.
            self._updates_at_collection.assign(self.learner.updates)
        self.directory.write()
        self.report = Report(self.directory, episodes, self.counters())
        if self.episodes:
            bad_files = self.replay.moved_aside + self.heldout.moved_aside
            self.report.resumed(self.directory, self.counters(), saved, bad_files)

    # The steps of Algorithm 1.

    def collect_random(self, count: int = 1) -> None:
        """Adds episodes of uniform random actions to the replay."""
        self._collect(self._random_policy, count)

    def hold_out_random(self, count: int = 1) -> None:
        """Adds episodes of uniform random actions to the held-out ones."""
        first = self.heldout_episodes
        sequence = functools.partial(self._seeds.sequence, Stream.HELDOUT)
        for episode in self.tasks.episodes(self._random_policy, sequence, first, count):
            self.heldout.add_episode(episode)

    def fit(self, updates: int) -> None:
        """Takes `updates` optimizer steps on chunks of the replay; none if that is below 1."""
        if updates < 1:
            return
        self._orders.give(self.episodes, self.learner.updates, updates)
        terms = self.learner.fit(
            self.replay, updates, lambda done: self.report.within_fit(done, updates)
        )
        test = self.learner.test(self.heldout)
        self.report.fitted({**terms, **test}, self.counters())

    def collect(self, count: int = 1) -> None:
        """Adds episodes of the collect policy to the replay."""
        if self._remote is None:
            self._collect(self.collect_policy, count)
            return
        for episode, decision_ms, age in self._remote.episodes(self.agent, self.episodes, count):
            self._add(episode, decision_ms, weights_age=age)
        self._score_remotely(wait=False)

    def evaluate(self, episodes: int) -> None:
        """Scores the policy without noise, and predicts held-out chunks open loop.

        Each task has `episodes` episodes, and the score is the mean over tasks. Remote collectors
        evaluate while the model is trained on; the run waits for its last evaluation, and for the
        one before the next.
        """
        sequences = self._seeds.sequence(Stream.EVALUATION, self.episodes).spawn(episodes)
        if self._remote:
            self._score_remotely(wait=True)  # the one before
            self._remote.evaluate(self.agent, sequences, self.counters())
            self._score_remotely(wait=False)
        else:
            found = {
                name: self.tasks.collect(number, self.policy, sequences)
                for number, name in enumerate(self.tasks.names)
            }
            self._score(found, self.policy.pop_mean_ms(), self.counters())
        if predicted := self.learner.predict(self.heldout):
            means, first = predicted
            reads_images = self.agent.world_model.reads == "image"
            self.report.predicted(means, first if reads_images else None, self.counters())

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
          NotFiniteError: if the model is not finite; there is no such checkpoint then.
          StorageError: if it cannot be written; the previous one is intact.
        """
        self.learner.check_finite()
        self._checkpoints.save(self.episodes, pending=self._evaluating)

    def export(self) -> None:
        """Writes the policy as a SavedModel."""
        export_policy(
            self.agent.policy,
            self.directory.root / run_files.POLICY,
            self.agent.train_step_counter,
            trained_on=self.identity,
            settings=self.directory.settings,
        )

    # What the loop reads.

    @property
    def episodes(self) -> int:
        """Episodes ever added to the replay, random ones included."""
        return self.replay.num_episodes

    @property
    def heldout_episodes(self) -> int:
        """Episodes ever held out."""
        return self.heldout.num_episodes

    @property
    def evaluated(self) -> int:
        """The number of episodes at the last evaluation, or the current one; 0: there was none."""
        return max(self._evaluating, default=int(self._evaluated))

    @property
    def updates_since_collection(self) -> int:
        """Optimizer steps since the last collection: a fit that was stopped has taken some."""
        return self.learner.updates - int(self._updates_at_collection)

    def counters(self) -> dict[str, int]:
        """Returns all counters; an env step is a simulator step (agent steps x action repeat)."""
        steps = self._metrics.agent_steps()
        return {
            "updates": self.learner.updates,
            "episodes": self.episodes,
            "agent_steps": sum(steps.values()),
            "env_steps": self.tasks.env_steps(steps),
        }

    def release_machines(self) -> None:
        """Tells the other machines that the run has ended."""
        with contextlib.suppress(errors.MachineLost), replicas.lost_machines_named():
            self._orders.give(self.episodes, self.learner.updates, 0)

    def close(self) -> None:
        """Closes environments and files, and unlocks the directory."""
        self._parts.close()

    # Collection.

    def _collect(self, policy: py_policy.PyPolicy, count: int) -> None:
        self.collect_policy.pop_mean_ms()  # forgets earlier decisions
        sequence = functools.partial(self._seeds.sequence, Stream.COLLECT)
        for episode in self.tasks.episodes(policy, sequence, self.episodes, count):
            self._add(episode, self.collect_policy.mean_ms)  # 0: the random policy plans nothing

    def _add(self, episode: Episode, decision_ms: float, **more: float) -> None:
        """Adds an episode to the replay, and reports it, with `more` about it."""
        task = self.tasks.name(self.episodes)
        self.replay.add_episode(episode)
        self._updates_at_collection.assign(self.learner.updates)
        learns_ends = self.agent.world_model.continuation is not None
        self.report.explain(episode, self.learner.chunk_length, learns_ends)
        self._metrics.observe(task, episode)
        self.report.collected(
            task,
            {**self._metrics.last(), **more},
            self.counters(),
            int(self._failures),
            decision_ms,
            self.tasks.several,
        )

    @property
    def _evaluating(self) -> list[int]:
        """The number of episodes at the evaluation that remote collectors are running, if any."""
        since = self._remote.evaluating_since if self._remote else {}
        return [since["episodes"]] if since else []

    def _score_remotely(self, wait: bool) -> None:
        """Scores the evaluation of remote collectors, if it is complete; see `pop_evaluation`."""
        if self._remote and (evaluation := self._remote.pop_evaluation(wait)):
            episodes, decision_ms, counters = evaluation
            self._score({self.tasks.name(0): episodes}, decision_ms, counters)

    def _score(
        self, found: dict[str, list[Episode]], decision_ms: float, counters: Counters
    ) -> None:
        """Reports and holds out the episodes of an evaluation, by task."""
        for episode in itertools.chain(*found.values()):
            self.heldout.add_episode(episode)
        self._evaluated.assign(counters["episodes"])
        scores = {name: returns(episodes) for name, episodes in found.items()}
        mean = sum(float(each.mean()) for each in scores.values()) / len(scores)
        is_best = self._checkpoints.evaluated(counters["episodes"], mean)
        self.report.evaluated(scores, decision_ms, counters, is_best)

    def _environment_failed(self, line: str) -> None:
        interrupts.check()  # a signal to the whole process group kills workers too
        self._failures.assign_add(1)
        self.report.line(line)
