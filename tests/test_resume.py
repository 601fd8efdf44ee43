"""A run that was stopped and resumed is the run that was not: weights, optimizers, losses and pictures, bit for bit."""
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import run, train, write_pairs

WATCHED = ["--save_freq", 20, "--report_freq", 5, "--display_freq", 20]
SHAKEN = ["--padding_size", 4, "--max_rotation_angle", 20, "--epoch_decay", 2, "--n_epochs", 8]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(write_pairs(tmp_path))
    return tmp_path


def differences(first, second):
    """Where two nested states differ, by the names of their parts."""
    if isinstance(first, torch.Tensor):
        return [] if isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second) else [""]
    if isinstance(first, dict):
        return [f"{key}.{place}" for key in {**first, **second} for place in differences(first.get(key), second.get(key))]
    if isinstance(first, list | tuple):
        return [f"{k}.{place}" for k, pair in enumerate(zip(first, second, strict=True)) for place in differences(*pair)]
    return [] if first == second else [""]


def state_of(name, iteration):
    state = torch.load(f"checkpoints/{name}/State/{iteration}.pt", weights_only=True)
    assert state.pop("record")["options"]["dataset_name"] == name
    return state


def pictures(name, iteration):
    return {path.name: path.read_bytes() for path in Path(f"checkpoints/{name}/Image/Train").glob(f"{iteration}_*")}


def assert_same_run(one, other, iteration=40):
    """All that two runs leave for `iteration` is the same, byte for byte or bit for bit."""
    assert differences(state_of(one, iteration), state_of(other, iteration)) == []
    for network in ("G", "D", "G_ema"):
        weights = [Path(f"checkpoints/{name}/Model/{iteration}_{network}.pt") for name in (one, other)]
        assert weights[0].is_file() == weights[1].is_file()
        if weights[0].is_file():
            assert differences(*(torch.load(path, weights_only=True) for path in weights)) == []
    assert Path(f"checkpoints/{one}/losses.csv").read_bytes() == Path(f"checkpoints/{other}/losses.csv").read_bytes()
    assert len(pictures(one, iteration)) == 3 and pictures(one, iteration) == pictures(other, iteration)


@pytest.mark.parametrize("flags", [
    ["--n_workers", 2, *SHAKEN],
    ["--n_workers", 0, *SHAKEN, "--data_type", 16, "--ema", 0.9],
    ["--n_workers", 2, "--batch_size", 3, "--max_rotation_angle", 5, "--GAN_type", "GAN", "--ema", 0.5, "--ccc", "False"],
    ["--n_workers", 0, "--no_shuffle", "--norm_type", "BatchNorm2d", "--batch_size", 2]],
    ids=["two workers, augmentation, decay", "16 bit, average, augmentation", "batches of 3", "batch norm, no shuffle"])
def test_seventeen_iterations_and_the_rest_are_forty(here, flags):
    assert train("--dataset_name", "whole", "--n_iterations", 40, *WATCHED, *flags).status == 0
    assert train("--dataset_name", "parts", "--n_iterations", 17, *WATCHED, *flags).status == 0
    result = train("--dataset_name", "parts", "--n_iterations", 40, *WATCHED, *flags, "--resume")
    stopped = 17 if "--batch_size" not in flags else 18
    assert result.status == 0 and f"resuming from iteration {stopped}" in result.out
    assert_same_run("whole", "parts", 40 if "3" not in map(str, flags) else 42)
