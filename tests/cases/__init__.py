"""Tiny Keras networks, one per layer or topology that tfxp quantizes, for every suite to reuse.

`CASES` maps a name to a function that builds the network; `built(name)` gives it weights that are
no defaults: gammas of both signs, variances away from one, biases that matter. The networks cover
every layer and option of the main job; `everything` has all of them at once.
"""

from tests.cases import single_layers, topologies  # noqa: F401  they fill CASES
from tests.cases.registry import CASES, built, inputs_of, randomize

__all__ = ["CASES", "built", "inputs_of", "randomize"]
