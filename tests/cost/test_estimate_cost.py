"""The tool: every kind of model, every output."""

import csv
import json

import pytest

from tfxp.models import count_network
from tools import estimate_cost


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        estimate_cost.run(["estimate_cost", *map(str, arguments)])
    return caught.value.code


def test_a_paper_s_network_with_everything(tmp_path, capsys):
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "png")}
    code = run(
        "--model=sakr_convnet", "--precision=w4a6", "--batch_size=16", "--training", "--legend",
        "--energy=horowitz_2014_45nm.json", f"--json={files['json']}", f"--csv={files['csv']}",
        f"--plot={files['png']}",
    )  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 0 and err == ""
    assert "Horowitz" not in err and "terngrad" in out and "Judd" in out
    data = json.loads(files["json"].read_text())
    assert data["totals"]["macs"] == count_network("sakr_convnet").macs
    assert data["training"]["float"]["totals"]["C_C"] == 32 * 1542848
    assert data["settings"]["energy_table"]["page"].startswith("pp. 10-14")
    rows = list(csv.reader(files["csv"].read_text().splitlines()))
    assert rows[-1][0] == "total" and len(rows) == len(data["layers"]) + 2
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_zeros_skipped_by_the_published_formats(tmp_path, capsys):
    """VGG16 in 16 bits, map and values: half of the values zero are 9 of 16 bits moved."""
    maps = ("vgg16_imagenet_adaption_w16a16.json", "vgg16_imagenet_adaption_train_w16a16.json")
    totals = []
    for precision in maps:
        assert run("--model=vgg16", f"--precision={precision}", "--zeros=0.5",
                   f"--json={tmp_path / 'out.json'}") == 0  # fmt: skip
        rows = {r["name"]: r for r in json.loads((tmp_path / "out.json").read_text())["zero_skip"]}
        first, total = rows["block1_conv1"], rows.pop("all")
        assert first["macs_executed"] == first["macs"]  # an image has no zeros
        assert total["macs"] == count_network("vgg16").macs == sum(r["macs"] for r in rows.values())
        assert total["macs_executed"] == (total["macs"] + first["macs"]) / 2
        for name, row in rows.items():
            if name != "block1_conv1":
                assert row["compressed_bits"] / row["input_bits"] == 9 / 16
        totals.append(total)
    assert totals[0] == totals[1]  # the same words, split otherwise
    assert run("--model=vgg16", "--precision=w16a16", "--zeros=block1_conv2:0.5",
               f"--json={tmp_path / 'out.json'}") == 0  # fmt: skip
    found = json.loads((tmp_path / "out.json").read_text())["zero_skip"]
    assert [r["name"] for r in found if r.get("zeros")] == ["block2_conv1"]  # through the pool
    assert "executed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("zeros", "words"),
    [("fc3:0.5", "got 'fc3'; expected layers"), ("many", "shares from 0 to 1"), ("1.5", "0 to 1")],
)
def test_impossible_zeros(zeros, words, capsys):
    assert run("--model=vgg16", "--precision=w8a8", f"--zeros={zeros}") == 1
    assert words in capsys.readouterr().err


def test_statistics_and_measured_zeros(tmp_path, capsys):
    stats = count_network("sakr_convnet")
    stats.save(tmp_path / "stats.json")
    layers = [
        {"name": x.name, "macs_total": 2 * x.macs, "macs_executed": x.macs}
        for x in stats.layers.values()
        if x.macs
    ]
    (tmp_path / "run.json").write_text(json.dumps({"samples": 2, "layers": layers}))
    energies = []
    for extra in ([], [f"--executed={tmp_path / 'run.json'}"]):
        out = tmp_path / "out.json"
        arguments = [f"--model={tmp_path / 'stats.json'}", "--energy=horowitz_2014_45nm.json"]
        assert run(*arguments, f"--json={out}", *extra) == 0
        energies.append(json.loads(out.read_text())["totals"]["arithmetic_pj"])
    assert energies[1] == pytest.approx(energies[0] / 2)


def test_a_file_is_priced_as_it_is(shared, tmp_path, capsys):
    path = shared / (
        "models/mlcommons+tiny/benchmark/training/image_classification/trained_models/"
        "pretrainedResnet_quant.tflite"
    )
    assert run(f"--model={path}") == 0
    assert "12,501,632" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=absent.tflite"], "absent.tflite"),
        (["--model=sakr_convnet", "--precision=w0a8"], "got 0"),
        (["--model=sakr_convnet", "--energy=absent.json"], "absent.json"),
        (["--model=sakr_convnet", "--executed=absent.json"], "absent.json"),
        (["--model=sakr_convnet", "--energy=horowitz_2014_45nm.json", "--weight_memory=tape"],
         "memory of weights: got 'tape'"),
    ],
)  # fmt: skip
def test_one_sentence_for_bad_input(arguments, message, capsys):
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1
