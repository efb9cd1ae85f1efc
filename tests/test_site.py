"""The site builds strictly from the pages, and the tutorials run from top to bottom."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebooks import run_notebook

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs/tutorials").glob("*.ipynb"))
has_mkdocs = all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings")))


@pytest.mark.slow
@pytest.mark.skipif(not has_mkdocs, reason='needs the site\'s packages: pip install ".[docs]"')
def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    reference = (tmp_path / "reference/index.html").read_text(encoding="utf-8")
    for name in ("quantize_model", "export_tflite", "FixedPointFormat", "calibrate_model"):
        assert name in reference, name
    for page in ("start", "comparison", "refused", "tutorials/wrpn", "first_ten_minutes"):
        assert (tmp_path / page / "index.html").exists(), page


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
    """Each prints something in every cell that its stored output has something for."""
    monkeypatch.chdir(tmp_path)
    printed = run_notebook(path)
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    stored = ["".join("".join(o["text"]) for o in cell["outputs"]) for cell in cells]
    assert [bool(text) for text in printed] == [bool(text) for text in stored]
    assert any(stored)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in [*(ROOT / "docs").glob("*.md"), *NOTEBOOKS]:
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in text, page.name
