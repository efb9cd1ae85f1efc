"""Silent work shows that it lives."""

import sys
import time

from tfxp.heartbeat import never_silent
from tfxp.progress import shown_by_default


def test_a_silent_job_says_so(capsys):
    with never_silent("counting", least=0.05):
        time.sleep(0.4)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and set(lines) == {"counting: 0 s so far"}


def test_who_prints_is_left_alone(capsys):
    with never_silent("counting", least=5.0):
        print("one")
        print("two", file=sys.stderr)
        assert not sys.stderr.isatty()
    found = capsys.readouterr()
    assert (found.out, found.err) == ("one\n", "two\n")


def test_a_line_that_is_begun_gets_dots(capsys):
    with never_silent("counting", least=0.05):
        sys.stderr.write("compiling ... ")
        time.sleep(0.3)
        sys.stderr.write("done\n")
    err = capsys.readouterr().err
    assert err.startswith("compiling ... .") and err.endswith(".done\n") and err.count("\n") == 1


def test_quiet_and_afterwards_nothing_is_said(capsys):
    before = sys.stdout, sys.stderr
    with shown_by_default(False), never_silent("counting", least=0.01):
        time.sleep(0.1)
    with never_silent("counting", least=5.0):
        pass
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().err == ""
