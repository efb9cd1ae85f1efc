"""Threads side by side: all work, failures arrive, forks have their own; sizes of passes."""

import multiprocessing
import threading

import pytest

from tfxp.interpreter.prediction import _size_of_pass
from tfxp.interpreter.thread_team import ThreadTeam


def test_every_thread_works_and_helpers_are_kept():
    team, meeting, seen = ThreadTeam(), threading.Barrier(3, timeout=60), []

    def work():
        meeting.wait()  # only three threads at once get past it
        seen.append(threading.get_ident())

    team.run(work, 3)
    team.run(work, 3)
    assert len(seen) == 6 and len(set(seen)) == 3 and threading.get_ident() in seen


@pytest.mark.parametrize("who_fails", ["caller", "helper"])
def test_a_failure_arrives_once_all_have_ended(who_fails):
    caller, meeting, ended = threading.get_ident(), threading.Barrier(2, timeout=60), []

    def work():
        meeting.wait()
        if (threading.get_ident() == caller) == (who_fails == "caller"):
            raise ValueError("spoilt")
        ended.append(1)

    with pytest.raises(ValueError, match="spoilt"):
        ThreadTeam().run(work, 2)
    assert ended == [1]


def test_a_forked_process_has_helpers_of_its_own():
    team, seen = ThreadTeam(), []
    team.run(lambda: seen.append(1), 2)  # the parent's helper does not exist in the child

    def child():
        meeting = threading.Barrier(2, timeout=30)
        team.run(meeting.wait, 2)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("usual", [1, 4, 21, 32])
def test_passes_end_together(usual, threads):
    for count in range(200):
        size = _size_of_pass(count, usual, threads)
        passes, rest = divmod(count, size)
        if threads == 1:
            assert size == usual
            continue
        assert size in {usual >> k for k in range(6)}
        longest = -(-passes // threads) * size + -(-rest // threads)
        assert longest <= count / threads + usual / 2 + 1
