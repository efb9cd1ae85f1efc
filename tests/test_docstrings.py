"""Every public object has its sections: a sentence that ends, Args, Raises, an Example.

A function or class lists all of its parameters and no others. It lists the errors that it raises
itself or in private helpers of its file; so does every public method. The names that `tfxp` itself
offers have an example, which tests/test_docs.py runs. What implements something published says
where it was published, and what computes a quantity has its equation (tests/published.py).
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

import tfxp
from tests.docstring_sections import entries, parameters, raised, sections
from tests.published import PUBLISHED, decided, sources_lacking

PACKAGE = Path(__file__).resolve().parent.parent / "tfxp"
PUBLIC = {name for name in tfxp.__all__ if not name.startswith("_")}
HANDED_ON = {"kwargs", "_"}  # of layers of Keras, and what is not looked at
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def exported(folder):
    """Name -> (node, its file) of what a folder's `__all__` lists and a file of it defines."""
    parts = folder.relative_to(PACKAGE.parent).parts
    listed = set(getattr(importlib.import_module(".".join(parts)), "__all__", ()))
    found = {}
    for path in sorted(folder.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in module.body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in listed
            if named and not node.name.startswith("_"):
                found.setdefault(node.name, (node, module))
    return found


def complaints(node, module, owner=None):
    """What a docstring lacks, in words.

    Args:
        node: a function, class or method.
        module: the tree of its file.
        owner: the class of a method.
    """
    text = ast.get_docstring(node) or ""
    if not text:
        return ["docstring"]
    lacks, found = [], sections(text)
    if not re.search(r"[.:?]$", text.split("\n\n")[0].strip()):
        lacks.append("a first sentence that ends")
    names = parameters(node)
    # Methods may be said in a sentence: what they take is what their class is about.
    if names and owner is None and "Args" not in found:
        lacks.append("Args")
    if "Args" in found:
        listed = entries(found["Args"])
        lacks += [f"Args: {name}" for name in names if name not in listed | HANDED_ON]
        if not _inherits(node):
            lacks += [f"Args: {name}, which is none" for name in sorted(listed - set(names))]
    told = entries(found.get("Raises", ""))
    if owner is not None:  # or once for all of its methods
        told |= entries(sections(ast.get_docstring(owner) or "").get("Raises", ""))
    missing = raised(node, module, owner) - told
    lacks += [f"Raises: {name}" for name in sorted(missing)]
    if node.name in PUBLIC and owner is None and "Example" not in found:
        lacks.append("Example")
    return lacks


def _inherits(node):
    """Whether what makes an object may be another class's."""
    return isinstance(node, ast.ClassDef) and bool(node.bases)


def public_methods(node):
    """Methods and properties of a class that are not private."""
    if not isinstance(node, ast.ClassDef):
        return []
    functions = [one for one in node.body if isinstance(one, ast.FunctionDef)]
    return [one for one in functions if not one.name.startswith("_")]


@pytest.mark.parametrize("folder", [PACKAGE, *FOLDERS], ids=lambda path: path.name)
def test_public_objects_have_their_sections(folder):
    wrong = {}
    for name, (node, module) in exported(folder).items():
        wrong[name] = complaints(node, module)
        for method in public_methods(node):
            wrong[f"{name}.{method.name}"] = complaints(method, module, node)
    assert {name: lacks for name, lacks in wrong.items() if lacks} == {}


def test_public_names_are_all_looked_at():
    assert set(exported(PACKAGE)) >= PUBLIC


@pytest.mark.parametrize("folder", PUBLISHED)
def test_published_methods_name_their_sources(folder):
    found, table = exported(PACKAGE / folder), decided(folder)
    assert found.keys() == table.keys(), "decide in tests/published.py"
    wrong = {name: sources_lacking(*found[name], *table[name]) for name in found}
    assert {name: lacks for name, lacks in wrong.items() if lacks} == {}


def test_missing_sources_are_seen():
    def lacks(docstring, author, computes):
        module = ast.parse(f'def f():\n    """{docstring}"""\n')
        return sources_lacking(module.body[0], module, author, computes)

    assert lacks("Ends.", "Lin", True) == ["References: Lin", "References: year", "an equation"]
    source = "\n\n    References:\n        Lin et al., 2016.\n    "
    assert lacks(f"Ends.{source}", "Lin", False) == []
    assert lacks(f"Ends.{source}", "Li", False) == ["References: Li"]
    assert lacks(f"Ends.\n\n        y = a x{source}", "Lin", True) == []
    assert lacks("Ends.\n\n    Example:\n        >>> y = a * x\n    ", "", True) == ["an equation"]


def _complaints(source):
    module = ast.parse(source)
    return complaints(module.body[-1], module)


def test_the_check_sees_what_is_missing():
    assert _complaints('def f(a, b, c):\n    """No end"""') == [
        "a first sentence that ends",
        "Args",
    ]
    text = 'def f(a, b):\n    """Ends.\n\n    Args:\n        a, z: one.\n    """\n'
    assert _complaints(text) == ["Args: b", "Args: z, which is none"]
    helper = "def _check(a):\n    if a:\n        raise DataError(a)\n\n"
    text = helper + 'def f():\n    """Ends."""\n    _check(1)\n'
    assert _complaints(text) == ["Raises: DataError"]
    text = 'def f():\n    """Ends."""\n    try:\n        raise DataError\n'
    text += "    except DataError:\n        raise ConfigError from None\n"
    assert _complaints(text) == ["Raises: ConfigError"]
    text = 'def f(a):\n    """Ends.\n\n    Args:\n        a: one.\n\n    Raises:\n'
    text += '        DataError: always.\n    """\n    raise DataError\n'
    assert _complaints(text) == []
    assert _complaints('def strip():\n    """Ends."""') == ["Example"]
