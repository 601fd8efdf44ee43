"""What every test module relies on: the root on the path, no window system, one thread."""
import os
import signal

import pytest

from pix2pixcc.utils import limit_spinning

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
limit_spinning()


@pytest.fixture
def one_thread():
    """Of PyTorch, whose results depend on how many there are."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: an empty folder with a tiny data set."""
    from running import write_pairs

    monkeypatch.chdir(write_pairs(tmp_path))
    return tmp_path


@pytest.fixture
def heard():
    """Signals that are not ignored, as they may be where the tests run, and that are heard as before afterwards."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
