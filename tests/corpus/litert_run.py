"""Runs one model in LiteRT on given inputs, in a process of its own: some files crash it.

usage: python litert_run.py MODEL builtin|litert INPUTS.npz OUTPUTS.npz

INPUTS.npz holds "<call>_<position>" arrays; OUTPUTS.npz gets the same names for the outputs.
Variable tensors are reset before every call.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

RESOLVERS = {"builtin": OpResolverType.BUILTIN_REF, "litert": OpResolverType.AUTO}


def main(model: str, arithmetic: str, inputs: str, outputs: str) -> None:
    """Runs every call in the file."""
    runner = Interpreter(
        model, experimental_op_resolver_type=RESOLVERS[arithmetic], num_threads=1
    )
    runner.allocate_tensors()
    fed = np.load(inputs)
    calls = sorted({int(name.split("_")[0]) for name in fed.files})
    results = {}
    for call in calls:
        runner.reset_all_variables()
        for position, detail in enumerate(runner.get_input_details()):
            runner.set_tensor(detail["index"], fed[f"{call}_{position}"])
        runner.invoke()
        for position, detail in enumerate(runner.get_output_details()):
            results[f"{call}_{position}"] = runner.get_tensor(detail["index"])
    np.savez(outputs, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
