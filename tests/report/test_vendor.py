"""The libraries in pages are the released files, with their licences."""

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "tfxp/report/vendor"


def test_files_are_those_that_the_table_names():
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"\| `([\w.-]+\.js)` .*`(\w{64})` \|", table))
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.js")
    }
    assert files == named and len(files) == 2
    for name in files:
        licence = (FOLDER / name.replace(".min.js", ".LICENSE")).read_text(encoding="utf-8")
        assert "Copyright" in licence
