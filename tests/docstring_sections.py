"""What the sections of a docstring say, and what the code beside it does."""

import ast
import re

SECTIONS = ("Args", "Returns", "Yields", "Raises", "Example", "References", "Source")
# Errors whose names are those of tfxp.errors, and the built-in ones that callers meet.
_RAISED = re.compile(r"\w+(?:Error|Exception)$")
_PROGRAMMING = {"NotImplementedError", "AssertionError", "AttributeError", "KeyError", "IndexError"}


def sections(text):
    """Heading -> indented text below it."""
    names = "|".join(SECTIONS)
    return dict(re.findall(rf"^({names}):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))


def entries(section):
    """Names before the colons of a section: `x, y: both` are two."""
    listed = re.findall(r"^    (\S[\w, *.|]*):", section, re.M)
    return {name.strip(" *") for entry in listed for name in entry.split(",")}


def parameters(node):
    """Names of a function's parameters, of a class's `__init__`, or of a dataclass's fields."""
    if isinstance(node, ast.FunctionDef):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
        return [one.arg for one in every if one.arg not in ("self", "cls")]
    if any("dataclass" in ast.unparse(one) for one in node.decorator_list):
        return [
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and "ClassVar" not in ast.unparse(item.annotation)
            and not item.target.id.startswith("_")
        ]
    found = [one for one in node.body if getattr(one, "name", "") == "__init__"]
    return parameters(found[0]) if found else []


def raised(node, module, owner=None):
    """Names of the errors that a function raises, itself or in private helpers of the same file.

    Args:
        node: a function; of a class, what making an object runs.
        module: the file's tree.
        owner: the class of a method.
    """
    helpers = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
    if isinstance(node, ast.ClassDef):
        owner = node
        todo = [one for one in _methods(node) if one.name in ("__init__", "__post_init__")]
    else:
        todo = [node]
    helpers |= {f"self.{one.name}": one for one in (_methods(owner) if owner else [])}
    found, seen = set(), {one.name for one in todo}
    while todo:
        errors, called = _walk(todo.pop().body, frozenset())
        found |= errors
        new = [helpers[name] for name in called if name in helpers]
        new = [one for one in new if one.name.startswith("_") and one.name not in seen]
        seen |= {one.name for one in new}
        todo += new
    return found - _PROGRAMMING


def _methods(owner):
    return [one for one in owner.body if isinstance(one, ast.FunctionDef)]


def _walk(parts, caught):
    """(errors that leave these statements, functions that they call)."""
    errors, called = set(), set()
    for part in parts:
        if isinstance(part, ast.Try):
            inside = caught | _handled(part)
            results = [_walk(part.body, inside)]
            results += [_walk(one.body, caught) for one in part.handlers]
            results.append(_walk([*part.orelse, *part.finalbody], caught))
        else:
            if isinstance(part, ast.Raise) and part.exc is not None:
                errors |= _error_name(part.exc) - caught
            if isinstance(part, ast.Call) and not caught:
                called.add(ast.unparse(part.func))
            results = [_walk(list(ast.iter_child_nodes(part)), caught)]
        for more, functions in results:
            errors |= more
            called |= functions
    return errors, called


def _error_name(expression):
    called = expression.func if isinstance(expression, ast.Call) else expression
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return {name} if _RAISED.search(name) and name[0].isupper() else set()


def _handled(part):
    """Names of the errors that a try statement catches."""
    kinds = [one.type for one in part.handlers if one.type is not None]
    return frozenset(
        name.id for kind in kinds for name in ast.walk(kind) if isinstance(name, ast.Name)
    )
