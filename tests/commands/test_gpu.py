"""On a GPU: the CPU's numbers, sixteen bits, compiled networks, batches on their way. Skipped without one."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pix2pixcc.networks import Discriminator, Generator, channel_repeats, initialise_weights
from pix2pixcc.options import parse, train_parser
from pix2pixcc.parallel.loading import batches_on
from pix2pixcc.training.step import AdversarialTraining

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda")
ROOT = Path(__file__).resolve().parents[2]


def training_on(device, compiled=False, **options):
    torch.manual_seed(0)
    generator = Generator(3, 1, n_gf=8, n_downsample=2, n_residual=2)
    discriminator = Discriminator(6, n_df=8, n_D=2)
    for network in (generator, discriminator):
        initialise_weights(network)
        network.to(device)
        if compiled:
            network.compile()
    opt = parse(train_parser(), [])
    names = ("lr", "beta1", "beta2", "lambda_LSGAN", "lambda_FM", "lambda_CC", "fm_cumulative", "n_CC", "ccc")
    return AdversarialTraining(generator, discriminator, repeats=channel_repeats(3, 1, 1.0), gan_type=opt.GAN_type,
                               **{name: getattr(opt, name) for name in names}, **options)


def images_on(device):
    random = torch.Generator().manual_seed(0)
    return [torch.rand(1, channels, 128, 128, generator=random).mul(2).sub(1).to(device) for channels in (3, 1)]


@pytest.fixture(autouse=True)
def full_float32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def losses(training, device, steps=3):
    return torch.stack([training.step(*images_on(device)) for _ in range(steps)]).cpu()


def test_a_gpu_follows_the_cpu():
    torch.testing.assert_close(losses(training_on(GPU), GPU), losses(training_on("cpu"), "cpu"), rtol=1e-3, atol=1e-3)


def test_compiled_networks_follow_the_plain_ones():
    torch.testing.assert_close(losses(training_on(GPU, compiled=True), GPU), losses(training_on(GPU), GPU), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("compiled", [False, True])
def test_sixteen_bits_follow_thirty_two(compiled):
    half = losses(training_on(GPU, compiled=compiled, half=torch.bfloat16), GPU, 1)
    torch.testing.assert_close(half, losses(training_on(GPU), GPU, 1), rtol=2e-2, atol=2e-2)


def test_float16_with_loss_scaling_stays_finite():
    assert losses(training_on(GPU, half=torch.float16), GPU).isfinite().all()


def test_no_step_waits_for_the_gpu():
    training, images = training_on(GPU), images_on(GPU)
    training.step(*images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(*images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Numbers:
    def __getitem__(self, key):
        return {"input": torch.full((4, 4), float(key)), "index": key}


def test_batches_arrive_on_the_gpu_in_order():
    batches = list(batches_on(GPU, Numbers(), [[k] for k in range(6)], n_workers=0))
    assert [batch["input"].device.type for batch in batches] == ["cuda"] * 6
    assert [batch["input"][0, 0, 0].item() for batch in batches] == [0, 1, 2, 3, 4, 5]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_together(tmp_path):
    code = ("import os, torch, torch.distributed as dist; rank = int(os.environ['LOCAL_RANK']); torch.cuda.set_device(rank);"
            "dist.init_process_group('nccl'); value = torch.ones(1, device='cuda'); dist.all_reduce(value); assert value.item() == 2;"
            "dist.destroy_process_group()")
    (tmp_path / "two.py").write_text(code)
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", str(tmp_path / "two.py")], check=True,
                   env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=300)
