"""The chief of a search on several processes: keras-tuner's service, and an eye on its workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from tfxp.errors import ConfigError
from tfxp.search import kerastuner
from tfxp.search.search_oracle import SearchOracle

_POLL_SECONDS = 0.2


class WatchfulServicer(kerastuner.oracle_chief.OracleServicer):
    """keras-tuner's servicer that notes when it last heard of each worker."""

    def __init__(self, oracle: SearchOracle) -> None:
        super().__init__(oracle)
        self.heard: dict[str, float] = {}

    def CreateTrial(self, request: Any, context: Any) -> Any:
        """A worker asks for a trial, so it lives."""
        self.heard[request.tuner_id] = time.monotonic()
        return super().CreateTrial(request, context)


def serve(
    oracle: SearchOracle,
    patience: float,
    say: Callable[[str], None] | None = None,
    on_poll: Callable[[], None] | None = None,
) -> None:
    """Answer workers until the search is over and none of them is at work.

    keras-tuner's own loop waits for ever for a worker that died. A worker that has been silent in a
    trial for `patience` seconds is named, with what can be done; after twice that its trial goes to
    the others, and the search no longer waits for it. If it was only slow, its result is
    still welcome unless another one was quicker.

    Args:
        oracle: what to try.
        patience: seconds without a word that a trial may take.
        say: where warnings go; standard error by default.
        on_poll: called a few times a second, for progress.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    servicer = WatchfulServicer(oracle)
    server = _start(servicer)
    warned: dict[str, str] = {}
    try:
        while not (servicer.stop_triggered and kerastuner.oracle_chief.exit_chief(oracle)):
            time.sleep(_POLL_SECONDS)
            _watch(oracle, servicer, patience, warned, say)
            if on_poll is not None:
                on_poll()
    finally:
        server.stop(grace=1).wait()


def _start(servicer: WatchfulServicer) -> Any:
    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    # One thread: oracles are not made for several.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    kerastuner.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ConfigError(
            f"address of the chief: got {address}, which cannot be listened on; expected a free "
            "port of this machine. Set KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT."
        )
    server.start()
    return server


def _watch(
    oracle: SearchOracle,
    servicer: WatchfulServicer,
    patience: float,
    warned: dict[str, str],
    say: Callable[[str], None],
) -> None:
    """Name workers that are silent in a trial, and in the end give their trials to others."""
    now = time.monotonic()
    for tuner, trial in list(oracle.ongoing_trials.items()):
        silent = now - servicer.heard.get(tuner, now)
        if silent > patience and warned.get(tuner) != trial.trial_id:
            warned[tuner] = trial.trial_id
            say(
                f"worker {tuner!r} has been in trial {trial.trial_id} for {silent:.0f} s without "
                f"a word. If it is gone, start it again with KERASTUNER_TUNER_ID={tuner}; it will "
                f"get this trial. In {patience:.0f} s the trial goes to another worker."
            )
        if silent > 2 * patience:
            number = oracle.give_up(tuner)
            say(f"worker {tuner!r} is given up; trial {number} waits for another worker.")
    _forget_idle(oracle, servicer, now, patience, say)


def _forget_idle(
    oracle: SearchOracle,
    servicer: WatchfulServicer,
    now: float,
    patience: float,
    say: Callable[[str], None],
) -> None:
    """Once the search is over, do not wait for workers that died between two trials."""
    if not servicer.stop_triggered:
        return
    for tuner in [t for t in oracle.tuner_ids if t not in oracle.ongoing_trials]:
        if now - servicer.heard.get(tuner, now) > patience:
            oracle.give_up(tuner)
            say(f"worker {tuner!r} did not come back for the end of the search.")
