"""Run the notebooks from top to bottom and save what they show.

    python notebooks/execute.py                            # all of them; Training.ipynb trains for some minutes
    python notebooks/execute.py Coordinates Observations
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
SILENT = "ignore:IProgress not found"            # tqdm misses ipywidgets, which nothing here uses


def executed(path: Path, *, quick: bool = False, timeout: int = 3600) -> nbformat.NotebookNode:
    """Return the notebook with fresh outputs, without marks of when and by which Python it was run.

    `quick` lets *Training* train for a minute only. An error in a cell is raised as nbclient's CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", record_timing=False,
                            coalesce_streams=True, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env={**os.environ, "PYTHONWARNINGS": SILENT, "NOTEBOOK_QUICK": "1" if quick else ""})
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def main() -> None:
    """Run the notebooks that the command line names, or all of them."""
    paths = [FOLDER / f"{name.removesuffix('.ipynb')}.ipynb" for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb"))
    for path in paths:
        print(path.name, flush=True)
        nbformat.write(executed(path), path)


if __name__ == "__main__":
    main()
