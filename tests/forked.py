"""Processes that start with TensorFlow already imported, for tests that kill and start many.

A server that has imported tfxp and done nothing else forks them, so a start takes a tenth of a
second instead of six seconds of processor time. What an import itself does is for `subprocess`.
"""

import importlib
import multiprocessing
import os
import sys
import traceback

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tfxp.search", "tfxp.training"])


class Forked:
    """A function that runs in a process of its own.

    Args:
        function: one of a module that can be imported.
        arguments: its arguments.
        output: file without suffix; what the process says goes to `.out` and `.err`.
        environment: variables that it sees, beside those of the server.
    """

    def __init__(self, function, arguments, output, **environment):
        self.out, self.err = output.with_suffix(".out"), output.with_suffix(".err")
        arguments = (function, arguments, self.out, self.err, environment)
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def running(self):
        return self._process.is_alive()

    def kill(self):
        """SIGKILL, which leaves no time to tidy up."""
        self._process.kill()
        self._process.join()

    def finish(self, patience, codes=(0,)):
        """What the process printed and what it complained of, once it has ended by these codes."""
        self._process.join(patience)
        if self.running:
            self.kill()
        assert self._process.exitcode in codes, self.complaint()
        return self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8")

    def complaint(self):
        return self.err.read_text(encoding="utf-8")[-2000:] if self.err.exists() else "no output"


def _run(function, arguments, out, err, environment):
    for stream, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), stream)
    os.environ.update(environment)
    code = 0
    try:
        function(*arguments)
    except SystemExit as done:  # how a tool ends
        code = done.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_tool(name, *flags):
    """One of tools/ with its flags."""
    importlib.import_module(f"tools.{name}").run([name, *flags])
