"""Which device a process works on, what ranks say to each other, and what errors of PyTorch mean to the user."""
import os
import platform
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pix2pixcc.parallel import ranks as module
from pix2pixcc.parallel.ranks import (
    Ranks,
    half_precision,
    join_ranks,
    parameter_count,
    parse_gpu_ids,
    relaunch_on,
    seed_everything,
)
from pix2pixcc.utils import UserError

CPU = torch.device("cpu")


def gpus(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


@pytest.mark.parametrize("text, numbers", [("0", [0]), ("0,1", [0, 1]), ("-1", []), ("2, 0", [2, 0]), ("", []),
                                           ("1,", [1])])
def test_gpu_numbers_are_read(text, numbers):
    assert parse_gpu_ids(text) == numbers


@pytest.mark.parametrize("text", ["one", "0;1", "0,0", "0.5"])
def test_other_gpu_numbers_are_refused(text):
    with pytest.raises(UserError, match=f"--gpu_ids {text}: "):
        parse_gpu_ids(text)


@pytest.mark.parametrize("there, wanted, local, size, device", [
    (0, [], 0, 1, "cpu"), (0, [0], 0, 1, "cpu"), (2, [1], 0, 1, "cuda:1"), (2, [0, 1], 1, 2, "cuda:1"),
    (4, [0], 3, 4, "cuda:3")])
def test_each_process_has_its_device(monkeypatch, there, wanted, local, size, device):
    gpus(monkeypatch, there)
    assert module._device(wanted, local, size) == torch.device(device)


@pytest.mark.parametrize("there, wanted, local, size, words", [
    (1, [7], 0, 1, "--gpu_ids 7: no GPU 7 here; this machine has 1: 0. Use -1"),
    (2, [7], 0, 1, "this machine has 2: 0,1"), (2, [0], 2, 3, "no GPU 2 here"), (1, [0, 1], 0, 2, "no GPU 1 here")])
def test_a_device_that_is_not_there_is_refused(monkeypatch, there, wanted, local, size, words):
    gpus(monkeypatch, there)
    with pytest.raises(UserError, match=words):
        module._device(wanted, local, size)


@pytest.mark.parametrize("gpu_ids", ["0", "1", "0,1", "7"])
def test_without_any_gpu_it_is_the_cpu_after_one_warning(monkeypatch, capsys, gpu_ids):
    gpus(monkeypatch, 0)
    monkeypatch.setattr(module, "launch", lambda *_: pytest.fail("nothing to launch processes for"))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert relaunch_on(gpu_ids, ["pix2pixCC_Train.py"]) is None
    with join_ranks(gpu_ids) as ranks:
        assert ranks.device == CPU and ranks.is_first and ranks.size == 1
    module._device(parse_gpu_ids(gpu_ids), 1, 2)           # another rank says nothing
    assert capsys.readouterr().err == "warning: no GPU was found; working on the CPU (--gpu_ids -1 says so)\n"


def test_a_gpu_that_is_there_becomes_the_current_one(monkeypatch):
    chosen, kept = [], []
    gpus(monkeypatch, 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(module, "keep_freed_memory", lambda: kept.append(1))
    with join_ranks("2") as ranks:
        assert ranks.device == torch.device("cuda:2") and chosen == [ranks.device]
    assert not kept                                        # only what is computed on the CPU gains from it
    with join_ranks("-1"):
        assert kept


def test_torchruns_words_must_be_numbers(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE=two should be a number"), join_ranks("-1"):
        pass


@pytest.mark.parametrize("error, words", [
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
     "memory ran out .*--batch_size"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out .*--data_type 16")])
def test_errors_of_pytorch_that_a_user_can_mend_are_told(error, words):
    with pytest.raises(UserError, match=words), join_ranks("-1"):
        raise error


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="Connection closed by peer"), join_ranks("-1"):
        raise RuntimeError("Connection closed by peer")      # alone, there is no peer
    with pytest.raises(ValueError, match="a bug"), join_ranks("-1"):
        raise ValueError("a bug")


@pytest.fixture
def group(monkeypatch):
    """A group of one process that believes to be the second of two, so that every exchange is made."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_ranks_exchange_what_they_know(group, capsys):
    ranks = Ranks(CPU, 0, 2, group)                        # of size 2 by its own account: it asks, and hears itself
    assert ranks.most(3) == 3 and ranks.on_first(lambda: "found") == "found"
    with pytest.raises(UserError, match="once"):
        ranks.on_first(lambda: (_ for _ in ()).throw(UserError("once")))
    ranks.barrier()
    ranks.say("heard")
    assert capsys.readouterr().out == "heard\n"


def test_a_lost_connection_is_told(group):
    for text in ("Connection closed by peer [127.0.0.1]:3", "Timed out waiting 600000ms for recv", "Broken pipe"):
        message = module._explained(RuntimeError(text), 1)
        assert message.startswith("process 1 lost the others")
    assert module._explained(RuntimeError("a bug"), 1) is None


def test_one_rank_alone_needs_no_exchange(capsys):
    ranks = Ranks(CPU)
    values = torch.tensor([1.0, 2.0])
    assert torch.equal(ranks.mean(values), values) and ranks.gathered(values).shape == (1, 2) and ranks.most(1) == 1
    Ranks(CPU, 1, 2).say("not heard")
    assert capsys.readouterr().out == ""


class Probe:
    """In place of oneDNN's operations: whether the CPU has bfloat16 arithmetic, or the error of a build without it."""

    def __init__(self, answer):
        self.answer = answer

    def _is_mkldnn_bf16_supported(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("supported, kind", [(True, torch.bfloat16), (False, torch.float16)])
def test_half_precision_on_a_gpu_is_what_it_has(monkeypatch, supported, kind):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert half_precision(Ranks(torch.device("cuda"))) == kind


def test_half_precision_on_a_cpu_with_bfloat16_arithmetic_is_bfloat16(monkeypatch, capsys):
    monkeypatch.setattr(torch.ops, "mkldnn", Probe(True))
    assert half_precision(Ranks(CPU)) == torch.bfloat16 and capsys.readouterr().err == ""


@pytest.mark.parametrize("answer", [False, AttributeError("no such operation"), RuntimeError("not built with oneDNN")])
def test_a_cpu_without_bfloat16_arithmetic_says_so_once_and_computes_in_32_bits(monkeypatch, capsys, answer):
    monkeypatch.setattr(torch.ops, "mkldnn", Probe(answer))
    assert [half_precision(Ranks(CPU, rank, 2)) for rank in range(2)] == [None, None]
    said = capsys.readouterr().err
    assert said.startswith("warning: this CPU has no bfloat16 arithmetic, ") and said.count("\n") == 1
    assert said.endswith("; computing in 32 (--data_type 32 says so)\n")


def test_a_seed_repeats_random_numbers_and_deterministic_kernels_are_asked_for(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    draws = []
    try:
        for deterministic in (False, True):
            with warnings.catch_warnings():
                seed_everything(5, deterministic)
            draws.append(torch.rand(3))
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            assert torch.backends.cudnn.benchmark != deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and torch.equal(*draws)
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_parameters_are_counted():
    assert parameter_count(torch.nn.Conv2d(2, 3, 5)) == 2 * 3 * 25 + 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_freed_memory_is_used_again_instead_of_asking_for_fresh_pages():
    """In a process of its own, whose memory nothing else has touched. 64 MB are 16,384 pages, five times."""
    script = textwrap.dedent("""
        import resource, torch
        from pix2pixcc.parallel.ranks import join_ranks
        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        with join_ranks("-1"):
            for _ in range(20):      # until the C library has settled down
                torch.ones(2**24)
            before = faults()
            for _ in range(5):
                torch.ones(2**24)
            print(faults() - before)""")
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(module.__file__).parents[2], capture_output=True,
                          text=True, check=True)
    assert int(done.stdout) < 1000
