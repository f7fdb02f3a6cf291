"""Algorithm 1 of the paper, and nothing else."""

from planet_tf.training.settings import Settings


def learn(run, settings: Settings) -> None:
    """Collects seed episodes, then alternates updates of the model and collection by planning.

    Resumes where the run stopped. `run` is a `training.run.Run`, or an object with its methods and
    counters, such as `machine.estimates.DryRun`.
    """
    while (missing := settings.seed_episodes - run.episodes) > 0:
        run.collect_random(min(missing, settings.environments))
    while (missing := settings.heldout_episodes - run.heldout_episodes) > 0:
        run.hold_out_random(min(missing, settings.environments))

    if _evaluation_is_due(run, settings):  # the last process was stopped before it could
        run.evaluate(settings.evaluation_episodes)
        run.save()
    while (missing := settings.episodes - run.episodes) > 0:
        before, count = run.episodes, min(missing, settings.environments)
        run.fit(count * settings.updates_per_episode - run.updates_since_collection)
        if settings.random_collection:
            run.collect_random(count)
        else:
            run.collect(count)
        if _evaluation_is_due(run, settings):
            run.evaluate(settings.evaluation_episodes)
        run.save()
        if count < missing and _passed(settings.export_every, before, run.episodes):
            run.export()

    run.export()


def _evaluation_is_due(run, settings: Settings) -> bool:
    """Whether the run has passed a multiple of `evaluate_every`, or has ended, since the last."""
    ended = run.evaluated < run.episodes >= settings.episodes
    evaluated = max(run.evaluated, settings.seed_episodes)
    return ended or _passed(settings.evaluate_every, evaluated, run.episodes)


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return before // every < now // every
