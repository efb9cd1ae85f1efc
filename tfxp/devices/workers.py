"""Workers of one training: what they must agree on, and the loss of one of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tfxp.errors import ConfigError, WorkerLostError
from tfxp.keras import tf

_POLL_SECONDS = 0.2
# What TensorFlow's collectives raise where a worker does not answer any more.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """Processes that train together.

    Args:
        strategy: what `strategy_of` returned.
    """
    resolver = strategy.cluster_resolver
    jobs = {} if resolver is None else resolver.cluster_spec().as_dict()
    return max(sum(len(jobs.get(job, ())) for job in ("chief", "worker")), 1)


def check_global_batch(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Complain about a batch that replicas cannot share evenly, which would change its mean loss.

    Args:
        strategy: where.
        batch_size: samples of a step on all replicas together.

    Raises:
        ConfigError: no multiple of the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ConfigError(
            f"batch_size: got {batch_size} for {replicas} replicas; expected a multiple of "
            f"{replicas}. It counts the samples of all replicas together."
        )


def check_every_replica(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Complain about a batch that leaves a replica without a sample, whose mean is no number.

    Args:
        strategy: where.
        batch_size: samples of a step on all replicas together.

    Raises:
        ConfigError: fewer samples than replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size < replicas:
        raise ConfigError(
            f"batch_size: got {batch_size} for {replicas} replicas; expected at least {replicas}, "
            "a sample for each. It counts the samples of all replicas together."
        )


def same_on_workers(strategy: tf.distribute.Strategy, value: int, what: str) -> None:
    """Complain where workers do not see the same, before they wait for one another for ever.

    Args:
        strategy: the strategy of the training.
        value: a number that this worker sees.
        what: it, in words.

    Raises:
        ConfigError: another worker sees another number.
    """
    if worker_count(strategy) == 1:
        return

    @tf.function
    def gather() -> tf.Tensor:
        mine = strategy.run(lambda: tf.constant([value], tf.int64))
        return strategy.gather(mine, axis=0)

    seen = sorted(set(gather().numpy().tolist()))
    if len(seen) > 1:
        raise ConfigError(
            f"{what}: got {' and '.join(map(str, seen))} on different workers; expected one "
            "number. Use a folder on a file system that all of them see."
        )


def require_one_worker(strategy: tf.distribute.Strategy, what: str) -> None:
    """Refuse, by name, to watch a training on several workers.

    A look takes place when there is time for it, which workers would decide differently, and
    variables that are kept per replica can only be read by all of them together.

    Args:
        strategy: the strategy of the training.
        what: who refuses.

    Raises:
        ConfigError: several workers.
    """
    count = worker_count(strategy)
    if count > 1:
        raise ConfigError(
            f"{what} under {type(strategy).__name__}: got {count} workers; expected one. Leave it "
            "out, or watch a training on the devices of one machine."
        )


def wait_for_chief(path: Path, patience: float = 600.0) -> None:
    """Wait for the file that the first worker writes last.

    It must not miss the others while it reads variables for the last time.

    Args:
        path: the file.
        patience: seconds.

    Raises:
        WorkerLostError: it does not come.
    """
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > end:
            raise WorkerLostError(
                f"{str(path)!r}: got nothing in {patience:.0f} s; expected the first worker to "
                "write it. Use a folder on a file system that all workers see."
            )
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Say in one sentence that another worker is gone.

    Args:
        strategy: what `strategy_of` returned.

    Raises:
        WorkerLostError: a collective operation failed.
    """
    try:
        yield
    except _LOST as error:
        if worker_count(strategy) == 1:
            raise
        raise WorkerLostError(
            f"training on {worker_count(strategy)} workers: one of them is gone "
            f"({type(error).__name__}); expected all of them to run. Start all of them again with "
            "the same commands: they go on from the last checkpoint."
        ) from None
