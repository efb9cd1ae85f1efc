"""What a layer does to the grid of its input: roles as values that know their consequences."""

from __future__ import annotations

import dataclasses

from tfxp.errors import ConfigError, did_you_mean


@dataclasses.dataclass(frozen=True, eq=False)
class Role(str):
    """A role, and everything that follows from it; equal to its name.

    Args:
        name: how `register_layer` spells it.
        owns_format: whether the output gets a format by the layer's rule in the precision map.
        rounding: rounding of LiteRT's operator; None where it rounds inside, in a way that no
            rounding mode says.
        keeps_sign: whether the output is not negative where no input is.
        closable: whether an activation function behind it takes part in the layer, so that the
            tensor is quantized behind both.
        closes: whether it is such an activation function.
        computes: whether it computes in its input's format.
        is_absorbed: whether the export puts it into the layer before it.
        adds_up: whether it multiplies by weights, adds up and has a bias.
        sums: whether it adds or subtracts tensors.
        is_final: whether it ends the network in float.
        is_float: whether its output has no format, whatever reads it.

    Example:
        >>> MAC, MAC.owns_format, RELU.closes
        ('mac', True, True)
    """

    name: str
    owns_format: bool = True
    rounding: str | None = "half_even"
    keeps_sign: bool = False
    closable: bool = True
    closes: bool = False
    computes: bool = False
    is_absorbed: bool = False
    adds_up: bool = False
    sums: bool = False
    is_final: bool = False
    is_float: bool = False

    def __new__(cls, name: str, **traits: object) -> Role:
        return str.__new__(cls, name)

    def __repr__(self) -> str:
        return repr(str(self))

    @property
    def only_rounds(self) -> bool:
        """Whether its operator only rounds its result, so that any quantizer can do the same."""
        return self.owns_format and self.closable and self.rounding is not None

    @classmethod
    def of(cls, name: str) -> Role:
        """The role of a name.

        Raises:
            ConfigError: there is no such role.
        """
        if name not in ROLES:
            raise ConfigError(
                f"role of layer: got {name!r}; expected one of {tuple(ROLES)}."
                f"{did_you_mean(name, ROLES)}"
            )
        return ROLES[name]


# A network input; quantized right behind it.
INPUT = Role("input", closable=False)
# Multiplies by weights and adds a bias.
MAC = Role("mac", adds_up=True)
# Sums or subtracts two tensors; ties go up as in XNNPACK's ADD.
ADD = Role("add", rounding="half_up", keeps_sign=True, sums=True)
# Multiplies two tensors.
MULTIPLY = Role("multiply", keeps_sign=True)
# Multiplies the matrices of two tensors.
MATMUL = Role("matmul", rounding=None, keeps_sign=True, closable=False)
# Joins tensors or takes the larger or smaller of two; parts that differ are requantized.
CONCATENATE = Role("concatenate", rounding="half_up", keeps_sign=True)
# Averages over all positions.
MEAN = Role("mean", rounding=None, keeps_sign=True)
# A function of one tensor, by the codes of the integer operator (`unary_of`).
UNARY = Role("unary", closable=False)
# Computed in float between quantized tensors, weights on grids; there is no integer operator.
IN_FLOAT = Role("float", closable=False)
# Keeps its input's format, rounds half away from zero.
AVERAGE_POOL = Role(
    "average_pool", owns_format=False, rounding="half_away", keeps_sign=True, computes=True
)
# Keeps its input's format, ties go up.
INTERPOLATE = Role(
    "interpolate", owns_format=False, rounding="half_up", keeps_sign=True, computes=True
)
# Keeps its input's format, or closes the layer before it.
RELU = Role("relu", owns_format=False, closes=True, computes=True)
# Moves values about and computes nothing.
KEEP = Role("keep", owns_format=False, keeps_sign=True)
# Float, the network's end; a softmax that a layer reads is a function of one tensor.
SOFTMAX = Role("softmax", owns_format=False, is_final=True)
# A kept BatchNormalization: scales per channel of the layer before it.
BATCH_NORM = Role("batch_norm", owns_format=False, is_absorbed=True)
# Left alone in a network that is quantized in parts; its output is float.
UNTOUCHED = Role("untouched", owns_format=False, is_float=True)

ROLES: dict[str, Role] = {
    str(role): role
    for role in (
        INPUT, MAC, ADD, MULTIPLY, MATMUL, CONCATENATE, MEAN, UNARY, IN_FLOAT, AVERAGE_POOL,
        INTERPOLATE, RELU, KEEP, SOFTMAX, BATCH_NORM, UNTOUCHED,
    )
}  # fmt: skip
