"""Rows of measurements: written one at a time, read back, other files refused."""

from typing import NamedTuple

import pytest

from planet_tf import errors
from planet_tf.analysis import rows


class Row(NamedTuple):
    name: str
    count: int
    score: float
    horizon: int | str


HEADER = "name,count,score,horizon\n"


def test_rows_are_read_back(tmp_path):
    path = tmp_path / "x.csv"
    assert rows.read(path, Row, "scores") == []
    written = [Row("a, b", 3, 0.12345, 12), Row("", 4, 2.0, "")]
    for row in written:
        rows.append(path, row)
    assert path.read_text() == HEADER + '"a, b",3,0.123,12\n,4,2.0,\n'
    assert rows.read(path, Row, "scores") == [Row("a, b", 3, 0.123, "12"), Row("", 4, 2.0, "")]


@pytest.mark.parametrize(
    "text",
    [
        *("a,b", "a,b\n1,2\n", HEADER + "a,3,0.1\n", HEADER + "a,x,0.1,1\n"),
        *(HEADER + "a,3,0.1,1,2\n", HEADER + "\0\n"),
    ],
)
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"x\.csv holds no scores"):
        rows.read(tmp_path / "x.csv", Row, "scores")


@pytest.mark.parametrize("rest", ["", "na", HEADER[:-1], HEADER, HEADER + "a,3,0."])
def test_a_line_that_a_full_disk_cut_off_is_written_again(tmp_path, rest):
    path, row = tmp_path / "x.csv", Row("a", 3, 0.5, "12")
    path.write_text(rest)
    assert rows.read(path, Row, "scores") == []
    rows.append(path, row)
    assert path.read_text() == HEADER + "a,3,0.5,12\n" and rows.read(path, Row, "scores") == [row]


def test_values_that_must_not_be_mixed():
    found = [Row("a", 3, 0.5, 12)]
    rows.check_same("x.csv", found, name="a", count=3)
    rows.check_same("x.csv", [], name="b")
    with pytest.raises(errors.ConfigError, match="measurements of count 3, not 4"):
        rows.check_same("x.csv", found, name="a", count=4)
