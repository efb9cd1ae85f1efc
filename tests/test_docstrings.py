"""Every public object has its sections: a sentence that ends, and all of its arguments."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "tfxp"
# A function that hands its arguments on may leave their list to the one that it names.
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def exported(folder):
    """Name -> node of what a folder's `__all__` lists and one of its files defines."""
    init = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    listed = set()
    for node in init.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            listed = {item.value for item in ast.walk(node.value) if isinstance(item, ast.Constant)}
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in listed
            if named and not node.name.startswith("_"):
                found.setdefault(node.name, node)
    return found


def parameters(node):
    """Names of a function's parameters, or of a dataclass's fields."""
    if isinstance(node, ast.FunctionDef):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return [one.arg for one in every if one.arg not in ("self", "cls")]
    if not any("dataclass" in ast.unparse(one) for one in node.decorator_list):
        return []
    return [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation)
        and not item.target.id.startswith("_")
    ]  # fmt: skip


def complaints(node):
    """What a docstring lacks, in words."""
    text = ast.get_docstring(node) or ""
    if not text:
        return ["docstring"]
    lacks = []
    first = text.split("\n\n")[0].strip()
    if not re.search(r"[.:?]$", first):
        lacks.append("a first sentence that ends")
    names = parameters(node)
    args = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    if args is None and len(names) > 2:
        lacks.append("Args")
    if args is not None:
        listed = re.findall(r"^    ([\w, *]+):", args.group(1), re.M)
        known = {name.strip(" *") for entry in listed for name in entry.split(",")}
        lacks += [f"Args: {name}" for name in names if name not in known]
    return lacks


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_public_objects_have_their_sections(folder):
    wrong = {name: lacks for name, node in exported(folder).items() if (lacks := complaints(node))}
    assert wrong == {}


def test_the_check_sees_what_is_missing():
    node = ast.parse('def f(a, b, c):\n    """No end"""').body[0]
    assert complaints(node) == ["a first sentence that ends", "Args"]
    node = ast.parse('def f(a, b):\n    """Ends.\n\n    Args:\n        a: one.\n    """').body[0]
    assert complaints(node) == ["Args: b"]
