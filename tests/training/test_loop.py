"""Algorithm 1: the order of a run's acts, from its start and from wherever it was stopped."""

import itertools

import pytest

from planet_tf.training import Settings, loop

SMALL = Settings(
    task="any",
    seed_episodes=2,
    heldout_episodes=1,
    episodes=5,
    updates_per_episode=3,
    evaluate_every=2,
    evaluation_episodes=4,
    export_every=3,
)


class Stopped(Exception):
    pass


class Tape:
    """A run that records its acts; it stops before the act number `stop`, counted from 0."""

    def __init__(self, stop=None):
        self.acts, self.stop = [], stop
        self.episodes = self.heldout_episodes = self.evaluated = 0
        self.saved, self.updates_since_collection = None, 0

    def _record(self, *act):
        if len(self.acts) == self.stop:
            raise Stopped
        self.acts.append(" ".join(map(str, act)))

    def collect_random(self, count=1):
        self._record("random", count)
        self.episodes += count
        self.updates_since_collection = 0

    def hold_out_random(self, count=1):
        self._record("hold out", count)
        self.heldout_episodes += count

    def fit(self, updates):
        self._record("fit", updates)
        self.updates_since_collection += updates

    def collect(self, count=1):
        self._record("collect", count)
        self.episodes += count
        self.updates_since_collection = 0

    def evaluate(self, episodes):
        self._record("evaluate", episodes)
        self.heldout_episodes += episodes
        self.evaluated = self.episodes

    def save(self):
        self._record("save")
        self.saved = self.episodes, self.evaluated

    def export(self):
        self._record("export")

    def resumed(self):
        """Returns the run after a kill: episodes are on disk, `evaluated` is in the checkpoint."""
        run = Tape()
        run.episodes, run.heldout_episodes = self.episodes, self.heldout_episodes
        run.saved, run.evaluated = self.saved, self.saved[1] if self.saved else 0
        return run


def tape(settings, **state):
    run = Tape()
    vars(run).update(state)
    loop.learn(run, settings)
    return run.acts


def changed(**settings):
    return Settings(**{**vars(SMALL), **settings})


EPISODE = ["fit 3", "collect 1"]
WHOLE = [
    *["random 1", "random 1", "hold out 1"],
    *[*EPISODE, "save", "export"],  # 3
    *[*EPISODE, "evaluate 4", "save"],  # 4
    *[*EPISODE, "evaluate 4", "save"],  # 5, the last
    "export",
]


def test_a_run_follows_algorithm_1():
    assert tape(SMALL) == WHOLE


def test_several_environments_collect_together():
    assert tape(changed(environments=2, episodes=7, heldout_episodes=3)) == [
        *["random 2", "hold out 2", "hold out 1"],
        *["fit 6", "collect 2", "evaluate 4", "save", "export"],  # 4
        *["fit 6", "collect 2", "evaluate 4", "save", "export"],  # 6
        *["fit 3", "collect 1", "evaluate 4", "save"],  # 7
        "export",
    ]


def test_random_collection_never_acts_by_the_policy():
    expected = [act.replace("collect", "random") for act in WHOLE]
    assert tape(changed(random_collection=True)) == expected


@pytest.mark.parametrize("every", [1, 99])
def test_the_last_episode_is_always_evaluated(every):
    acts = tape(changed(evaluate_every=every))
    assert acts.count("evaluate 4") == (3 if every == 1 else 1)
    assert acts[-3:] == ["evaluate 4", "save", "export"]


def test_a_complete_run_is_exported_again():
    assert tape(SMALL, episodes=5, heldout_episodes=9, evaluated=5) == ["export"]


def test_a_fit_that_was_stopped_is_completed():
    acts = tape(SMALL, episodes=2, heldout_episodes=1, updates_since_collection=2)
    assert acts[:4] == ["fit 1", "collect 1", "save", "export"]


def test_a_run_may_be_continued_beyond_its_end():
    acts = tape(changed(episodes=6), episodes=5, heldout_episodes=9, evaluated=5)
    assert acts == [*EPISODE, "evaluate 4", "save", "export"]


def test_an_evaluation_that_a_kill_prevented_is_made_up_for():
    killed = Tape(stop=WHOLE.index("evaluate 4", 10))
    with pytest.raises(Stopped):
        loop.learn(killed, SMALL)
    run = killed.resumed()
    assert (run.episodes, run.evaluated) == (5, 4)
    loop.learn(run, SMALL)
    assert run.acts == ["evaluate 4", "save", "export"]


@pytest.mark.parametrize("settings", [SMALL, changed(environments=3, episodes=8)], ids=["1", "3"])
def test_a_run_resumes_from_any_act(settings):
    whole = Tape()
    loop.learn(whole, settings)
    for stop in range(len(whole.acts)):
        killed = Tape(stop)
        with pytest.raises(Stopped):
            loop.learn(killed, settings)
        run = killed.resumed()
        loop.learn(run, settings)
        assert run.episodes == run.evaluated == settings.episodes, stop
        assert run.saved == (run.episodes, run.episodes) and run.acts[-1] == "export"
        # Nothing is collected twice, and every collection of the policy follows its updates.
        collected = [act for act in killed.acts + run.acts if act.startswith(("random", "collect"))]
        assert sum(int(act.split()[1]) for act in collected) == settings.episodes
        for before, act in itertools.pairwise(run.acts):
            if act.startswith("collect"):
                count = int(act.split()[1])
                assert before == f"fit {count * settings.updates_per_episode}"


def test_resuming_repeats_only_the_episodes_that_are_missing():
    stops = {2: WHOLE[2:], 4: WHOLE[3:], 7: WHOLE[7:], 9: WHOLE[9:]}
    for stop, rest in stops.items():
        killed = Tape(stop)
        with pytest.raises(Stopped):
            loop.learn(killed, SMALL)
        run = killed.resumed()
        loop.learn(run, SMALL)
        assert run.acts == rest
