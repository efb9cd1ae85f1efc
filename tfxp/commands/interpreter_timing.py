"""Times the interpreter and LiteRT in one process: interleaved rounds, medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.interpreter import Interpreter
from tfxp.progress import Progress

#: Names with a function that runs an image by its number.
Runs = dict[str, Callable[[int], Any]]
#: Codes (images, ...) per model input, in the model's order.
Feeds = list[NDArray[Any]]


def litert_run(content: bytes, feeds: Feeds, resolver: str) -> Callable[[int], Any]:
    """One image through LiteRT on one thread.

    Args:
        content: the file.
        feeds: what to run on.
        resolver: name in OpResolverType.
    """
    from ai_edge_litert.interpreter import Interpreter as LiteRT
    from ai_edge_litert.interpreter import OpResolverType

    kind = getattr(OpResolverType, resolver)
    runner = LiteRT(model_content=content, experimental_op_resolver_type=kind, num_threads=1)
    runner.allocate_tensors()
    return _stepper(runner, [d["index"] for d in runner.get_input_details()], feeds)


def tfxp_run(content: bytes, feeds: Feeds, **settings: Any) -> Callable[[int], Any]:
    """One image through tfxp's compiled kernels."""
    runner = Interpreter(model_content=content, **settings)
    runner.allocate_tensors()
    return _stepper(runner, runner.graph.inputs, feeds)


def _stepper(runner: Interpreter, inputs: list[int], feeds: Feeds) -> Callable[[int], Any]:
    def run(image: int) -> None:
        for index, rows in zip(inputs, feeds, strict=True):
            runner.set_tensor(index, rows[image : image + 1])
        runner.invoke()

    return run


def interleave(runs: Runs, images: int, rounds: int, bar: Progress) -> dict[str, float]:
    """Median seconds an image of each, all of them timed in every round.

    Seconds are processor time of the calling thread, which other processes disturb less than the
    clock on the wall.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(0)  # compiles, allocates
    # slow runs get few images a round, fast ones more, so that a round is some 5 ms of each
    repeats = {}
    for name, run in runs.items():
        run(0)
        began = time.thread_time()
        run(0)
        repeats[name] = int(np.clip(0.005 / max(time.thread_time() - began, 1e-6), 1, 20))
    for number in range(rounds):
        for name, run in runs.items():
            run(number % images)  # brings code and data back into the caches
            began = time.thread_time()
            for i in range(repeats[name]):
                run((number + i) % images)
            seconds[name].append((time.thread_time() - began) / repeats[name])
        bar.step()
    return {name: float(np.median(values)) for name, values in seconds.items()}


def batch_speed(
    content: bytes, feeds: Feeds, threads: int, rounds: int, at_once: int = 64
) -> float:
    """How many times the images per second of single invokes `predict_codes` has.

    On one thread by its processor time, on several by the clock on the wall, which other processes
    disturb.

    Args:
        content: the file.
        feeds: what to run on, repeated to `at_once` images.
        threads: of predict_codes; invokes have one.
        rounds: interleaved; the median of their ratios counts.
        at_once: images a call.
    """
    count = len(feeds[0])
    rows = [np.concatenate([f] * -(-at_once // count))[:at_once] for f in feeds]
    single, many = (
        Interpreter(model_content=content),
        Interpreter(model_content=content, threads=threads),
    )
    single.allocate_tensors()
    inputs, outputs = single.graph.inputs, single.graph.outputs

    def invoke_all() -> None:
        for image in range(at_once):
            for index, codes in zip(inputs, rows, strict=True):
                single.set_tensor(index, codes[image : image + 1])
            single.invoke()
            for index in outputs:
                single.get_tensor(index)

    clock = time.thread_time if threads == 1 else time.perf_counter

    def ratio() -> float:
        began = clock()
        invoke_all()
        half = clock()
        many.predict_codes(rows if len(rows) > 1 else rows[0])
        return (half - began) / (clock() - half)

    ratio()  # compiles, records
    return float(np.median([ratio() for _ in range(rounds)]))
