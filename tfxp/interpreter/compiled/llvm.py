"""Names for what Numba and llvmlite hand to an intrinsic and to the code that it builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from llvmlite import ir
from numba.core import base, typing
from numba.core import types as numba_types

Value: TypeAlias = ir.Value  # a number or vector of the program that is built
Values: TypeAlias = Sequence[ir.Value]
Builder: TypeAlias = ir.IRBuilder
Kind: TypeAlias = numba_types.Type  # the type of an argument, when an intrinsic is resolved
Typing: TypeAlias = typing.BaseContext
Context: TypeAlias = base.BaseContext
Call: TypeAlias = typing.Signature
