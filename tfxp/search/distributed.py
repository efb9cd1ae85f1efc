"""Which part a process has in a search on several: alone, chief or worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tfxp.errors import ConfigError

ID, IP, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"


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


def run_worker(tuner: Any) -> None:
    """Run trials of a chief until it stops.

    Raises:
        ConfigError: the chief does not answer any more.
    """
    import grpc

    try:
        tuner.search()
    except grpc.RpcError as error:
        address = f"{os.environ[IP]}:{os.environ[PORT]}"
        raise ConfigError(
            f"chief of the search at {address}: {error.code().name}. Start it again with the same "
            "command, then this worker."
        ) from None
