"""What an index shows of the package: README without links that lead nowhere."""

import email
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "from setuptools import build_meta\nprint(build_meta.prepare_metadata_for_build_wheel('.'))"
ADDRESS = "https://example.org/tfxp"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """Address -> what `METADATA` says then, from a copy with the packages' first files only."""

    def build(address):
        copy = tmp_path_factory.mktemp("copy")
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tfxp/version.py"):
            (copy / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        for name in ("tools/frontier/programs", "configs"):
            (copy / name).mkdir(parents=True)
        text = (copy / "setup.py").read_text(encoding="utf-8")
        assert text.count('ADDRESS = ""') == 1
        text = text.replace('ADDRESS = ""', f'ADDRESS = "{address}"')
        (copy / "setup.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", BUILD]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        file = copy / done.stdout.split()[-1] / "METADATA"
        return email.message_from_string(file.read_text(encoding="utf-8"))

    return build


def links(message):
    """Targets of the links in the long description."""
    return re.findall(r"\]\(([^)\s]+)\)", message.get_payload())


def test_without_an_address_links_into_the_checkout_are_text(metadata):
    message = metadata("")
    assert message["Description-Content-Type"] == "text/markdown"
    assert all(link.startswith("https://arxiv.org/") for link in links(message))
    assert "(more)" not in message.get_payload()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## .*", readme, re.M)
    assert re.findall(r"^## .*", message.get_payload(), re.M) == headings
    assert not message.get_all("Project-URL")


def test_an_address_makes_every_link_absolute(metadata):
    message = metadata(ADDRESS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = [one for one in re.findall(r"\]\(([^)\s]+)\)", readme) if "//" not in one]
    expected = [f"{ADDRESS}/blob/main/{one}" for one in relative]
    assert [link for link in links(message) if link.startswith(ADDRESS)] == expected
    assert len(expected) > 10
    assert f"Source, {ADDRESS}" in message.get_all("Project-URL")


def test_extras_and_versions(metadata):
    message = metadata("")
    extras = {"docs", "hls4ml", "model-explorer", "qonnx", "test", "tfds", "tflm"}
    assert extras == set(message.get_all("Provides-Extra"))
    low, high = re.fullmatch(
        r">=3\.(\d+),<3\.(\d+)", message["Requires-Python"].replace(" ", "")
    ).groups()
    spoken = {f"Programming Language :: Python :: 3.{n}" for n in range(int(low), int(high))}
    assert spoken <= set(message.get_all("Classifier"))
