"""An editable install, where a folder called tfxp in the working directory is not the package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_editable(sys.argv[1]))
"""
LOOK = """
import os, site, sys
# without the install that runs these tests
sys.path = [p for p in sys.path if not os.path.exists(os.path.join(p, "tfxp", "version.py"))]
site.addsitedir(sys.argv[1])
sys.path.insert(0, "")  # as an interactive Python has it
import tfxp, tfxp.tools.view_tflite
print(tfxp.__file__, tfxp.tools.view_tflite.__file__, tfxp.FixedPointFormat(2, 5))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy called tfxp, as a clone is, and what `pip install --editable` unpacks."""
    parent = tmp_path_factory.mktemp("parent")
    copy, site = parent / "tfxp", parent / "site"
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in ("tfxp", "tools", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-c", BUILD, str(parent)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(parent / done.stdout.split()[-1]) as wheel:
        wheel.extractall(site)
    return copy, site


@pytest.mark.parametrize("where", ["parent", "checkout", "elsewhere"])
def test_the_package_is_found_from_every_folder(checkout, tmp_path, where):
    copy, site = checkout
    folder = {"parent": copy.parent, "checkout": copy, "elsewhere": tmp_path}[where]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", LOOK, str(site)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package, tool, text = done.stdout.split()
    assert Path(package).samefile(copy / "tfxp/__init__.py") and text == "Q2.5"
    assert Path(tool).samefile(copy / "tools/view_tflite.py")
