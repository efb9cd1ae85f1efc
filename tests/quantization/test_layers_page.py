"""The table of docs/layers.md against the tables of the code, row by row."""

import inspect
from pathlib import Path
from typing import get_type_hints

from tfxp.export import GraphBuilder
from tfxp.export.operators import WRITERS
from tfxp.export.operators.writers import no_operator
from tfxp.keras import layers
from tfxp.quantization.layer_table import LAYERS
from tfxp.transforms.layer_graph import Call, LayerSpec
from tfxp.transforms.normalize.compositions import _FUNCTIONS as COMPOSED
from tfxp.transforms.normalize.constant_layers import CONSTANT_LAYERS
from tfxp.transforms.normalize.single_functions import TABLE_NAMES
from tfxp.transforms.normalize.tensor_functions import _TABLE as FUNCTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"
# Functions of tensors among the layers.
OTHERS = (
    "SlicingOpLambda", "tf.matmul", "tf.pad", "tf.reduce_mean", "tf.math.l2_normalize", "tf.math",
    *TABLE_NAMES.values(),
    *CONSTANT_LAYERS,
    "StepMask",
)  # fmt: skip
# What documentation examples register stays registered; the page lists what tfxp ships.
SHIPPED = [name for name in LAYERS if hasattr(layers, name) or name in OTHERS]
# Classes whose writer goes by their function.
BY_FUNCTION = {
    "LeakyReLU": "leaky_relu", "ELU": "elu", "PReLU": "prelu",
    "tf.math.l2_normalize": "l2_normalize",
}  # fmt: skip


def code_rows():
    rows = {}
    for name in SHIPPED:
        role = LAYERS[name]
        writer = WRITERS.get(BY_FUNCTION.get(name, name))
        weights = ", ".join(weight.attribute for weight in role.weights)
        weights = "kernels inside" if role.finds_weights else weights or "–"
        exported, exact = (writer.operators, writer.exact) if writer else ("–", "in Keras only")
        rows[name] = (role.role, weights, exported, exact)
    return rows


def page_rows(page, heading):
    text = page.split(heading, 1)[1].split("\n## ", 1)[0]
    lines = [line.strip("| \n") for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip(" `") for cell in line.split(" | ")] for line in lines[1:]]
    return {row[0]: tuple(row[1:]) for row in rows}


def test_every_layer_has_its_row():
    assert page_rows(PAGE.read_text(encoding="utf-8"), "## Layers") == code_rows()


def test_every_function_of_tensors_is_named():
    named = PAGE.read_text(encoding="utf-8").split("## Rewritten", 1)[1]
    missing = [name for name in {**FUNCTIONS, **COMPOSED} if name not in named]
    assert not missing


def test_what_is_not_exported_gives_a_reason():
    for name in SHIPPED:
        key = BY_FUNCTION.get(name, name)
        if key not in WRITERS:
            spec = LayerSpec(name, getattr(layers, name, type(name, (), {})), {})
            assert "has no integer operator (" in no_operator(spec)


def test_writers_are_typed_against_the_builder():
    """As users' own are; the builder knows none of them."""
    for key, writer in WRITERS.items():
        hints = get_type_hints(writer.write)
        assert hints == {
            "builder": GraphBuilder, "number": int, "call": Call, "spec": LayerSpec,
            "return": type(None),
        }, key  # fmt: skip
    builder = Path(inspect.getfile(GraphBuilder)).read_text(encoding="utf-8")
    assert "export.operators import" not in builder and "Any)" not in builder
