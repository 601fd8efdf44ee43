"""The generator scored while it trains, and its fixed sample."""
import itertools
import os
import threading

import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image
from running import write_cubes

from pix2pixcc import pipeline
from pix2pixcc.evaluation.metrics import score
from pix2pixcc.images.files import list_images, read_image
from pix2pixcc.images.pairs import pair_files
from pix2pixcc.parallel.ranks import Ranks
from pix2pixcc.pipeline import Scaling, read_patiently
from pix2pixcc.solar.geometry import disk_mask
from pix2pixcc.training import validation as module
from pix2pixcc.training.validation import SCORES, Sample, validate

CPU = torch.device("cpu")
INPUT = Scaling((1.0,), (200.0,), (True,))
TARGET = Scaling((-1500.0,), (1500.0,), (False,))


@pytest.fixture
def pairs(tmp_path):
    inputs, targets = write_cubes(tmp_path / "data", count=3, size=64)
    return pair_files(list_images(inputs, "fits"), list_images(targets, "fits", side="target"))


def scored(pairs, generate, prefix="val"):
    return validate({prefix: generate}, pairs, input_scaling=INPUT, target_scaling=TARGET, ranks=Ranks(CPU),
                    n_threads=2)


def test_scores_are_the_mean_of_the_metrics_over_the_set(pairs):
    def generate(input):
        return 0.2 * input

    mask = disk_mask(64)
    expected = []
    for input, target in pairs:
        image = 0.2 * INPUT.scale(torch.from_numpy(read_image(input, 1).data))
        expected.append(score(TARGET.unscale(image).numpy()[0], read_image(target, 1).data[0], mask))
    scores = scored(pairs, generate, "ema")
    assert set(scores) == {f"ema_{name}" for name in SCORES}
    for name in ("cc", "cc_binned", "rmse"):
        assert scores[f"ema_{name}"] == pytest.approx(np.mean([image[SCORES[name]] for image in expected]), rel=1e-4)


def test_the_truth_itself_scores_one(pairs):
    truths = iter([TARGET.scale(torch.from_numpy(read_image(target, 1).data))[None] for _, target in pairs])
    scores = scored(pairs, lambda input: next(truths))
    assert scores["val_cc"] == pytest.approx(1, abs=1e-6) and scores["val_rmse"] == pytest.approx(0, abs=1e-3)


def test_a_metric_that_no_image_defines_is_no_number(pairs):
    for _, target in pairs:
        with fits.open(target, mode="update") as hdus:
            hdus[0].data[:] = np.sign(hdus[0].data)          # 1 G everywhere: no active region
    scores = scored(pairs, lambda input: input)
    assert np.isnan(scores["val_active_cc_binned"]) and np.isfinite(scores["val_quiet_cc_binned"])


def test_ranks_share_the_set(pairs, monkeypatch):
    """What two ranks would add up is what one rank finds."""
    seen = []
    monkeypatch.setattr(Ranks, "mean", lambda self, values: seen.append(values) or values)
    for rank in (0, 1):
        validate({"val": lambda input: 0.2 * input}, pairs, input_scaling=INPUT, target_scaling=TARGET,
                 ranks=Ranks(CPU, rank, 2), n_threads=0)
    scored(pairs, lambda input: 0.2 * input)
    assert torch.allclose(seen[0] + seen[1], seen[2], rtol=1e-5)


@pytest.mark.parametrize("n_threads", [0, 1, 3])
def test_networks_are_scored_from_one_reading_as_they_are_alone(pairs, monkeypatch, n_threads):
    """Bit for bit, however many threads score them."""
    alone = scored(pairs, lambda input: 0.2 * input) | scored(pairs, lambda input: 0.5 * input, "ema")
    read = []
    monkeypatch.setattr(module, "read_patiently",
                        lambda path, *words, **named: read.append(path) or read_patiently(path, *words, **named))
    together = validate({"val": lambda input: 0.2 * input, "ema": lambda input: 0.5 * input}, pairs,
                        input_scaling=INPUT, target_scaling=TARGET, ranks=Ranks(CPU), n_threads=n_threads)
    assert together == alone and list(together) == list(alone)
    assert read == [path for pair in pairs for path in pair]


