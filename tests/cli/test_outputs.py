"""No tool writes over a file that it reads, however the path is spelt."""

import importlib
import os
import pkgutil

import pytest

import tools
from tfxp import cli
from tfxp.cli.outputs import OutputFlag, check_outputs
from tfxp.errors import ConfigError, OutputError
from tfxp.files import configs_folder


@pytest.fixture
def net(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "net.keras"
    path.write_bytes(b"a model")
    os.symlink(path, tmp_path / "link.keras")
    os.symlink(tmp_path, tmp_path / "deep" / "back")
    os.link(path, tmp_path / "hard.keras")
    return path


SPELLINGS = ["net.keras", "deep/../net.keras", "./net.keras", "link.keras", "hard.keras",
             "deep/back/net.keras"]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("both", [False, True])
def test_every_spelling_of_an_input_is_refused(net, spelling, both, monkeypatch):
    monkeypatch.chdir(net.parent)
    given, output = ("net.keras", spelling) if both else (spelling, str(net))
    values = {"model": given, "output": output}
    with pytest.raises(ConfigError, match="which is the file of --model; expected another one"):
        check_outputs([OutputFlag("output", (".keras",))], values)
    with pytest.raises(ConfigError, match="which is the file of --models"):
        check_outputs([OutputFlag("output")], {"models": ["x.h5", given], "output": output})


def test_other_kinds_of_inputs(net):
    saved = net.parent / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"")
    shipped = next(iter((configs_folder() / "train").glob("*.json")))
    cases = [
        ({"model": str(saved), "output": str(saved / "keras_metadata.pb")}, "--model"),
        ({"model": str(saved), "output": str(saved)}, "--model"),
        ({"config": shipped.name, "output": str(shipped)}, "--config"),
        ({"json": "a.json", "output": "./a.json"}, "--json"),
    ]
    flags = [OutputFlag("json"), OutputFlag("output", (), True)]
    for values, name in cases:
        with pytest.raises(ConfigError, match=f"the file of {name}"):
            check_outputs(flags, values)
    check_outputs(flags, {"model": str(net), "output": str(net.parent / "new"), "json": None})
    check_outputs([OutputFlag("json", (".json",))], {"data": "/dev/null", "json": "/dev/null"})


def test_endings_and_folders(net):
    with pytest.raises(ConfigError, match=r"--output: got .*; expected a name in .keras or .h5"):
        check_outputs([OutputFlag("output", (".keras", ".h5"))], {"output": "net.tflite"})
    check_outputs([OutputFlag("output", (".h5",))], {"output": str(net.parent / "NET.H5")})
    with pytest.raises(OutputError, match="which is a file; expected a folder"):
        check_outputs([OutputFlag("output", (), True)], {"output": str(net)})
    with pytest.raises(OutputError):
        check_outputs([OutputFlag("output")], {"output": str(net.parent)})


TOOLS = [
    module.name
    for module in pkgutil.iter_modules(tools.__path__)
    if not module.ispkg and not module.name.startswith("bench")
]


@pytest.mark.parametrize("name", TOOLS)
def test_tools_check_before_any_work(name, net, capsys):
    """Every tool, with its model and each of its outputs at one path."""
    module = importlib.import_module(f"tools.{name}")
    flags = module._FLAGS
    reads = [n for n in ("model", "data", "config", "models", "precision") if n in flags.values]
    outputs = [flag for flag in flags._outputs if not flag.folder]
    if not reads or not outputs:
        pytest.skip("reads or writes no file")
    for output in outputs:
        path = net.with_suffix((output.suffixes or (".keras",))[0])
        path.write_bytes(b"precious")
        words = [f"--{reads[0]}={path}", f"--{output.name}={net.parent}/deep/../{path.name}"]
        wanted = {n: "x.json" for n in flags._required if n not in (reads[0], output.name)}
        words += [f"--{n}={v}" for n, v in wanted.items() if not any(f.name == n for f in outputs)]
        words += [
            f"--{f.name}={net.parent}/other{(f.suffixes or ('.x',))[0]}"
            for f in flags._outputs if f.name in wanted
        ]  # fmt: skip
        with pytest.raises(SystemExit) as caught:
            module.run([name, *words])
        said = capsys.readouterr().err
        assert caught.value.code == 1 and f"which is the file of --{reads[0]}" in said, said
        assert path.read_bytes() == b"precious"


def test_a_tool_declares_its_outputs():
    """What is written is declared as an output, so that it is checked."""
    flags = cli.ToolFlags("Does a thing.")
    flags.model()
    flags.output("A file.", ".json")
    flags.json()
    flags.plot("A picture")
    assert [flag.name for flag in flags._outputs] == ["output", "json", "plot"]
