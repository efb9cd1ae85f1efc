"""One tiny network per layer or topology beyond the main job's, float -> quantized -> exported.

`LAYER_CASES` maps a name to a function that builds the network and says what becomes of it:
"exact" (Keras, interpreter and LiteRT agree on every element), "noted" (they may differ, and the
export says so) or "keras" (quantized in Keras, refused by the export with a reason). Every function
takes Keras and its layers, so that one definition serves tf_keras and its twin in Keras 3.
"""

from tests.layer_cases import exported, functions, keras_only, lookups, recurrent  # noqa: F401 they fill it
from tests.layer_cases.table import LAYER_CASES, build, inputs_of

__all__ = ["LAYER_CASES", "build", "inputs_of"]
