"""Networks of few bits give the same integers on every runtime.

The table of docs/runtimes.md in small: random weights and inputs, fewer samples. The interpreter,
which is held to Keras elsewhere, is the measure.
"""

import functools

import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tests.parity.runtime_networks import NETWORKS
from tests.runtimes.test_runtimes import SKIPS
from tfxp.comparison import compare_runtimes
from tfxp.export import KerasTracer
from tfxp.keras import keras
from tfxp.runtimes import RUNTIMES

BITS = ("w6a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a2")
HERE = [name for name in RUNTIMES if not SKIPS[name][0].args[0]]
#: Every network at every precision, every other time per channel.
CASES = [
    (name, precision + "c" * ((row + column) % 2))
    for row, name in enumerate(NETWORKS)
    for column, precision in enumerate(BITS)
]


@functools.lru_cache(maxsize=1)
def measured(name):
    keras.backend.clear_session()
    model = randomize(NETWORKS[name]())
    samples = inputs_of(model, 64)
    return model, tfxp.measure_model(model, samples), samples


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_no_value_differs_on_any_runtime(name, precision):
    model, stats, samples = measured(name)
    tracer = KerasTracer(tfxp.quantize_model(model, precision, stats))
    results = compare_runtimes(tracer.graph, tracer.codes([samples[:24]]), HERE)
    assert [result.sentence() for result in results if not result.exact] == []
    assert all(result.elements >= 24 * 2 for result in results)


def test_the_table_covers_both_kinds_of_scales():
    assert {precision for _, precision in CASES} == {b + c for b in BITS for c in ("", "c")}
    assert len(CASES) == 6 * len(NETWORKS) == 36
