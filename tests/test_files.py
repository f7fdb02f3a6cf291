"""Files are written whole or not at all, and what cannot be written is named."""

import errno

import pytest
import tensorflow as tf

from planet_tf import files


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with files.written_whole(path) as out:
        out.write(b"after")
        out.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(type(error)), files.written_whole(path) as out:
        out.write(b"after")
        raise error
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_with_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    (tmp_path / "file.tmp").symlink_to("/dev/full")
    with pytest.raises(files.StorageError) as caught, files.written_whole(path) as out:
        out.write(b"after")
    assert str(path) in str(caught.value) and "No space left on device" in str(caught.value)
    assert "the same command resumes" in str(caught.value)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_missing_directory_is_named(tmp_path):
    with (
        pytest.raises(files.StorageError, match="gone/file: No such file or directory"),
        files.written_whole(tmp_path / "gone" / "file"),
    ):
        pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system", "some file"),
        tf.errors.ResourceExhaustedError(None, None, "{{node x}} y; Read-only file system\nat"),
    ],
)
def test_errors_of_python_and_of_tensorflow_read_alike(error):
    with pytest.raises(files.StorageError) as caught, files.writing("runs/x"):
        raise error
    text = str(caught.value)
    assert text.startswith("cannot write runs/x: ") and "Read-only file system;" in text
    assert "{{" not in text
    assert "\n" not in text


def test_what_a_kill_left_is_removed(tmp_path):
    for name in ("000001-7.npz", "000002-7.npz.tmp", "other.tmp.txt"):
        (tmp_path / name).write_text("")
    files.remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"000001-7.npz", "other.tmp.txt"}
