"""Work of tools that would not fit into one file: flags and steps, a file for each method."""

from tfxp.commands.assign_adaption import AdaptionMethod
from tfxp.commands.assign_ilp import IlpMethod
from tfxp.commands.assign_inputs import AssignInputs
from tfxp.commands.assign_judd import JuddMethod
from tfxp.commands.assign_lin import LinMethod
from tfxp.commands.assign_sakr import SakrMethod
from tfxp.commands.assign_uniform import UniformMethod

__all__ = [
    "AdaptionMethod",
    "AssignInputs",
    "IlpMethod",
    "JuddMethod",
    "LinMethod",
    "SakrMethod",
    "UniformMethod",
]
