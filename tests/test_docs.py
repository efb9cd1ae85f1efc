"""Docs that run: docstring examples and code blocks; links, the index, and the version.

Commands have tests of their own, tests/test_docs_commands.py.
"""

import doctest
import importlib
import re

import numpy as np
import pytest

import tfxp
from tests.docs_commands import PAGES, ROOT, blocks
from tests.docs_scope import given
from tests.slow_cases import sometimes

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "tfxp").rglob("*.py")
)


def _page_id(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(
        module,
        extraglobs={"tfxp": tfxp, "np": np},
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL,
    )
    assert failed == 0


def python_blocks(page):
    """The code of every Python block of a page."""
    text = page.read_text(encoding="utf-8")
    return [code for language, code in blocks(text) if language == "python"]


WITH_PYTHON = [page for page in PAGES if python_blocks(page)]
FIRST_PAGES = [page for page in WITH_PYTHON if page.stem in ("README", "start")]


@pytest.mark.parametrize("page", sometimes(WITH_PYTHON, FIRST_PAGES), ids=_page_id)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """Every block of a page runs, one after the other and in the same scope."""
    monkeypatch.chdir(tmp_path)
    scope = given(tmp_path)
    for code in python_blocks(page):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, scope, page.name, str(page), 0)
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            assert runner.run(test, clear_globs=False).failed == 0
            scope.update(test.globs)
        else:
            exec(compile(code, str(page), "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#|mailto:", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_prose_is_wrapped_at_100(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    long = [line for line in text.splitlines() if len(line) > 100]
    # tables, commands in indented blocks, and links that cannot be broken may be longer
    assert [line for line in long if not line.startswith(("|", "    "))] == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


def test_version_is_the_newest_entry_of_the_changelog():
    text = (ROOT / "docs/changelog.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, flags=re.M)[0] == tfxp.__version__


def test_readme_lists_every_folder():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = {f"`tfxp/{path.parent.name}/`" for path in (ROOT / "tfxp").glob("*/__init__.py")}
    assert {one for one in folders if one not in text} == set()
