"""Parameters say their types: `Any` stands for what really may be anything."""

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "tfxp"
FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def nodes(source):
    """All nodes of a piece of source, which several tests look at."""
    return list(ast.walk(ast.parse(source)))


def parameters(source):
    """The annotation, or None, of every parameter of a piece of source but `self` and `cls`."""
    for node in nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = node.args
            several = [part for part in (found.vararg, found.kwarg) if part]
            for arg in [*found.posonlyargs, *found.args, *found.kwonlyargs, *several]:
                if arg.arg not in ("self", "cls"):
                    yield arg.annotation and ast.unparse(arg.annotation)


def aliases(source):
    """Names that a piece of source gives to `Any`, so that they do not hide it."""
    for node in nodes(source):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if ast.unparse(node.value).removeprefix("typing.") == "Any":
                yield from (ast.unparse(target) for target in targets)


def share_of_any(sources):
    """The share of parameters that are `Any`, or `Any | None`."""
    hidden = {name for source in sources for name in aliases(source)}
    unknown = {"Any", "typing.Any", *hidden}
    found = [a for source in sources for a in parameters(source)]
    return sum(a is not None and a.removesuffix(" | None") in unknown for a in found) / len(found)


def test_the_counter_itself():
    source = (
        "T: TypeAlias = Any\nclass C:\n    def f(self, a: Any, *b: int, c: Any | None, d: T): ..."
    )
    assert share_of_any([source]) == 3 / 4
    assert list(parameters("async def f(x, /, **k: 'int'): ...")) == [None, "'int'"]


def test_every_parameter_is_annotated():
    bare = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if None in parameters(path.read_text(encoding="utf-8"))
    }
    assert bare == set()


def test_few_parameters_are_any():
    sources = [path.read_text(encoding="utf-8") for path in FILES]
    assert share_of_any(sources) < 0.03
