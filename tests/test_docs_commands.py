"""Commands of README and docs: parsed by the tools' own flags, and run on stand-in data.

Three kinds. A command is **run** with the flags that the page gives, on small networks and few
samples (`tests/docs_files.py`); numbers that only make it longer are made smaller (`SMALLER`). A
command in `PARSED_ONLY` needs hours, other machines or a network: the tool's own parser reads it.
Commands of other programs are looked up: scripts, extras, tests, targets of make.
"""

import importlib
import json
import os
import re
from pathlib import Path

import absl.flags
import pytest

from tests.docs_commands import (
    PAGES,
    ROOT,
    Command,
    blocks,
    code_spans,
    commands,
    commands_of_lines,
    mentions,
)
from tests.docs_files import GIVEN, write_stand_in
from tests.forked import Forked
from tfxp.errors import ConfigError
from tfxp.files import find_config

TOOLS = sorted(p.stem for p in (ROOT / "tools").glob("*.py") if not p.stem.startswith("_"))
CONFIG_FOLDERS = {
    "precision": "precision", "config": "train", "grid": "train", "energy": "energy",
    "settings": "search",
}  # fmt: skip
FILES = re.compile(r"[^,:]+\.(json|npz|h5|keras|tflite|html)")
# Flags of programs that are not ours, in running text.
FOREIGN = {"--logdir", "--node_data_paths", "--slow", "--strict"}
# What makes a command longer and nothing else: flag -> the value that a test uses.
SMALLER = {
    "epochs": "1", "max_trials": "2", "rounds": "3", "images": "2", "trials": "1", "budget": "8",
    "gigabytes": "0.02", "held_out": "16", "limit_gib": "0", "word_lengths": "4,8",
    "precisions": "w4a4", "fine_tune_steps": "2",
}  # fmt: skip
PATIENCE = 600


def why_not_run(command):
    """Why a command is parsed only; None for one that is run."""
    text, variables = str(command), dict(command.variables)
    if command.tool == "bench_frontier":
        return "makes an environment from the package index for each peer"
    if "--model=vgg16.h5" in text:
        return "tests/models/test_vgg16_commands.py runs it"
    if command.tool == "assign_precision" and "--method=judd" in text:
        return "a descent of thousands of maps; tests/assign has short ones"
    if command.tool == "bench_metrics" or "_data=data.npz" in text:
        return "trains on the real data of its tasks, or reads the network that was trained there"
    if command.tool == "train_model" and "imagenet" in text:
        return "days of training; tests/training/test_recipe_streams.py has a small folder"
    if "--strategy=multi_worker" in text:
        return "waits for another machine; tests/devices has two workers"
    if "KERASTUNER_TUNER_ID" in variables:
        return "several processes; tests/search starts them"
    if command.tool == "doctor" and "--device" in text:
        return "wants a GPU; tests/cli/test_check_device.py has its parts"
    return None


def ours(page):
    """Commands of a page that run a tool of ours, in order."""
    found = commands(page.read_text(encoding="utf-8"))
    return [one for one in found if one.tool is not None]


def name_of(page):
    return str(page.relative_to(ROOT))


