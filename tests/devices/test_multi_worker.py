"""Two workers on loopback: the losses of one device; one of them killed, and both started again."""

import json
import socket
import time

import numpy as np
import pytest

from tests.devices.workers import EPOCHS, start, work
from tests.forked import Forked
from tfxp.devices import make_strategy
from tfxp.errors import ConfigError


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def workers(folder, seconds=0.0):
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        Forked(
            work, [folder, "multi_worker", seconds], folder / f"worker{index}",
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]  # fmt: skip


def losses(folder):
    log = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in log]


@pytest.mark.slow
def test_killed_worker_and_restart_give_the_losses_of_one_device(tmp_path):
    Forked(start, [tmp_path], tmp_path / "start").finish(600)
    alone = Forked(work, [tmp_path, "none"], tmp_path / "alone")
    first, second = workers(tmp_path, seconds=0.5)
    log, end = tmp_path / "multi_worker" / "log.jsonl", time.monotonic() + 600
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.1)
    second.kill()
    first._process.join(600)
    assert not first.running and first._process.exitcode != 0
    done = len(losses(log.parent))
    assert 0 < done < EPOCHS
    for worker in workers(tmp_path):
        worker.finish(600)
    alone.finish(600)
    assert len(losses(log.parent)) == EPOCHS
    assert np.allclose(losses(tmp_path / "none"), losses(log.parent), rtol=1e-4, atol=0)


@pytest.mark.parametrize("text", ["", "{", '{"cluster": {}}', '{"cluster": 1, "task": {}}'])
def test_cluster_is_checked(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"TF_CONFIG: got .*; expected JSON such as"):
        make_strategy("multi_worker")


def test_names_are_checked():
    with pytest.raises(ConfigError, match="strategy: got 'miror'; expected one of"):
        make_strategy("miror")
    with pytest.raises(ConfigError, match="replicas: got 2 with strategy 'none'"):
        make_strategy("none", 2)
