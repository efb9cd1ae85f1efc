"""Flags, the common main, tables and the progress bar."""

import io
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings

import pytest
from absl import flags

from tfxp import cli
from tfxp.errors import DataError
from tfxp.progress import Progress, reporter, track


def _tool(main=lambda: None):
    tool = cli.ToolFlags("Does a thing.\n\nUsage: tool --model=x.h5")
    holders = {
        "model": tool.model(),
        "limit": tool.limit(),
        "scale": tool.input_scale(),
        "split": tool.split(),
        "show": tool.progress(),
    }
    return cli.entry_point(main, tool), holders


def _exit_code(run, *arguments):
    with pytest.raises(SystemExit) as caught:
        run(["/usr/bin/tool", *arguments])
    return caught.value.code


def test_flags_reach_the_tool_and_leave_no_trace():
    seen = []
    run, flags = _tool(lambda: seen.append({name: flag.value for name, flag in flags.items()}))
    arguments = ["--model=a", "--limit=5", "--input_scale=1/255", "--split=train", "--progress"]
    assert _exit_code(run, *arguments) == 0
    assert seen[-1] == dict(model="a", limit=5, scale=1 / 255, split="train", show=True)
    assert _exit_code(run, "--model=b") == 0
    assert seen[-1] == dict(model="b", limit=None, scale=1.0, split=None, show=None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "model"),
        (["--model=x", "--limt=3"], "limt"),
        (["--model=x", "--limit=0"], "limit"),
        (["--model=x", "--limit=three"], "three"),
        (["--model=x", "--input_scale=1/0"], "1/0"),
        (["--model=x", "--input_scale=nan"], "nan"),
        (["--model=x", "--split=both"], "both"),
        (["--model=x", "stray"], "stray"),
    ],
)
def test_wrong_flags_are_one_line(capsys, arguments, said):
    run, _ = _tool()
    assert _exit_code(run, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err and err.startswith("tool: ")


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help(capsys, flag):
    run, _ = _tool()
    assert _exit_code(run, flag) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("Does a thing.", "--model", "--limit", "train|test", "(default: 1)"):
        assert part in out
    assert out.startswith("usage: tool --model=… [--flag=value …]\n")
    places = [out.index(f"\n{head}:") for head in ("What it reads", "How it runs")]
    assert places == sorted(places) and out.index("--model") < places[1] < out.index("quiet")


def test_examples_of_a_help_text_can_be_pasted():
    doc = "Does.\n\n    tools/do_it.py --model=net.h5 \\\n        --output=" + 9 * "long" + " \\\n"
    doc += "        --data=" + 9 * "data" + "\n\nMore words."
    text = cli.ToolFlags(doc).help_text("tfxp do")
    lines = text[text.index("    tfxp do") : text.index("More words")].splitlines()
    assert len(lines) == 3 and lines[0].endswith(" \\") and max(map(len, lines)) <= 96
    joined = " ".join(" ".join(line.rstrip("\\").split()) for line in lines)
    assert shlex.split(joined) == [
        "tfxp", "do", "--model=net.h5", f"--output={9 * 'long'}", f"--data={9 * 'data'}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("x of y:\n got 1;  expected 2"), 1, "tool: x of y: got 1; expected 2.\n"),
        (FileNotFoundError(2, "No such file", "a.h5"), 1, "tool: a.h5: No such file.\n"),
        (KeyboardInterrupt(), 130, "tool: interrupted.\n"),
        (MemoryError(), 1, "tool: out of memory. Use --limit or a smaller --batch_size.\n"),
    ],
)
def test_errors_are_one_sentence(capsys, error, code, line):
    def fail():
        raise error

    run, _ = _tool(fail)
    assert _exit_code(run, "--model=x") == code
    assert capsys.readouterr() == ("", line)


def test_mistakes_of_ours_keep_their_traceback():
    def fail():
        raise AssertionError("a bug")

    run, _ = _tool(fail)
    with pytest.raises(AssertionError):
        run(["tool", "--model=x"])


def test_exit_code_of_main_is_passed_on():
    run, _ = _tool(lambda: 1)
    assert _exit_code(run, "--model=x") == 1


def test_termination_removes_temporary_files(tmp_path):
    script = f"""
import time
import warnings
from tfxp import cli, files
def main():
    with files.atomic_path({str(tmp_path / "out.txt")!r}) as path:
        path.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
cli.entry_point(main, cli.ToolFlags(""))()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    process.stdout.close()
    assert os.listdir(tmp_path) == []


def test_table_of_nothing_and_of_mixed_cells():
    assert cli.format_table(["a", "b"], []) == "a  b"
    table = cli.format_table(["name", "share", "n"], [["x", 0.25, 10], ["long name", None, 2000]])
    assert table.splitlines() == [
        "name       share      n",
        "x           0.25     10",
        "long name      -  2,000",
    ]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_silent_without_a_terminal():
    stream = io.StringIO()
    with Progress(5, "work", stream=stream) as progress:
        progress.step(5)
    assert stream.getvalue() == ""


def test_progress_without_a_terminal_prints_a_line_every_ten_seconds(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(100, "work", stream=stream) as progress:
        for _ in range(100):
            now[0] += 0.25
            progress.step()
    assert stream.getvalue().splitlines() == [
        "work: 40/100 steps, 4/s, 15.0 s left",
        "work: 80/100 steps, 4/s, 5.0 s left",
    ]


def test_a_slow_first_step_says_nothing_of_the_others(monkeypatch):
    """The first step compiles for 50 s, the others take half a second each."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress(200, "work", show=False) as progress:
        now[0] = 50.0
        progress.step()
        assert progress.line() == "work: 1/200 steps, 50.0 s so far"
        now[0] = 60.0
        progress.step(20)
        assert progress.line() == "work: 21/200 steps, 2/s, 1 min 29 s left"


