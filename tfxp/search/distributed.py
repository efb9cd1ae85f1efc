"""Which part a process has in a search on several: alone, chief or worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from tfxp.errors import ConfigError

ID, IP, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
_SILENT_SECONDS = 5.0


def role_of_process() -> str:
    """ "alone", "chief" or "worker", by keras-tuner's environment variables.

    Raises:
        ConfigError: some of them are set, but not all.
    """
    if IP not in os.environ:
        return "alone"
    missing = [name for name in (ID, PORT) if not os.environ.get(name)]
    if missing:
        raise ConfigError(f"{IP}: set, but {' and '.join(missing)} not; expected all three.")
    return "chief" if "chief" in os.environ[ID] else "worker"


def run_chief(oracle: Any, patience: float, on_poll: Callable[[], None]) -> None:
    """Serve trials until the search is over."""
    from tfxp.search.chief import serve

    serve(oracle, patience, on_poll=on_poll)


def run_worker(tuner: Any, patience: float) -> None:
    """Run trials of a chief until it stops.

    Args:
        tuner: runs the trials.
        patience: seconds to wait for the chief's answer, at the beginning and ever after;
            keras-tuner's worker waits for an hour without a word.

    Raises:
        ConfigError: the chief does not answer, or not any more.
    """
    import grpc

    from tfxp.search.kerastuner import oracle_client

    address = f"{os.environ[IP]}:{os.environ[PORT]}"
    oracle_client.TIMEOUT = patience
    try:
        _wait_for_chief(address, patience)
        tuner.search()
    except (grpc.RpcError, grpc.FutureTimeoutError) as error:
        code = error.code().name if isinstance(error, grpc.RpcError) else "no answer"
        raise ConfigError(
            f"chief of the search at {address}: got {code}; expected it to run. Start it (again) "
            "with the same command, then this worker; if it has ended, the search is over."
        ) from None


def _wait_for_chief(address: str, patience: float) -> None:
    import grpc

    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        try:
            ready.result(timeout=min(_SILENT_SECONDS, patience))
        except grpc.FutureTimeoutError:
            print(f"waiting for the chief at {address} …", file=sys.stderr, flush=True)
            ready.result(timeout=patience)
