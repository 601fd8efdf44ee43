"""A run that was stopped and resumed is the run that was not: weights, optimizers, losses and pictures, bit for bit."""
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from running import assert_same_run, generate, run, train, write_cubes, write_pairs

import pix2pixcc
from pix2pixcc import pipeline
from pix2pixcc.images.files import read_image
from pix2pixcc.utils import UserError

WATCHED = ["--save_freq", 20, "--report_freq", 5, "--display_freq", 20]
SHAKEN = ["--padding_size", 4, "--max_rotation_angle", 20, "--epoch_decay", 2, "--n_epochs", 8]
SHORT = ["--dataset_name", "run", "--save_freq", 2, "--report_freq", 2, "--display_freq", 100]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A run of six iterations with checkpoints at 2, 4 and 6."""
    folder = write_pairs(tmp_path_factory.mktemp("six"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(*SHORT, "--n_iterations", 6, "--keep_last", 3).status == 0
    return folder


@pytest.fixture
def ran(six, tmp_path, monkeypatch):
    """A copy of it to go on with."""
    shutil.copytree(six, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "checkpoints" / "run"


def iterations(folder):
    return sorted(int(path.stem) for path in (folder / "State").glob("*.pt"))


@pytest.mark.parametrize("flags, stopped, end", [
    (["--n_workers", 2, *SHAKEN], 17, 40),
    (["--n_workers", 0, *SHAKEN, "--data_type", 16, "--ema", 0.9], 17, 40),
    (["--n_workers", 2, "--batch_size", 3, "--max_rotation_angle", 5, "--GAN_type", "GAN", "--ema", 0.5, "--ccc",
      "False"], 18, 42),
    (["--n_workers", 0, "--no_shuffle", "--norm_type", "BatchNorm2d", "--batch_size", 2], 18, 40)],
    ids=["two workers, augmentation, decay", "16 bit, average, augmentation", "batches of 3", "batch norm, no shuffle"])
def test_seventeen_iterations_and_the_rest_are_forty(here, flags, stopped, end):
    assert train(*WATCHED, *flags, "--dataset_name", "whole", "--n_iterations", 40).status == 0
    assert train(*WATCHED, *flags, "--dataset_name", "parts", "--n_iterations", 17).status == 0
    result = train(*WATCHED, *flags, "--dataset_name", "parts", "--n_iterations", 40, "--resume")
    assert result.status == 0 and f"resuming from iteration {stopped}" in result.out
    assert_same_run("whole", "parts", end)


def test_resume_takes_the_newest_state_and_starts_a_run_that_never_began(ran):
    assert "resuming from iteration 6" in train(*SHORT, "--n_iterations", 8, "--resume").out
    result = train(*SHORT, "--dataset_name", "new", "--n_iterations", 2, "--resume")
    assert result.status == 0 and "nothing to resume from yet" in result.out


def test_latest_iter_takes_that_state_and_the_run_goes_on_as_it_did(ran):
    before = {path.name: torch.load(path, weights_only=True) for path in (ran / "Model").glob("6_*.pt")}
    table = (ran / "losses.csv").read_text()
    assert train(*SHORT, "--n_iterations", 6, "--latest_iter", 4).status == 0
    for name, weights in before.items():
        after = torch.load(ran / "Model" / name, weights_only=True)
        assert all(torch.equal(value, after[key]) for key, value in weights.items())
    assert (ran / "losses.csv").read_text() == table


def test_going_back_moves_what_is_later_away_before_the_first_step(ran):
    stop = train(*SHORT, "--latest_iter", 2, "--n_gf", 8)      # refused: nothing may be lost by it
    assert stop.status == 2 and iterations(ran) == [2, 4, 6]
    assert train(*SHORT, "--latest_iter", 2, "--n_iterations", 3).status == 0
    assert iterations(ran) == [2, 3]
    assert sorted(path.name for path in (ran / "State/left-2").iterdir()) == ["4.pt", "6.pt"]
    assert sorted(path.name for path in (ran / "Model/left-2").iterdir()) == ["4_D.pt", "4_G.pt", "6_D.pt", "6_G.pt"]
    assert "resuming from iteration 3" in train(*SHORT, "--n_iterations", 4, "--resume").out


def test_a_damaged_state_is_passed_over_with_a_warning_and_outlived(ran):
    raw = bytearray((ran / "State/6.pt").read_bytes())
    raw[len(raw) // 2] ^= 16
    (ran / "State/6.pt").write_bytes(raw)
    (ran / "State/4.pt").write_bytes(raw[:1000])
    result = train(*SHORT, "--n_iterations", 3, "--resume", "--keep_last", 1)
    assert result.status == 0 and "resuming from iteration 2" in result.out
    assert result.err.count("warning: cannot read checkpoints/run/State/") == 2
    assert iterations(ran) == [3]


def test_without_any_good_state_the_newest_weights_are_offered(ran):
    shutil.rmtree(ran / "State")
    result = train(*SHORT, "--resume")
    assert result.status == 2 and "--latest_iter 6" in result.err
    result = train(*SHORT, "--latest_iter", 6, "--n_iterations", 8)
    assert result.status == 0 and "Adam starts afresh" in result.out


@pytest.mark.parametrize("has_state", [True, False])
def test_a_branch_that_dies_before_its_first_checkpoint_is_not_forgotten(ran, monkeypatch, has_state):
    if not has_state:
        (ran / "State/4.pt").unlink()

    def die(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr("pix2pixCC_Train.train", die)
    train(*SHORT, "--n_iterations", 8, "--latest_iter", 4)
    monkeypatch.undo()
    monkeypatch.chdir(ran.parents[1])
    result = train(*SHORT, "--n_iterations", 6, "--resume")
    assert result.status == 0 and "resuming from iteration 4" in result.out
    assert (ran / "State/left-4/6.pt").is_file() and iterations(ran)[-2:] == [4, 6]


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_file_that_cannot_be_read_is_tried_again_and_the_state_saved_before_leaving(ran, monkeypatch, comes_back):
    """The disk is away from the third pair on, for a moment or for ever."""
    reads, gone = [], []

    def flaky(path, channels, *, side="input"):
        reads.append(path)
        if len(reads) == 5:
            gone.append(path)
        if gone:
            raise UserError(f"cannot read {path}: Stale file handle")
        return read_image(path, channels, side=side)
    monkeypatch.setattr(pipeline, "PAUSES", (0, 0))
    monkeypatch.setattr(pipeline, "read_image", flaky)
    monkeypatch.setattr(pipeline.time, "sleep", lambda _: comes_back and gone.clear())
    result = train(*SHORT, "--save_freq", 100, "--n_iterations", 9, "--resume")
    if comes_back:
        assert result.status == 0 and iterations(ran)[-1] == 9
    else:
        assert result.status == 2 and "Stale file handle. Everything until iteration 8 is saved" in result.err
        assert iterations(ran)[-1] == 8 and (ran / "Model/8_G.pt").is_file()
        monkeypatch.undo()
        monkeypatch.chdir(ran.parents[1])
        assert train(*SHORT, "--n_iterations", 9, "--resume").status == 0


def test_resume_and_latest_iter_contradict_each_other(ran):
    result = train(*SHORT, "--resume", "--latest_iter", 2)
    assert result.status == 2 and "give one of them" in result.err
    result = train(*SHORT, "--latest_iter", 3)
    assert result.status == 2 and "there are 2, 4, 6" in result.err


CHANGES = """
    --n_gf 8 | --lr 0.001 | --seed 3 | --padding_size 2 | --max_rotation_angle 2 | --no_shuffle | --batch_size 2
    --data_type 16 | --ema | --beta1 0.9 | --beta2 0.9 | --lambda_FM 1 | --lambda_CC 1 | --lambda_LSGAN 1 | --n_CC 1
    --ccc False | --GAN_type GAN | --fm_cumulative True | --ch_balance 0 | --n_residual 2 | --n_downsample 1 | --n_df 8
    --trans_conv False | --padding_type zero
    --epoch_decay 3 | --saturation_upper_limit_input 300 | --logscale_input False | --saturation_clip_target True"""


@pytest.mark.parametrize("flags", [words.strip() for words in CHANGES.replace("\n", "|").split("|") if words.strip()])
def test_an_option_that_changes_the_mathematics_is_refused_by_name(ran, flags):
    name = re.sub("saturation_.*|logscale_.*", lambda match: match[0].split("_")[0], flags.split()[0])
    result = train(*SHORT, "--n_iterations", 8, "--resume", *flags.split())
    assert result.status == 2 and name in result.err and "--allow_changed_options" in result.err
    assert iterations(ran) == [2, 4, 6]


def test_other_pairs_and_another_size_are_refused(ran):
    result = train(*SHORT, "--n_iterations", 8, "--resume", "--val_fraction", 0.2)
    assert result.status == 2 and "the training pairs" in result.err
    (ran.parents[1] / "data/Input/sun_6.fits").unlink()
    (ran.parents[1] / "data/Target/sun_6.fits").unlink()
    result = train(*SHORT, "--n_iterations", 8, "--resume")
    assert result.status == 2 and "the training pairs" in result.err
    write_pairs(ran.parents[1], size=48)
    result = train(*SHORT, "--n_iterations", 8, "--resume")
    assert result.status == 2 and "the images' side: 32 -> 48" in result.err


def test_changed_options_are_allowed_if_asked_for_and_take_effect(ran):
    flags = ["--resume", "--n_iterations", 8, "--allow_changed_options", "--lr", 0, "--beta1", 0.25]
    assert train(*SHORT, *flags).status == 0
    state = torch.load(ran / "State/8.pt", weights_only=True)
    assert state["training"]["optimizer_G"]["param_groups"][0]["betas"] == (0.25, 0.999)
    before, after = (torch.load(ran / f"Model/{iteration}_G.pt", weights_only=True) for iteration in (6, 8))
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert json.loads((ran / "options.json").read_text())["options"]["lr"] == 0


def test_checkpoints_from_before_a_change_of_scaling_are_used_with_their_own(ran):
    """A later part of the run has other limits; what older weights give does not change."""
    def products(iteration):
        return [read_image(path, 1).data for path in sorted((ran / f"Image/Test/{iteration}").glob("*.fits"))]

    flags = ["--dataset_name", "run", "--input_dir_test", "data/Input", "--no_preview"]
    assert generate(*flags, "--iteration", 6).status == 0
    before = products(6)
    changed = ["--allow_changed_options", "--saturation_upper_limit_target", 3000, "--saturation_lower_limit_target",
               -3000]
    assert train(*SHORT, "--resume", "--n_iterations", 8, *changed, "--lr", 0).status == 0      # the same weights
    result = generate(*flags, "--overwrite")
    assert result.status == 0, result.err
    assert len(before) == 7 and np.array_equal(products(6), before)
    assert np.array_equal(products(8), 2 * np.array(before))      # twice the limits about 0
    for iteration, limit in ((2, 1500), (6, 1500), (8, 3000)):
        assert pix2pixcc.load(ran, iteration=iteration).description.target_scaling.upper == (limit,)


def test_allowed_options_of_another_network_still_end_with_a_message(ran):
    result = train(*SHORT, "--resume", "--allow_changed_options", "--n_gf", 8)
    assert result.status == 2 and "the training state is of other networks" in result.err


def test_epochs_may_grow_but_not_shrink_under_a_decaying_rate(here):
    flags = [*SHORT, "--epoch_decay", 1]
    assert train(*flags, "--n_epochs", 3, "--n_iterations", 4).status == 0
    assert train(*flags, "--n_epochs", 5, "--n_iterations", 6, "--resume").status == 0
    result = train(*flags, "--n_epochs", 4, "--resume")
    assert result.status == 2 and "--n_epochs: 5 -> 4 (it may only grow)" in result.err


def test_a_finished_run_says_so_again(ran):
    result = train(*SHORT, "--n_iterations", 6, "--resume")
    assert result.status == 0 and "done: checkpoints/run/Model/6_G.pt" in result.out and iterations(ran) == [2, 4, 6]


def test_weights_that_a_kill_left_unwritten_are_made_from_the_state(ran):
    wanted = torch.load(ran / "Model/6_G.pt", weights_only=True)
    (ran / "Model/6_G.pt").unlink()
    (ran / "Model/.part-abc.pt").write_bytes(b"half")
    assert train(*SHORT, "--n_iterations", 6, "--resume").status == 0
    made = torch.load(ran / "Model/6_G.pt", weights_only=True)
    assert all(torch.equal(value, made[key]) for key, value in wanted.items()) and not list(ran.rglob(".part-*"))


def test_validation_scores_and_the_best_checkpoint_survive_a_resume(here):
    write_pairs(here, size=48)                              # smaller ones have too few bins for a score
    flags = ["--save_freq", 2, "--report_freq", 2, "--display_freq", 100, "--val_during_train", "--val_fraction", 0.3,
             "--ema", 0.5,
             "--keep_last", 1]
    assert train(*flags, "--dataset_name", "whole", "--n_iterations", 8).status == 0
    assert train(*flags, "--dataset_name", "parts", "--n_iterations", 4).status == 0
    best = Path("checkpoints/parts/best.json")
    best.unlink()                                          # as if killed before it was written
    assert train(*flags, "--dataset_name", "parts", "--n_iterations", 8, "--resume").status == 0
    assert best.read_text() == Path("checkpoints/whole/best.json").read_text()
    assert Path("checkpoints/parts/losses.csv").read_bytes() == Path("checkpoints/whole/losses.csv").read_bytes()
    assert iterations(Path("checkpoints/parts")) == sorted({8, json.loads(best.read_text())["iteration"]})


def test_the_options_a_seed_and_the_data_repeat_a_run(here):
    """From options.json of the first run alone: every flag that it holds, typed again."""
    from pix2pixcc.options import parse, train_parser

    assert train(*WATCHED, *SHAKEN, "--dataset_name", "first", "--n_iterations", 20, "--seed", 4).status == 0
    options = json.loads(Path("checkpoints/first/options.json").read_text())["options"]
    defaults = vars(parse(train_parser(), []))
    flags = []
    for name, value in (options | {"dataset_name": "again"}).items():
        if value != defaults[name]:
            flags += [f"--{name}", value]
    assert run("Train", *flags).status == 0
    assert_same_run("first", "again", 20)


def test_a_run_from_before_there_were_gaps_keeps_its_validation_pairs(tmp_path, monkeypatch):
    """Its record has no --val_gap; the pairs that it was trained on and validated with stay the same, for ever."""
    monkeypatch.chdir(tmp_path)
    write_cubes(tmp_path / "data", count=30)
    flags = ["--val_during_train", "--val_fraction", 0.2, "--batch_size", 2, "--save_freq", 2, "--display_freq", 100]
    assert train(*flags, "--val_gap", 0, "--n_iterations", 2).status == 0
    folder = Path("checkpoints/run")
    record = json.loads((folder / "options.json").read_text())
    del record["options"]["val_gap"]
    (folder / "options.json").write_text(json.dumps(record))
    for end in (4, 6):
        result = train(*flags, "--resume", "--n_iterations", end)
        assert result.status == 0 and "the latest share, without a gap" in result.out
    assert json.loads((folder / "options.json").read_text())["data"] == record["data"]
    result = train(*flags, "--resume", "--n_iterations", 8, "--val_gap", 5)
    assert result.status == 2 and "--val_gap: 0.0 -> 5.0" in result.err