WITH_COMMANDS = [page for page in PAGES if ours(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_commands_parse_and_their_files_come_from_somewhere(page):
    written = set()
    for command in ours(page):
        flags = command.flags
        for name, path in files_read(flags):
            known = path in written or shipped(name, path) or stands_for_a_file(path, written)
            assert known, f"{command}: --{name}={path} is not shipped, and nothing wrote it"
        written |= set(files_written(flags))


def files_read(flags):
    """(flag, path) of the files that a parsed command reads."""
    outputs = {output.name for output in flags.outputs}
    for name in flags.values:
        value = flags.values[name].value
        if name not in outputs and isinstance(value, str) and FILES.fullmatch(value):
            yield name, value


def files_written(flags):
    """Paths of the files and folders that a parsed command writes."""
    values = [flags.values[output.name].value for output in flags.outputs]
    return [value for value in values if value]


def shipped(name, path):
    """Whether a settings file comes with tfxp."""
    try:
        find_config(path, CONFIG_FOLDERS.get(name, ""))
    except ConfigError:
        return False
    return True


def stands_for_a_file(path, written):
    """Whether the tests can make it, or a command has written the folder that it is in."""
    inside = any(str(parent) in written for parent in Path(path).parents)
    return inside or Path(path).suffix == ".npz" or Path(path).name in GIVEN


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tools_and_flags_in_running_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for tool, given in mentions(text):
        values = importlib.import_module(f"tools.{tool}")._FLAGS.values
        for flag in given:
            name, equals, _ = flag[2:].partition("=")
            assert name in values or name.removeprefix("no") in values, f"{tool} has no --{name}"
            if equals:
                values.unparse_flags()
                values([tool, flag])


def test_flags_in_running_text_belong_to_some_tool():
    known = set(FOREIGN)
    for tool in TOOLS:
        values = importlib.import_module(f"tools.{tool}")._FLAGS.values
        known |= {"--help", "--version", *(f"--{name}" for name in values)}
        known |= {f"--no{name}" for name in values if values[name].boolean}
    unknown = {
        (name_of(page), flag)
        for page in PAGES
        for span in code_spans(page.read_text(encoding="utf-8"))
        for flag in re.findall(r"(?<![\w-])--[a-z]\w*", span)
        if flag not in known
    }
    assert unknown == set()


# The same, run -------------------------------------------------------------------------------

FAST = [page for page in WITH_COMMANDS if page.name in ("README.md", "start.md")]
# docs/first_ten_minutes.md is run by its recorder, mistakes included: tests/test_recording.py.
SLOW = [page for page in WITH_COMMANDS if page not in FAST and page.name != "first_ten_minutes.md"]


@pytest.mark.parametrize("page", FAST, ids=name_of)
def test_commands_run(page, tmp_path):
    run_page(page, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=name_of)
def test_commands_run_slow(page, tmp_path):
    run_page(page, tmp_path)


def run_page(page, folder):
    """Every command of a page, in its order and in one folder, on stand-ins."""
    write_json_blocks(page, folder)
    todo = [one for one in ours(page) if why_not_run(one) is None]
    for number, command in enumerate(todo):
        flags = command.flags
        written = list(files_written(flags))
        give_what_it_reads(flags, folder)
        changed = [*command.arguments, *smaller(command, todo[number:])]
        place = folder / f"command{number}"
        run = Forked(run_there, (folder, command.tool, changed), place, **dict(command.variables))
        finds = command.tool in ("compare_models", "compare_runtimes")  # 1 says that runs differ
        run.finish(PATIENCE, (0, 1) if finds else (0,))
        lost = [path for path in written if not (folder / path).exists()]
        assert lost == [], f"{command} did not write them: {run.complaint()}"


def run_there(folder, tool, flags):
    """A tool in a folder."""
    os.chdir(folder)
    importlib.import_module(f"tools.{tool}").run([tool, *flags])


def write_json_blocks(page, folder):
    """Settings that a page shows or echoes, under the names that its commands call them by."""
    text = page.read_text(encoding="utf-8")
    for command in commands(text):
        if command.words[0] == "echo" and command.words[2] == ">":
            (folder / command.words[3]).write_text(command.words[1])
    for language, code in blocks(text):
        if language == "json" and code.startswith('{"schema"'):
            name = "pipeline.json" if "steps" in json.loads(code) else "steps.json"
            (folder / name).write_text(code)


def give_what_it_reads(flags, folder):
    """Stand-ins for the files that no command before this one has written."""
    model = flags.values["model"].value if "model" in flags.values else None
    named = {name: flags.values[name].value for name in flags.values}
    data = {name: named[name] for name, kind in flags._files if kind == "data" and named[name]}
    if model and FILES.fullmatch(model) and not (folder / model).exists():
        write_stand_in(folder / model)
    found = folder / model if model and FILES.fullmatch(model) else None
    for name, path in {**dict(files_read(flags)), **data}.items():
        if (name in data or not (folder / path).exists()) and not shipped(name, path):
            write_stand_in(folder / path, found)


def smaller(command, todo):
    """Flags that make a command quick, given after its own; flags that it lacks stay away."""
    known = command.flags.values
    changes = {name: value for name, value in SMALLER.items() if name in known}
    given = {name: value for name, value in changes.items() if known[name].present}
    if command.tool == "export_tflite" and known["tolerance"].present:
        given["tolerance"] = "255"  # what was trained for a moment differs by more
    if command.tool == "search_precision":
        given.pop("budget", None)  # bits there, samples elsewhere
    if command.tool == "bench_sparsity":
        given["bits"] = "8"
        if rows := known["rows"].value:
            given["rows"] = rows[-1]
    if command.tool == "train_model":
        given["epochs"] = SMALLER["epochs"]
        if grid := known["grid"].value:
            given["rows"] = row_of(grid, known["output"].value, todo)
    return [f"--{name}={value}" for name, value in given.items()]


def row_of(grid, folder, todo):
    """The training of a grid that a later command reads, or else its first one; a single seed."""
    settings = json.loads(find_config(grid, "train").read_text())
    trainings = [
        f"{row}_seed{seed}" for row in settings["rows"] for seed in settings.get("seeds", [0])
    ]
    later = re.findall(rf"{folder}/([\w.]+_seed\d+)", " ".join(map(str, todo)))
    return next((one for one in later if one in trainings), trainings[0])


# Other programs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page.read_text())], ids=name_of
)
def test_commands_of_other_programs_find_what_they_name(page):
    for command in commands(page.read_text(encoding="utf-8")):
        if command.tool is None:
            assert command.words[0] in OTHERS, f"{command}: unknown program"
            OTHERS[command.words[0]](command)


def _script(command):
    assert os.access(ROOT / command.words[0], os.X_OK), command


def _pip(command):
    assert command.words[1] in ("install", "wheel"), command
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for extra in re.findall(r"\[(\w+)\]", str(command)):
        assert f'"{extra}": [' in setup, command


def _python(command):
    if command.words[1] in ("-", "own.py"):  # what the page itself says
        return
    assert command.words[1] == "-m", command
    module, *rest = command.words[2:]
    if module != "pytest":
        assert importlib.util.find_spec(module), command
        return
    for path in (word for word in rest if word.startswith("tests")):
        assert (ROOT / path).exists(), command
    if "-k" in rest:
        names = (ROOT / rest[0]).read_text(encoding="utf-8")
        assert rest[rest.index("-k") + 1] in names, command


def _make(command):
    target = command.words[-1]
    assert re.search(rf"^{target}:", MAKEFILE, re.M), command


def _file(command):
    assert (ROOT / command.words[-1]).is_file(), command


def _shell(command):
    assert len(command.words) > 1 or command.words[0] in ("mypy", "wait"), command


MAKEFILE = (ROOT / "tfxp/csource/kernels/Makefile").read_text(encoding="utf-8")
OTHERS = {
    "tools/quickstart.sh": _script, "tools/check.sh": _script, "pip": _pip, "python": _python,
    "make": _make, "sbatch": _file, "kubectl": _file, "ruff": _shell, "mypy": _shell, ".": _shell,
    "cd": _shell, "cat": _shell, "cmp": _shell, "echo": _shell, "export": _shell, "kill": _shell,
    "sleep": _shell, "tfxp": _shell, "wait": _shell, "mkdocs": _shell,
}  # fmt: skip


def test_the_readers_themselves():
    text = "a\n```bash\ntools/run_tflite.py --model=a \\\n  --json=b  # why\n```\n"
    text += "`tfxp run\n--limit=3`\n"
    text += "```text\n[0:10] $ tfxp doctor\nfound\n```\n    tfxp-view \\\n        --model=c\n"
    found = commands(text)
    assert [one.tool for one in found] == ["run_tflite", "doctor", "view_tflite"]
    assert found[0].arguments == ["--model=a", "--json=b"] and found[2].arguments == ["--model=c"]
    assert mentions(text) == [("run_tflite", ["--limit=3"])]
    found = commands_of_lines(["a b & c 'd", "e' && f; wait"])
    assert [one.words for one in found] == [("a", "b"), ("c", "d\ne"), ("f",), ("wait",)]
    found = commands_of_lines(["export A=1", 'S="tools/doctor.py --device"', "ID=x $S --json=j &"])
    assert found[1] == Command(("tools/doctor.py", "--device", "--json=j"), (("ID", "x"),))


@pytest.mark.parametrize(
    "line",
    ["tfxp quantise --model=a", "tools/absent.py", "tfxp view --model=a --no_such=1",
     "tfxp view", "tfxp quantize --model=a --output=b --epochs=many", "tfxp view --model=a b"],
)  # fmt: skip
def test_wrong_commands_are_found(line):
    command = Command(tuple(line.split()))
    with pytest.raises((AssertionError, absl.flags.Error)):
        assert command.tool and command.flags
