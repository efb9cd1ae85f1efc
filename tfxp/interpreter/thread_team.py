"""ThreadTeam: some threads for one piece of work, kept from one call to the next."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class ThreadTeam:
    """Calls a function in several threads at once, the caller's among them.

    Starting a thread takes as long as some images of a small network, so helpers stay. A process
    that was forked has none of its parent's and gets its own.

    Example:
        >>> left, done = [3, 2, 1], []
        >>> ThreadTeam().run(lambda: done.append(left.pop()), threads=3)
        >>> sorted(done)
        [1, 2, 3]
    """

    def __init__(self) -> None:
        self._helpers: ThreadPoolExecutor | None = None
        self._process, self._count = 0, 0

    def run(self, work: Callable[[], None], threads: int) -> None:
        """Calls `work` once in each of `threads` threads and waits for all of them.

        Raises:
            Whatever `work` raises first in the caller's thread, then in a helper.
        """
        if threads <= 1:
            work()
            return
        helpers = [self._pool(threads - 1).submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            failures = [helper.exception() for helper in helpers]
        for failure in failures:
            if failure is not None:
                raise failure

    def _pool(self, count: int) -> ThreadPoolExecutor:
        process = os.getpid()
        if self._helpers is None or self._process != process or self._count < count:
            self._helpers = ThreadPoolExecutor(count, thread_name_prefix="tfxp")
            self._process, self._count = process, count
        return self._helpers
