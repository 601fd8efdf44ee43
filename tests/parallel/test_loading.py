"""Batches from worker processes: in order, the same as without them, and errors as their message."""
import sys

import numpy as np
import pytest
import torch

from pix2pixcc.images.files import write_image
from pix2pixcc.parallel.loading import batches_on
from pix2pixcc.pipeline import Augmentation, PairDataset, Scaling
from pix2pixcc.utils import UserError

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these data sets reach the workers by a fork")


class Numbers:
    """Items with an image and a number; one of them may be bad."""

    def __init__(self, bad=None):
        self.bad = bad

    def __getitem__(self, key):
        if key == self.bad:
            raise UserError(f"cannot read image {key}")
        return {"input": torch.full((2, 3, 3), float(key)), "index": key}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_come_in_the_order_of_the_sampler(n_workers):
    batches = list(batches_on(CPU, Numbers(), [[3, 1], [0, 2], [4]], n_workers))
    assert [batch["input"].shape for batch in batches] == [(2, 2, 3, 3), (2, 2, 3, 3), (1, 2, 3, 3)]
    assert [batch["input"][:, 0, 0, 0].tolist() for batch in batches] == [[3, 1], [0, 2], [4]]
    assert [batch["index"].tolist() for batch in batches] == [[3, 1], [0, 2], [4]]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_processes_give_what_this_one_gives_bit_for_bit(tmp_path, n_workers):
    pairs = [(tmp_path / f"input_{k}.npy", tmp_path / f"target_{k}.npy") for k in range(7)]
    for k, paths in enumerate(pairs):
        for path in paths:
            write_image(path, np.random.default_rng(k).uniform(1, 200, (1, 32, 32)))
    dataset = PairDataset(pairs, input_ch=1, target_ch=1, input_scaling=Scaling((1.0,), (200.0,), (True,)), seed=5,
                          target_scaling=Scaling((-1500.0,), (1500.0,), (False,)), augmentation=Augmentation(3, 10))
    keys = [[(epoch, k) for k in some] for epoch in range(3) for some in ((0, 1, 2), (3, 4, 5), (6,))]
    for one, other in zip(batches_on(CPU, dataset, keys, 0), batches_on(CPU, dataset, keys, n_workers), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("input", "target", "index"))


def test_a_batch_that_is_held_is_never_written_over():
    requests = [[k, k + 100] for k in range(20)] + [[20]]
    batches = list(batches_on(CPU, Numbers(), requests, 1))
    assert [batch["input"][:, 0, 0, 0].tolist() for batch in batches] == requests


def test_without_requests_there_are_no_batches():
    assert list(batches_on(CPU, Numbers(), [], 2)) == []


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_image_that_cannot_be_read_is_its_message_alone(n_workers):
    batches = batches_on(CPU, Numbers(bad=2), [[1], [2], [3]], n_workers)
    assert next(batches)["index"].item() == 1
    with pytest.raises(UserError, match="^cannot read image 2$"):
        next(batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_arrive_whole_on_a_gpu(n_workers):
    device = torch.device("cuda", 0)
    for number, batch in enumerate(batches_on(device, Numbers(), [[k] for k in range(20)], n_workers)):
        assert batch["input"].device == device and batch["input"].eq(number).all() and batch["index"].item() == number
