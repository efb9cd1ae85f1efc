"""What users import from `tfxp`: it is there, documented, and resolved on first use only."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import tfxp


@pytest.mark.parametrize("name", tfxp.__all__)
def test_public_names_resolve_and_are_documented(name):
    value = getattr(tfxp, name)
    if callable(value):
        assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(tfxp)


def test_type_checkers_see_the_names_that_the_tables_resolve():
    """`if TYPE_CHECKING:` imports every public name from the module that the table names."""
    tree = ast.parse(Path(tfxp.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {**tfxp._PUBLIC, **tfxp._EXTENDING}
    # A module-level __getattr__ that returns Any would hide what these imports say.
    assert inspect.signature(tfxp.__getattr__).return_annotation == "object"


@pytest.mark.parametrize("name", sorted({**tfxp._PUBLIC, **tfxp._EXTENDING}))
def test_signatures_name_types(name):
    """Help shows every parameter with a type, and no public function takes or returns Any."""
    value = getattr(tfxp, name)
    if not inspect.isfunction(value):
        return
    signature = inspect.signature(value)
    parts = [*(p.annotation for p in signature.parameters.values()), signature.return_annotation]
    assert inspect.Signature.empty not in parts
    assert "Any" not in parts, signature


def test_unknown_name_gets_a_hint():
    with pytest.raises(AttributeError, match="Did you mean 'PrecisionMap'"):
        tfxp.PrecisionMaps  # noqa: B018


def test_import_resolves_nothing():
    command = "import sys, tfxp; print([m for m in sys.modules if m.startswith('tfxp')])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "['tfxp.version', 'tfxp']"


def test_folders_are_there_without_an_import_of_their_own():
    command = "import tfxp; print(tfxp.formats.FixedPointFormat.__name__)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "FixedPointFormat", done.stderr


FOLDERS = [module.name for module in pkgutil.iter_modules(tfxp.__path__, "tfxp.") if module.ispkg]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_say_what_they_offer(name):
    if name in ("tfxp.tools", "tfxp.configs"):
        pytest.skip("no library code")
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", []):
        value = getattr(module, public)
        alias = typing.get_origin(value) is not None  # a class for Python 3.10
        if not alias and (inspect.isclass(value) or inspect.isfunction(value)):
            assert inspect.getdoc(value), f"{name}.{public} has no docstring"
