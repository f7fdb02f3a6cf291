"""The notebook runs at debug size, and its stored outputs are from one whole execution."""

import re

import nbclient
import nbformat
import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "planet.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook, kind):
    return [o for cell in code_cells(notebook) for o in cell.outputs if o.output_type == kind]


def check_executed_in_order(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not outputs(notebook, "error")


def test_what_it_imports_exists(notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    imports = re.findall(r"(?m)^from planet_tf.*$", source)
    assert len(imports) > 5
    exec("\n".join(imports), {})


@pytest.mark.slow
def test_every_cell_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PLANET_TF_NOTEBOOK_SIZE", "debug")
    # The user's own Jupyter configuration is neither read nor written.
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    folder = tmp_path / "folder"
    folder.mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    check_executed_in_order(notebook)
    assert outputs(notebook, "display_data")
    assert not list(folder.iterdir())


def test_stored_outputs_are_whole_small_and_clean(notebook):
    nbformat.validate(notebook)
    check_executed_in_order(notebook)
    assert outputs(notebook, "display_data")
    assert NOTEBOOK.stat().st_size < 500_000
    streams = outputs(notebook, "stream")
    assert {stream.name for stream in streams} == {"stdout"}
    text = "".join(stream.text for stream in streams)
    assert not re.search(r"/(tmp|home|root|Users|var)/|WARNING|\d+%\|", text), text
    assert not any("execution" in cell.metadata for cell in code_cells(notebook))  # times of day
    share = re.search(r"PlaNet gets (\d+)% of the oracle's return", text)
    assert int(share[1]) >= 80  # debug.gin learns nothing
