"""Algorithm 1 of the paper, and nothing else."""

from planet_tf.training.settings import Settings


def learn(run, settings: Settings) -> None:
    """Collects seed episodes, then alternates updates of the model and collection by planning.

    Resumes where the run stopped. `run` is a `training.run.Run`, or an object with the same
    methods, such as `machine.estimates.DryRun`.
    """
    while (missing := settings.seed_episodes - run.episodes) > 0:
        run.collect_random(min(missing, settings.environments))
    while (missing := settings.heldout_episodes - run.heldout_episodes) > 0:
        run.hold_out_random(min(missing, settings.environments))

    while (missing := settings.episodes - run.episodes) > 0:
        before, count = run.episodes, min(missing, settings.environments)
        run.fit(count * settings.updates_per_episode - run.updates_since_collection)
        if settings.random_collection:
            run.collect_random(count)
        else:
            run.collect(count)
        evaluated = max(run.evaluated, settings.seed_episodes)
        if _passed(settings.evaluate_every, evaluated, run.episodes) or count == missing:
            run.evaluate(settings.evaluation_episodes)
        run.save()
        if count < missing and _passed(settings.export_every, before, run.episodes):
            run.export()

    if run.evaluated < run.episodes:  # the last process was killed before it could
        run.evaluate(settings.evaluation_episodes)
        run.save()
    run.export()


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return before // every < now // every
