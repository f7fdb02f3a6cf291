"""How well models predict that were fitted to the same episodes: a CSV and a table."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

AHEAD = (1, 5, 10, 20)
"""Agent steps after the last observation at which predictions are measured."""


class Row(NamedTuple):
    """One fit.

    Attributes:
      run: path of the run whose episodes are fitted.
      task: the run's.
      episodes: of the run that were used, one of five held out.
      updates: optimizer steps.
      seed: decides weights, batches and latent states.
      flags: gin bindings that differ from the run's, separated by '; '; '' for none.
      updates_per_second: after the first ones.
      kl: KL(posterior || prior) per step of held-out chunks, in nats.
      reward_1, ...: share of the variance of the reward that is predicted so many steps ahead: 1 is
        perfect, 0 is what the mean reward gets.
      observation_1, ...: the same for the pixels, or for the components of a state.
    """

    run: str
    task: str
    episodes: int
    updates: int
    seed: int
    flags: str
    updates_per_second: float
    kl: float
    reward_1: float
    reward_5: float
    reward_10: float
    reward_20: float
    observation_1: float
    observation_5: float
    observation_10: float
    observation_20: float


MEASURED = Row._fields[Row._fields.index("updates_per_second") :]
"""The columns that are results; the others say what was fitted."""


def table(rows: Iterable[Row]) -> str:
    """Returns a Markdown table: the mean over seeds of each setting, in the order of the rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.flags, []).append(row)
    steps = " / ".join(map(str, AHEAD))
    lines = [
        f"| settings | seeds | updates/s | KL | reward, {steps} steps ahead | observation |",
        "|---|---|---|---|---|---|",
    ]
    for flags, group in groups.items():
        mean = {name: float(np.mean([getattr(row, name) for row in group])) for name in MEASURED}
        reward, observation = (
            " / ".join(f"{mean[f'{what}_{step}']:.2f}" for step in AHEAD)
            for what in ("reward", "observation")
        )
        settings = f"`{flags}`" if flags else "the run's"
        lines.append(
            f"| {settings} | {len(group)} | {mean['updates_per_second']:.1f} | {mean['kl']:.1f} | "
            f"{reward} | {observation} |"
        )
    return "\n".join(lines)
