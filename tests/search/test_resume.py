"""Killed at any moment, continued by the same command; several processes at one search."""

import itertools
import json
import socket
import time

import pytest

from tests.forked import Forked
from tests.search import search_process
from tests.search.search_process import TRIALS, make_search
from tfxp.assign import EvaluationLedger
from tfxp.errors import ConfigError
from tfxp.search.distributed import role_of_process, run_worker

PATIENCE = 240
NUMBERS = itertools.count()


def start(directory, log, delay, patience=10.0, **environment):
    output = directory.with_name(f"process{next(NUMBERS)}")
    arguments = (directory, "evolution", log, delay, patience)
    return Forked(search_process.main, arguments, output, **environment)


def wait_until(condition, process):
    """Polls; a process that ends early is shown."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if not process.running or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"did not get there: {process.complaint()}")
        time.sleep(0.02)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def finish(process):
    out, err = process.finish(PATIENCE)
    return json.loads(out.splitlines()[-1]), err


def test_kill_loses_and_repeats_nothing(tmp_path):
    ledger, log = tmp_path / "run" / "trials.jsonl", tmp_path / "log"
    finished = []
    for wanted in (4, 13):
        process = start(tmp_path / "run", log, 0.03)
        wait_until(lambda wanted=wanted: len(lines(ledger)) > wanted, process)
        process.kill()
        before = finished
        finished = EvaluationLedger.read(ledger).entries
        assert finished[: len(before)] == before, "what was finished stays"
    evaluated = len(lines(log))
    result, _ = finish(start(tmp_path / "run", log, 0))
    entries = EvaluationLedger.read(ledger).entries
    assert entries[: len(finished)] == finished
    keys = [entry["key"] for entry in entries]
    assert len(set(keys)) == len(keys) == len({entry["trial"] for entry in entries})
    again = [json.loads(line)[2] for line in lines(log)[evaluated:]]
    done = [entry["map"]["layers"] for entry in finished]
    assert not [layers for layers in again if layers in done], "a finished trial ran again"
    # The same as if nothing had happened.
    whole = make_search(tmp_path / "whole", "evolution").run()
    assert [trial.key for trial in whole.trials] == keys
    assert whole.best.key == result["best"] and len(keys) <= TRIALS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.slow
def test_chief_and_two_workers_one_of_them_killed(tmp_path):
    """And started again under its id in time; the third stays dead and is given up."""
    ledger, log, run = tmp_path / "run" / "trials.jsonl", tmp_path / "log", tmp_path / "run"
    service = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": free_port()}

    def process(name, delay):  # where a start takes long, the chief must not give it up too early
        return start(run, log, delay, 40.0, KERASTUNER_TUNER_ID=name, **service)

    def begun(name):
        return [line for line in lines(log) if json.loads(line)[:2] == [name, "begin"]]

    chief, victim = process("chief", 0), process("victim", 0.1)
    wait_until(lambda: len(begun("victim")) > 2, victim)
    victim.kill()
    count, lost = len(begun("victim")), begun("victim")[-1]
    victim = process("victim", 600)  # gets its trial again, and never finishes it
    wait_until(lambda: len(begun("victim")) > count, victim)
    kept = [entry["map"]["layers"] for entry in EvaluationLedger.read(ledger).entries]
    assert begun("victim")[-1] == lost or json.loads(lost)[2] in kept
    steady = process("steady", 0)  # begins only now: nobody may be silent while another starts
    wait_until(lambda: begun("steady"), steady)
    victim.kill()
    finish(steady)
    result, said = finish(chief)
    assert "worker 'victim' has been in trial" in said and "KERASTUNER_TUNER_ID=victim" in said
    assert "worker 'victim' is given up" in said
    entries = EvaluationLedger.read(ledger).entries
    keys = [entry["key"] for entry in entries]
    assert len(set(keys)) == len(keys) == result["new"] > 10
    assert {entry["tuner"] for entry in entries} == {"steady", "victim"}
    assert json.loads(begun("victim")[-1])[2] in [entry["map"]["layers"] for entry in entries]
    assert result["best"] in keys


def test_worker_without_a_chief_says_so(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", free_port())
    with pytest.raises(ConfigError, match="KERASTUNER_TUNER_ID not; expected all three"):
        role_of_process()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    assert role_of_process() == "worker"
    with pytest.raises(ConfigError, match="got no answer; expected it to run"):
        run_worker(None, patience=0.2)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "the_chief")
    assert role_of_process() == "chief"