def test_quiet_and_verbose(capsys):
    def work():
        print("a figure")
        with Progress(10, "work") as progress:
            progress.step(10)

    run, _ = _tool(work)
    assert _exit_code(run, "--model=x", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert _exit_code(run, "--model=x", "--verbose") == 0
    out, err = capsys.readouterr()
    assert out == "a figure\n" and "work: 10/10 steps" in err and "MiB" in err
    assert _exit_code(run, "--model=x") == 0
    assert capsys.readouterr() == ("a figure\n", "")


def test_an_interrupted_run_says_how_to_go_on(capsys):
    def stop():
        raise KeyboardInterrupt

    tool = cli.ToolFlags("Does a thing.")
    tool.model()
    tool.resumable()
    with pytest.raises(SystemExit) as caught:
        cli.entry_point(stop, tool)(["tfxp thing", "--model=a b"])
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith("To go on: tfxp thing '--model=a b'\n")


def test_progress_on_a_terminal_ends_its_line():
    stream = _Terminal()
    with Progress(4, "work", "image", stream=stream) as progress:
        progress.step(2, "best 0.9")
        assert "2/4 images" in progress.line() and "so far" in progress.line()
        progress.step()
        assert "3/4 images" in progress.line() and "left" in progress.line()
        progress.step()
    text = stream.getvalue()
    assert text.endswith("\n") and "4/4 images" in text and "best 0.9" in text
    assert text.count("\n") == 1


def test_progress_asked_for_prints_tenths():
    stream = io.StringIO()
    with Progress(1000, "work", show=True, stream=stream) as progress:
        for _ in range(1000):
            progress.step()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10 and lines[-1].startswith("work: 1000/1000 steps")


def test_progress_as_a_callback_learns_the_total():
    stream = _Terminal()
    with Progress(None, "work", "image", stream=stream) as progress:
        progress.reach(3)
        assert "work: 3 images" in progress.line()
        reporter(progress.reach)(8, 10, "loss 0.5")
        assert "work: 8/10 images" in progress.line() and progress.line().endswith("left  loss 0.5")
    assert stream.getvalue().endswith("\n")


def test_reports_of_two_arguments_get_no_note():
    seen = []
    reporter(lambda done, total: seen.append((done, total)))(1, None, "a note")
    reporter(lambda *given: seen.append(given))(2, 3)
    reporter(None)(3, 3, "to nobody")
    assert seen == [(1, None), (2, 3)]


@pytest.mark.parametrize("show", [True, False, None])
def test_progress_of_nothing(show):
    with Progress(0, "nothing", show=show, stream=_Terminal()) as progress:
        assert progress.line().startswith("nothing: 0/0")


def test_progress_draws_seldom():
    stream = _Terminal()
    started = time.monotonic()
    with Progress(20000, "work", stream=stream) as progress:
        for _ in range(20000):
            progress.step()
    allowed = 2 + (time.monotonic() - started) / 0.1
    assert stream.getvalue().count("\r") <= allowed


def test_track_passes_items_on():
    assert list(track((n * n for n in range(4)), "squares", show=False)) == [0, 1, 4, 9]
    assert list(track(iter("ab"), "letters", total=2, show=False)) == ["a", "b"]


def test_warnings_are_one_line(capsys):
    def main():
        warnings.warn("it did\nnot help.", UserWarning, stacklevel=1)

    with pytest.raises(SystemExit):
        cli.entry_point(main, cli.ToolFlags("Warns."))(["/usr/bin/tool"])
    assert capsys.readouterr().err == "tool: warning: it did not help.\n"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], "slow"),
        (["--repair"], "slow"),
        (["--repair=true"], "slow"),
        (["--repair=fast"], "fast"),
        (["--norepair"], "none"),
        (["--repair=false"], "none"),
        (["--repair=none"], "none"),
    ],
)
def test_a_step_is_done_in_one_of_several_ways_or_not(arguments, value):
    tool = cli.ToolFlags("Repairs.")
    flag = tool.choice_or_none("repair", "slow", ["slow", "fast"], "How.")
    tool.parse(["tool", *arguments])
    assert flag.value == value
    assert "--[no]repair=slow|fast (default: slow)" in tool.help_text()


def test_another_way_is_refused():
    tool = cli.ToolFlags("Repairs.")
    tool.choice_or_none("repair", "slow", ["slow", "fast"], "How.")
    with pytest.raises(flags.Error, match="slow"):
        tool.parse(["tool", "--repair=best"])
