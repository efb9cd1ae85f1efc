"""Notebooks of the tutorials: their code, run from top to bottom as a reader would."""

import contextlib
import io
import json


def run_notebook(path):
    """What every code cell printed, in order; all share one scope."""
    book = json.loads(path.read_text(encoding="utf-8"))
    scope, printed = {"__name__": "__main__"}, []
    for number, cell in enumerate(book["cells"]):
        if cell["cell_type"] == "code":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                code = compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec")
                exec(code, scope)
            printed.append(out.getvalue())
    return printed
