"""`planet-tf fit`: fits each point once per seed, continues, and refuses mixed files."""

import pytest

from planet_tf.analysis import fits as tables, rows
from planet_tf.comparisons import fits

pytestmark = pytest.mark.usefixtures("agents_once")

NATS = "WorldModel.free_nats = 1"


@pytest.fixture
def fitted(monkeypatch):
    """Lets a fit take no time; returns the list of what was fitted: (flags, seed)."""
    calls = []

    def measure(root, files, point, updates, seed, progress):
        calls.append((point.flags, seed))
        progress(updates)
        shares = [0.5 + seed] * 8
        return tables.Row(
            str(root), "dot_goal", len(files), updates, seed, point.flags, 9.0, 3.0, *shares
        )

    monkeypatch.setattr(fits, "measure", measure)
    monkeypatch.setattr(fits, "episode_files", lambda root, count: [""] * (count or 6))
    return calls


def test_points_are_fitted_once_per_seed(command, toy_run, tmp_path, fitted):
    flags = [toy_run, f"--point={NATS}", "--updates=7", f"--out={tmp_path / 'x.csv'}"]
    status, out, err = command("fit", *flags)
    assert status == 0, err
    assert fitted == [("", 0), (NATS, 0)]
    status, out, err = command("fit", *flags, "--seeds=2")
    assert status == 0, err
    assert fitted[2:] == [("", 1), (NATS, 1)]
    found = rows.read(tmp_path / "x.csv", tables.Row, "fits")
    assert [(row.flags, row.seed, row.updates) for row in found] == [(*f, 7) for f in fitted]
    # The mean of the seeds' 0.5 and 1.5.
    one = " / ".join(["1.00"] * 4)
    assert f"| the run's | 2 | 9.0 | 3.0 | {one} | {one} |" in out
    assert f"| `{NATS}` | 2 |" in out
    # Fits of another length do not join them.
    status, _, err = command("fit", *flags[:-2], flags[-1], "--updates=8")
    assert status == 2 and "measurements of updates 7, not 8" in err
    status, _, err = command("fit", *flags, "--episodes=5")
    assert status == 2 and "measurements of episodes 6, not 5" in err
    assert len(fitted) == 4


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--point=;"], "--point"),
        (["RUN", f"--point={NATS}", "--point=train.episodes = 3"], "train.episodes"),
        (["RUN", "--point=WorldModel.free_nats = -1"], "WorldModel.free_nats"),
        (["RUN", "--point=Decoder.kernel_sizes = (5, 5)"], "Decoder.kernel_sizes"),
        (["RUN", "--updates=0"], "--updates"),
        (["RUN", "--out=no/x.csv"], "no"),
    ],
)
def test_wrong_input_is_named(command, toy_run, tmp_path, monkeypatch, fitted, flags, part):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("fit", *[str(toy_run) if f == "RUN" else f for f in flags])
    assert status == 2 and part in err and not out and not fitted
    assert not list(tmp_path.iterdir())
