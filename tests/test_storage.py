"""Paths that users name; files that are written whole or not at all."""

import errno
import pathlib

import pytest
import tensorflow as tf

from planet_tf import agents, errors, storage, training

# Paths.


def test_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.expand("~/x") == storage.tensorflow_path("~/x") == tmp_path / "x"
    assert storage.expand("a/~") == pathlib.Path("a/~")


@pytest.mark.parametrize("name", ["x[12]", "x?", "x*", "a[lr=1]", "a\\b"])
def test_wildcard_in_a_directory_for_tensorflow_is_refused(tmp_path, name):
    with pytest.raises(errors.ConfigError) as error:
        storage.tensorflow_path(tmp_path / name)
    assert str(tmp_path / name) in error.value.message


@pytest.mark.parametrize(
    "act",
    [
        training.train,
        training.load,
        training.load_agent,
        training.load_policy,
        lambda path: agents.export_policy(None, path),
    ],
)
def test_wildcard_is_refused_before_anything_is_touched(tiny, tmp_path, act):
    (tmp_path / "x1").mkdir()  # what the pattern would match
    with pytest.raises(errors.ConfigError, match=r"x\[12\]"):
        act(tmp_path / "x[12]")
    assert [path.name for path in tmp_path.iterdir()] == ["x1"]


def test_other_odd_names_are_accepted(tmp_path):
    for name in ("my run", "a-b_c.1", "x]", "ü", "{a}", "%d"):
        assert storage.tensorflow_path(tmp_path / name) == tmp_path / name


def test_missing_parent_is_refused(tmp_path):
    storage.check_parent(tmp_path / "file")
    with pytest.raises(errors.ConfigError, match="no/file"):
        storage.check_parent(tmp_path / "no" / "file")


# Files.


def test_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with storage.atomic_file(path) as out:
        out.write(b"after")
        out.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    storage.write_text(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_error_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(type(error)), storage.atomic_file(path) as out:
        out.write(b"after")
        raise error
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_full_disk_is_named_with_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    (tmp_path / "file.tmp").symlink_to("/dev/full")
    with pytest.raises(errors.StorageError) as error, storage.atomic_file(path) as out:
        out.write(b"after")
    assert str(path) in error.value.message and "No space left on device" in error.value.message
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_missing_directory_is_named(tmp_path):
    with pytest.raises(errors.StorageError, match="gone/file: No such file or directory"):
        storage.write_text(tmp_path / "gone" / "file", "")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system", "some file"),
        tf.errors.ResourceExhaustedError(None, None, "{{node x}} y; Read-only file system\nat"),
    ],
)
def test_errors_of_python_and_tensorflow_read_alike(error):
    with pytest.raises(errors.StorageError) as caught, storage.writing("runs/x"):
        raise error
    message = caught.value.message
    assert "runs/x: " in message and "Read-only file system;" in message
    assert "{{" not in message and "\n" not in message
    assert caught.value.__cause__ is error
    assert caught.value.hint.endswith("then run the same command again")


def test_other_errors_pass():
    with pytest.raises(ValueError, match="mine"), storage.writing("runs/x"):
        raise ValueError("mine")


def test_unfinished_files_are_removed(tmp_path):
    for name in ("000001-7.npz", "000002-7.npz.tmp", "other.tmp.txt"):
        (tmp_path / name).write_text("")
    storage.remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"000001-7.npz", "other.tmp.txt"}
