"""The process in which `tfxp.comparison.litert` runs LiteRT: some files end it.

Started as a program. It imports NumPy and LiteRT only. Requests come as pickles on standard input,
answers go as pickles to standard output; whatever LiteRT prints goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# An engine and a sample or a batch for each input -> outputs.
Arrays = list[np.ndarray]


def open_file(content: bytes, resolver: str, threads: int) -> Any:
    """An engine that holds a file."""
    engine = Interpreter(
        model_content=content,
        experimental_op_resolver_type=getattr(OpResolverType, resolver),
        num_threads=threads,
    )
    details = engine.get_input_details()
    if all((detail["shape_signature"][1:] >= 0).all() for detail in details):
        engine.allocate_tensors()
    return engine


def run(engine: Any, feeds: Arrays) -> Arrays:
    """Outputs for all samples at once; every run starts from fresh state."""
    details, resized = engine.get_input_details(), False
    for detail, part in zip(details, feeds, strict=True):
        if tuple(detail["shape"]) != part.shape:
            engine.resize_tensor_input(detail["index"], part.shape)
            resized = True
    if resized:
        engine.allocate_tensors()
    engine.reset_all_variables()
    for detail, part in zip(details, feeds, strict=True):
        engine.set_tensor(detail["index"], part)
    engine.invoke()
    return [engine.get_tensor(detail["index"]) for detail in engine.get_output_details()]


def run_singly(engine: Any, feeds: Arrays) -> Arrays:
    """Outputs sample by sample."""
    rows = [run(engine, [part[i : i + 1] for part in feeds]) for i in range(len(feeds[0]))]
    return [np.concatenate([np.atleast_1d(a) for a in parts]) for parts in zip(*rows, strict=True)]


def fixes_batch(engine: Any) -> bool:
    """Whether a file takes one sample at a time."""
    return all(detail["shape_signature"][0] == 1 for detail in engine.get_input_details())


def main() -> None:
    """Answer requests until standard input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    engine = None
    while True:
        try:
            request, *arguments = pickle.load(requests)
        except EOFError:
            return
        answer: tuple[str, Any] = ("done", None)
        try:
            if request == "open":
                engine = open_file(*arguments)
            else:
                feeds, how = arguments
                single = how == "singly" or (how == "any" and fixes_batch(engine))
                step = run_singly if single else run
                answer = ("done", step(engine, feeds))
        except (RuntimeError, ValueError) as error:
            answer = ("refused", " ".join(str(error).split()))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
