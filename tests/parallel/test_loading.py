"""Batches from loader processes: in order, one ahead on a GPU, and errors as their message."""
import multiprocessing
import subprocess
import time

import pytest
import torch
from running import write_pairs

from pix2pixcc.parallel import loading
from pix2pixcc.parallel.loading import batches_on
from pix2pixcc.parallel.signals import without_signals
from pix2pixcc.parallel.workers import read_by_processes
from pix2pixcc.pipeline import Augmentation, PairDataset, Scaling
from pix2pixcc.utils import UserError

CPU = torch.device("cpu")


class Numbers:
    def __init__(self, bad=None):
        self.bad = bad

    def load(self, index, into=None):
        if index == self.bad:
            raise UserError(f"cannot read image {index}")
        return {"input": torch.tensor([float(index)]), "index": index}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_come_in_the_order_of_the_sampler(n_workers):
    batches = list(batches_on(CPU, Numbers(), [[3, 1], [0, 2], [4]], n_workers))
    assert [batch["input"].flatten().tolist() for batch in batches] == [[3, 1], [0, 2], [4]]


class Placed:
    """Images that are made where they should lie, as `PairDataset` does it when it pads."""

    def load(self, key, into=None):
        images = {"input": torch.empty(2, 3, 3), "target": torch.empty(1, 3, 3)} if into is None else into
        for number, image in enumerate(images.values()):
            image.fill_(key + number / 2)
        return {**images, "index": key}


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("dataset", [Numbers(), Placed()])
def test_a_batch_that_is_held_is_never_written_over(dataset, start, monkeypatch):
    monkeypatch.setattr(loading, "START", start)
    requests = [[k, k + 100] for k in range(20)] + [[20]]
    batches = list(batches_on(CPU, dataset, requests, 1))
    views = [batch["input"].flatten(1)[:, 0] for batch in batches]
    del batches
    assert [view.tolist() for view in views] == requests


def test_the_memory_of_batches_is_used_again_when_nothing_refers_to_it():
    places = []
    for number, batch in enumerate(batches_on(CPU, Placed(), [[k] for k in range(40)], 1)):
        assert batch["input"].eq(number).all() and batch["target"].eq(number + 0.5).all() and batch["index"].tolist() == [number]
        places.append(batch["target"].data_ptr())
    assert len(set(places)) == 4      # two ahead, one in hand, one about to be


@pytest.mark.parametrize("n_workers", [1, 2])
def test_processes_give_what_this_one_gives_bit_for_bit(tmp_path, n_workers):
    pairs = [(folder / "Input" / f"sun_{k}.fits", folder / "Target" / f"sun_{k}.fits") for folder in [write_pairs(tmp_path) / "data"]
             for k in range(7)]
    dataset = PairDataset(pairs, input_ch=1, target_ch=1, input_scaling=Scaling((1.0,), (200.0,), (True,)),
                          target_scaling=Scaling((-1500.0,), (1500.0,), (False,)), augmentation=Augmentation(3, 10), seed=5)
    keys = [[(epoch, k) for k in some] for epoch in range(3) for some in ((0, 1, 2), (3, 4, 5), (6,))]
    for one, other in zip(batches_on(CPU, dataset, keys, 0), batches_on(CPU, dataset, keys, n_workers), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("input", "target", "index"))


def test_without_requests_there_are_no_batches():
    assert list(batches_on(CPU, Numbers(), [], 2)) == []


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_image_that_cannot_be_read_is_its_message_alone(n_workers):
    batches = batches_on(CPU, Numbers(bad=2), [[1], [2], [3]], n_workers)
    assert next(batches)["input"].item() == 1
    with pytest.raises(UserError, match="^cannot read image 2$"):
        next(batches)


@pytest.mark.parametrize("broken", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_connection_that_breaks_waits_for_the_word_of_the_death(broken, monkeypatch):
    def items():
        yield 1
        raise broken

    def dies(_seconds):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(loading.time, "sleep", dies)
    with pytest.raises(RuntimeError, match="is killed by signal"):
        list(read_by_processes(items()))
    monkeypatch.setattr(loading.time, "sleep", lambda _: None)
    with pytest.raises(RuntimeError, match="DataLoader worker has closed its connection"):
        list(read_by_processes(items()))


def test_loader_processes_hear_no_signal_but_their_parents():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    with without_signals():
        worker = context.Process(target=lambda: (loading._heed_only_the_parent(0), ready.set(), time.sleep(60)))
        worker.start()
    assert ready.wait(30)
    subprocess.run(f"kill -TERM {worker.pid}; kill -INT {worker.pid}", shell=True, check=True)      # as a batch system or a shell would
    time.sleep(0.2)
    assert worker.is_alive()
    worker.terminate()
    worker.join(5)
    assert worker.exitcode == 0


def test_the_next_batch_is_on_its_way_while_one_is_worked_on():
    events = []

    def send(batch):
        events.append(("sent", batch["index"]))
        return batch

    def receive(batch):
        events.append(("received", batch["index"]))
        return batch

    for batch in loading._one_ahead(iter({"index": k} for k in range(3)), send, receive):
        events.append(("used", batch["index"]))
    assert events == [("sent", 0), ("sent", 1), ("received", 0), ("used", 0), ("sent", 2), ("received", 1), ("used", 1),
                      ("received", 2), ("used", 2)]
    assert list(loading._one_ahead(iter(()), send, receive)) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_arrive_whole_on_a_gpu():
    device = torch.device("cuda", 0)
    for number, batch in enumerate(batches_on(device, Numbers(), [[k] for k in range(20)], 2)):
        assert batch["input"].device == device and batch["input"].item() == batch["index"].item() == number
