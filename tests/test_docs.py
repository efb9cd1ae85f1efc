"""Docs that run: docstring examples, marked code blocks, commands, links, and the version."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import tfxp
from tests.docs_scope import given

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "configs/README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


def blocks(text):
    """(language, code) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)


def python_blocks(page):
    """The code of every Python block of a page."""
    text = page.read_text(encoding="utf-8")
    return [code for language, code in blocks(text) if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=_page_id)
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


def commands(text):
    """(tool, flags) of every command line of ours in the code blocks of a page."""
    found = []
    for language, code in blocks(text):
        if language not in ("bash", "console", "sh"):
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.lstrip("$ "), comments=True) if line.strip() else []
            for at, word in enumerate(words):
                if match := re.fullmatch(r"tools/(\w+)\.py|(tfxp-\w+)", word):
                    flags = [w for w in words[at + 1 :] if w.startswith("--")]
                    found.append((match.group(1) or match.group(2), flags))
    return found


def _module_of(tool):
    if not tool.startswith("tfxp-"):
        return tool
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    return re.search(rf'"{tool}": "(\w+)"', text).group(1)


def test_commands_of_the_readme_run(tmp_path, monkeypatch, capsys):
    """One after the other, on the files that the README takes as given; not the two scripts."""
    monkeypatch.chdir(tmp_path)
    given(tmp_path)
    run = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [tool for tool, _ in run] == ["quantize_model", "export_tflite", "run_tflite"]
    for tool, flags in run:
        with pytest.raises(SystemExit) as done:
            importlib.import_module(f"tools.{tool}").run([tool, *flags])
        assert not done.value.code, capsys.readouterr().err
    assert Path("run.json").exists()


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_commands_exist_with_their_flags(page):
    for tool, flags in commands(page.read_text(encoding="utf-8")):
        module = importlib.import_module(f"tools.{_module_of(tool)}")
        known = set(module._FLAGS.values) | {"help"}
        for flag in flags:
            name = flag[2:].split("=")[0]
            assert name in known or name.removeprefix("no") in known, f"{tool} has no {flag}"


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


def test_the_readers_themselves():
    text = "a\n```python\nx = 1\n```\n"
    text += "```bash\ntools/run_tflite.py --model=a \\\n --json=b\n```"
    assert blocks(text)[0] == ("python", "x = 1\n")
    assert commands(text) == [("run_tflite", ["--model=a", "--json=b"])]
