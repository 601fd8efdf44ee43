"""The data of a run: found, held out, and scaled as flags and cards say."""
from pathlib import Path

import numpy as np
import pytest
from running import write_cubes

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image
from pix2pixcc.options import parse, scaling_flags, train_parser
from pix2pixcc.pipeline import Scaling
from pix2pixcc.training.data import ScalingFlags, find_training_data
from pix2pixcc.utils import UserError


def flags_of(side, *argv):
    return ScalingFlags(**scaling_flags(parse(train_parser(), list(argv)), side))


def find(inputs, targets, **changes):
    settings = {"input_format": "fits", "target_format": "fits", "input_ch": 1, "target_ch": 1, "n_downsample": 2,
                "n_D": 2,
                "data_size": None, "input_flags": flags_of("input"), "target_flags": flags_of("target")}
    return find_training_data(str(inputs), str(targets), **settings | changes)


def test_a_data_set_is_the_same_wherever_it_lies(tmp_path):
    data = find(*write_cubes(tmp_path / "data", count=5))
    (tmp_path / "data").rename(tmp_path / "moved")
    assert find(tmp_path / "moved/Input", tmp_path / "moved/Target").digest == data.digest
    next((tmp_path / "moved/Input").iterdir()).rename(tmp_path / "moved/Input/sun_20110401_120403.fits")
    with pytest.raises(UserError, match="sun_20110401_120403"):
        find(tmp_path / "moved/Input", tmp_path / "moved/Target")


def test_a_run_ends_after_its_epochs_or_its_iterations(tmp_path):
    data = find(*write_cubes(tmp_path / "data", count=5))
    assert [data.last_iteration(*flags) for flags in ((3, None), (3, 7), (3, 700))] == [15, 7, 15]


@pytest.mark.parametrize("n_downsample, n_D, words", [(5, 1, "at most 4"), (2, 3, "96 pixels"), (4, 1, None)])
def test_a_side_must_fit_the_networks(tmp_path, n_downsample, n_D, words):
    dirs = write_cubes(tmp_path / "data", count=1)
    if words is None:
        assert find(*dirs, n_downsample=n_downsample, n_D=n_D).size == 48
    else:
        with pytest.raises(UserError, match=words):
            find(*dirs, n_downsample=n_downsample, n_D=n_D)


def test_over_data_with_cards_only_typed_limits_count():
    flags = flags_of("target", "--model", "pix2pixHD", "--saturation_upper_limit_target", "1000")
    card = Channel.magnetogram("SDO/HMI magnetogram", "2011-03-05T12:04:03")
    bare, described = (Image(np.zeros((1, 2, 2), np.float32), None, channels, False, Path("a.fits"))
                       for channels in (None, [card]))
    assert flags.scaling_of(bare) == Scaling((-3000.0,), (1000.0,), (False,), True)
    assert flags.scaling_of(described) == Scaling((-1500.0,), (1000.0,), (False,), True)


def test_a_typed_limit_that_a_model_was_not_trained_with_is_refused():
    built = Scaling((1.0, 1.0), (200.0, 200.0), (True, True))
    for fits in ([], ["--saturation_upper_limit_input", "200"], ["--logscale_input", "True", "True"],
                 ["--model", "pix2pixHD"]):
        flags_of("input", *fits).refuse_other(built)
    for other, words in ((["--saturation_upper_limit_input", "200", "100"],
                          r"200\.0 100\.0 \(trained with 200\.0 200\.0\)"),
                         (["--logscale_input", "False"], r"--logscale_input False \(trained with True True\)"),
                         (["--saturation_lower_limit_input", "1", "1", "1"], "--saturation_lower_limit_input"),
                         (["--saturation_clip_input", "True"],
                          r"--saturation_clip_input True \(trained with False\).*leave the flag out")):
        with pytest.raises(UserError, match=words):
            flags_of("input", *other).refuse_other(built)
