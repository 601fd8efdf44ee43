"""Flags: the published names and defaults of both systems, parsed as they read."""
import subprocess
import sys
from pathlib import Path

import pytest

import pix2pixCC_Evaluate
import pix2pixCC_Map
import pix2pixCC_Prepare
import pix2pixCC_Simulate
from pix2pixcc import options
from pix2pixcc.options import parse, train_parser
from pix2pixcc.preparation.settings import TOLERANCE_MINUTES
from pix2pixcc.utils import VERSION

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = {
    "gpu_ids": "0", "dataset_name": "pix2pixCC", "data_format_input": "tif", "data_format_target": "tif", "input_ch": 1,
    "target_ch": 1,
    "saturation_clip_input": False, "saturation_clip_target": False, "batch_size": 1, "n_downsample": 4,
    "n_residual": 9,
    "trans_conv": True, "n_D": 2, "n_CC": 4, "n_gf": 64, "n_df": 64, "data_type": 32, "n_workers": 1,
    "norm_type": "InstanceNorm2d",
    "padding_type": "replication", "padding_size": 0, "max_rotation_angle": 0, "report_freq": 100, "save_freq": 10000,
    "display_freq": 100,
    "display_scale": 1, "image_mode": "png", "val_during_train": False, "input_dir_train": "./datasets/Train/Input",
    "target_dir_train": "./datasets/Train/Target", "n_epochs": 150, "latest_iter": 0, "no_shuffle": False,
    "lambda_LSGAN": 2.0,
    "lambda_FM": 10.0, "lambda_CC": 5.0, "ch_balance": 1, "ccc": True, "beta1": 0.5, "beta2": 0.999, "lr": 2e-4,
    "epoch_decay": None,
    "GAN_type": "LSGAN", "fm_cumulative": False}
PUBLISHED_HD = PUBLISHED | {
    "dataset_name": "AIA_to_HMI", "data_format_input": "fits", "data_format_target": "fits", "input_ch": 3,
    "logscale_input": [True],
    "saturation_lower_limit_input": [1], "saturation_upper_limit_input": [200],
    "saturation_lower_limit_target": [-3000],
    "saturation_upper_limit_target": [3000], "saturation_clip_input": True, "saturation_clip_target": True, "n_gf": 32,
    "padding_type": "reflection", "report_freq": 10, "epoch_decay": 100, "lambda_CC": 0, "n_CC": 0, "ch_balance": 0,
    "input_dir_train": "./datasets/AIA_to_HMI/Train/Input", "target_dir_train": "./datasets/AIA_to_HMI/Train/Target"}


@pytest.mark.parametrize("model, expected", [("pix2pixCC", PUBLISHED), ("pix2pixHD", PUBLISHED_HD)])
def test_the_defaults_are_the_published_ones(model, expected):
    opt = parse(train_parser(), ["--model", model])
    assert {name: getattr(opt, name) for name in expected} == expected


def test_test_has_its_published_defaults():
    opt = parse(options.test_parser(), [])
    assert (opt.input_dir_test, opt.iteration, opt.save_scale) == ("./datasets/Test/Input", "-1", 1.0)


def test_flags_override_the_models_defaults():
    opt = parse(train_parser(), ["--model", "pix2pixHD", "--n_gf", "8", "--saturation_upper_limit_target", "1500"])
    assert (opt.n_gf, opt.saturation_upper_limit_target, opt.saturation_lower_limit_target) == (8, [1500], [-3000])
    assert opt.given == {"model", "n_gf", "saturation_upper_limit_target"}


@pytest.mark.parametrize("text, value", [("True", True), ("true", True), ("1", True), ("False", False),
                                         ("false", False), ("0", False)])
def test_booleans_parse_as_they_read(text, value):
    opt = parse(train_parser(), ["--logscale_input", text, "--ccc", text, "--saturation_clip_target", text])
    assert (opt.logscale_input, opt.ccc, opt.saturation_clip_target) == ([value], value, value)


def test_limits_take_one_value_or_one_a_channel():
    opt = parse(train_parser(), ["--saturation_lower_limit_input", "1", "1", "-1500", "--logscale_input", "True",
                                 "True", "False"])
    assert opt.saturation_lower_limit_input == [1, 1, -1500]
    assert opt.logscale_input == [True, True, False]


@pytest.mark.parametrize("argv, message", [
    (["--n_D", "0"], "--n_D: 0 is below 1"), (["--ccc", "maybe"], "'maybe' is neither True nor False"),
    (["--data_format_input", "bmp"], "--data_format_input"), (["--n_epoch", "3"], "--n_epoch"),
    (["--data_type", "64"], "--data_type"),
    (["--val_fraction", "1.5"], "not between 0 and 1"), (["--lr", "-1"], "below 0")])
def test_a_wrong_flag_is_one_message_and_status_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(train_parser(), argv)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and len(error.splitlines()) == 2


def test_the_two_ways_from_raw_files_to_magnetograms_choose_the_same_images():
    assert options.test_parser().get_default("tolerance") == TOLERANCE_MINUTES["farside"]


@pytest.mark.parametrize("make_parser", [train_parser, options.test_parser, pix2pixCC_Prepare.make_parser,
                                         pix2pixCC_Evaluate.make_parser, pix2pixCC_Map.make_parser,
                                         pix2pixCC_Simulate.make_parser])
def test_every_flag_has_help_in_a_named_group(make_parser):
    parser = make_parser()
    for group in parser._action_groups[:2]:
        assert all(action.dest in ("help", "version", "command") for action in group._group_actions)
    assert all(action.help or action.dest == "command" for action in parser._actions)


@pytest.mark.parametrize("flag, words", [("--help", "show this help"), ("--version", VERSION)])
@pytest.mark.parametrize("command", ["pix2pixCC_Train.py", "pix2pixCC_Test.py", "pix2pixCC_Prepare.py",
                                     "pix2pixCC_Evaluate.py", "pix2pixCC_Map.py", "pix2pixCC_Simulate.py"])
def test_help_and_version_load_nothing_heavy(command, flag, words):
    """So that they answer at once."""
    result = subprocess.run([sys.executable, "-X", "importtime", ROOT / command, flag], capture_output=True, text=True,
                            check=True)
    assert command in result.stdout.splitlines()[0] and words in result.stdout
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert not loaded & {"torch", "numpy", "astropy", "sunpy", "matplotlib", "scipy"}
