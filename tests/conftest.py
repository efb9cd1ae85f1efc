"""Fixtures for every test: seeds, the shared folder, the --slow switch, and `pytest -n auto`."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The networks of these tests are too small for several threads, and the cores are taken.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SEED = 1234
MOST_WORKERS = 4
# Every Keras model that a process has built leaves something behind; a worker ends with this much.
WORKER_BYTES = 5 * 2**30


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A process per core, as far as memory goes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(os.cpu_count() or 1, MOST_WORKERS, memory // WORKER_BYTES))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(autouse=True)
def _seeded():
    """Every global generator starts every test from the same state."""
    random.seed(SEED)
    np.random.seed(SEED)
    # Only where a test module has loaded TensorFlow; the NumPy column must not pay for it.
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(SEED)


@pytest.fixture
def deterministic():
    """TensorFlow's operations in one order, for this test only: XLA is refused meanwhile."""
    from tensorflow.python.framework import config

    config.enable_op_determinism()
    yield
    config.disable_op_determinism()


@pytest.fixture
def rng():
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def shared():
    """The folder of data and models beside the checkout; tests that want it skip without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the shared data and models (../shared), which are absent here")
    return folder
