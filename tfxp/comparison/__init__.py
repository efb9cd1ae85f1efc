"""Two runs of a network compared, tensor by tensor; a file compared on several runtimes."""

from tfxp.comparison.operator_differences import operator_differences
from tfxp.comparison.runtime_results import RuntimeResult, compare_runtimes

__all__ = ["RuntimeResult", "compare_runtimes", "operator_differences"]
