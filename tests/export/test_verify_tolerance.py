"""The exit code of an export: differences within the tolerance are none."""

import pytest

from tfxp.export.verify import Verification
from tools.export_tflite import agrees


@pytest.mark.parametrize(
    ("worst", "error", "tolerance", "wanted"),
    [(0, "", 0, True), (1, "", 0, False), (1, "", 1, True), (2, "", 1, False), (1, "no", 5, False)],
)
def test_tolerance(worst, error, tolerance, wanted):
    differing = int(worst > 0)
    refused = -1 if error else differing
    found = Verification(10, 100, differing, refused, refused, worst, error)
    assert agrees(found, tolerance) is wanted