def test_the_next_pair_is_read_and_the_last_scored_while_one_is_generated(pairs, monkeypatch):
    """The generator waits here until both are so: alone, one after the other, they would wait for ever."""
    read, scored_images = threading.Semaphore(0), threading.Semaphore(0)
    monkeypatch.setattr(module, "read_patiently", lambda path, *words, **named: (
        read.release() or read_patiently(path, *words, **named)))
    monkeypatch.setattr(module, "score", lambda *images: scored_images.release() or score(*images))
    order = itertools.count()

    def generate(input):
        number = next(order)
        for _ in range(4 if number == 0 else 2 if number == 1 else 0):      # of this pair, and of the next
            assert read.acquire(timeout=60)
        if number:
            assert scored_images.acquire(timeout=60)
        return input

    scored(pairs, generate)
    assert next(order) == 3


def test_a_pair_that_cannot_be_read_leaves_all_networks_without_scores(pairs, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "PAUSES", (0, 0))
    pairs[1][1].write_bytes(b"damaged")
    scores = validate({"val": lambda input: input, "ema": lambda input: input}, pairs, input_scaling=INPUT,
                      target_scaling=TARGET, ranks=Ranks(CPU), n_threads=1)
    assert len(scores) == 2 * len(SCORES) and np.isnan(list(scores.values())).all()
    said = capsys.readouterr().err
    assert said.count("warning: this checkpoint has no validation scores") == 1 and pairs[1][1].name in said


def test_the_sample_is_drawn_as_it_is_scaled(pairs, tmp_path):
    sample = Sample(pairs[0], input_scaling=INPUT, target_scaling=TARGET, display_scale=1.0, display_range=100.0,
                    image_mode="png")
    assert sample.input.shape == (1, 1, 64, 64)
    sample.draw(tmp_path, 7, torch.full((1, 1, 64, 64), 0.5))
    assert {path.name for path in tmp_path.glob("7_*")} == {"7_real.png", "7_fake.png", "7_sheet.png"}
    assert np.asarray(Image.open(tmp_path / "7_fake.png")) == pytest.approx(round(1.5 * 127.5), abs=1)
    real = np.asarray(Image.open(tmp_path / "7_real.png")).astype(float) / 127.5 - 1
    target = TARGET.scale(torch.from_numpy(read_image(pairs[0][1], 1).data))[0].numpy()
    # North is up: the file's last row is on top.
    assert real[::-1] == pytest.approx(np.clip(target, -1, 1), abs=1 / 127.5)


def test_the_real_pictures_of_a_run_are_one_file_of_many_names(pairs, tmp_path, monkeypatch):
    sample = Sample(pairs[0], input_scaling=INPUT, target_scaling=TARGET, display_scale=1.0, display_range=100.0,
                    image_mode="png")
    monkeypatch.setattr(module, "sample_sheet", lambda *_, **__: None)
    generated = torch.zeros(1, 1, 64, 64)
    for iteration in (1, 2, 2):                            # the last once more, as after going back
        sample.draw(tmp_path, iteration, generated)
    first, second = (tmp_path / f"{iteration}_real.png" for iteration in (1, 2))
    assert first.samefile(second) and first.stat().st_nlink == 2
    content = first.read_bytes()
    first.unlink()                                         # and a user tidies up
    sample.draw(tmp_path, 3, generated)
    assert (tmp_path / "3_real.png").read_bytes() == content == second.read_bytes()

    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)              # as some disks answer
    sample.draw(tmp_path, 4, generated)
    assert (tmp_path / "4_real.png").read_bytes() == content and not list(tmp_path.glob(".part-*"))
