"""Data units to -1..1 and back, and where the limits come from."""
from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image
from pix2pixcc.pipeline import Scaling, resolve_scaling
from pix2pixcc.utils import UserError

EUV = Scaling((1.0,), (200.0,), (True,))
GAUSS = Scaling((-1500.0,), (1500.0,), (False,))


def plane(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, -1)


def scaled(scaling: Scaling, *values: float) -> list[float]:
    return scaling.scale(plane(*values)).flatten().tolist()


def image(data, channels=None, is_8bit=False) -> Image:
    return Image(np.asarray(data, np.float32), None, channels, is_8bit, Path("a.fits"))


def random_image(channels: int, low: float, high: float) -> Image:
    return image(np.random.default_rng(0).uniform(low, high, (channels, 32, 32)))


def test_limits_become_exactly_minus_1_and_1():
    assert scaled(GAUSS, -1500, 0, 1500) == [-1, 0, 1]
    assert scaled(Scaling((0.0,), (255.0,), (False,)), 0, 255) == [-1, 1]
    assert scaled(EUV, 1, 200) == [-1, 1]


def test_with_log_the_logarithms_of_the_limits_are_the_ends():
    """1..200 becomes 0..log10(200) becomes -1..1 (Jeong et al. 2020)."""
    value = 100.0
    expected = 2 * math.log10(value) / math.log10(200) - 1
    assert scaled(EUV, value)[0] == pytest.approx(expected, abs=1e-6)
    assert scaled(EUV, math.sqrt(200))[0] == pytest.approx(0, abs=1e-6)


def test_under_log_what_has_no_logarithm_takes_the_lower_limit():
    assert scaled(EUV, 0, -3, math.nan, math.inf, -math.inf) == [-1] * 5


def test_linear_nan_and_infinity_become_0_where_the_limits_hold_it_else_the_lower_limit():
    assert scaled(GAUSS, math.nan, math.inf, -math.inf) == [0] * 3
    assert scaled(Scaling((-100.0,), (300.0,), (False,)), math.nan) == [-0.5]
    assert scaled(Scaling((0.0,), (255.0,), (False,)), math.nan) == [-1]
    assert scaled(Scaling((10.0,), (255.0,), (False,)), math.nan, math.inf) == [-1, -1]


def test_values_beyond_the_limits_stay_unless_clipped():
    assert scaled(GAUSS, 3000, -3000) == [2, -2]
    assert scaled(Scaling((-1500.0,), (1500.0,), (False,), clip=True), 3000, -3000) == [1, -1]
    assert scaled(Scaling((1.0,), (200.0,), (True,), clip=True), 1e4, 0.01) == [1, -1]


@pytest.mark.parametrize(("scaling", "low", "high"), [(EUV, 0.05, 5000), (GAUSS, -4000, 4000),
                                                      (Scaling((0.0,), (255.0,), (False,)), 0, 255),
                                                      (Scaling((1e6,), (1e6 + 100,), (False,)), 1e6, 1e6 + 100)])
def test_unscale_undoes_scale_within_float32(scaling, low, high):
    data = torch.empty(1, 64, 64).uniform_(low, high, generator=torch.Generator().manual_seed(1))
    back = scaling.unscale(scaling.scale(data))
    span = max(abs(low), abs(high)) if not scaling.log[0] else data
    assert ((back - data).abs() / span).max() < 2e-6


def test_each_channel_has_its_own_limits_and_scale():
    both = Scaling((1.0, -1500.0), (200.0, 1500.0), (True, False))
    data = torch.stack([plane(1, 200)[0], plane(-1500, 750)[0]])
    assert both.scale(data).flatten().tolist() == [-1, 1, -1, 0.5]
    batch = torch.stack([data, data])
    assert torch.equal(both.scale(batch)[1], both.scale(data))
    assert torch.allclose(both.unscale(both.scale(batch)), batch)


def test_a_tensor_of_other_channels_is_refused():
    for channels in (1, 3):
        with pytest.raises(ValueError, match="zip"):
            Scaling((1.0, 1.0), (2.0, 2.0), (False, False)).scale(torch.ones(channels, 4, 4))


def test_the_original_is_kept_unless_scaled_in_place():
    data = plane(0, 1500)
    assert GAUSS.scale(data) is not data and data.flatten().tolist() == [0, 1500]
    assert GAUSS.scale(data, in_place=True) is data and data.flatten().tolist() == [0, 1]
    assert GAUSS.unscale(data, in_place=True) is data and data.flatten().tolist() == [0, 1500]


def test_json_gives_back_the_scaling():
    both = Scaling((1.0, -1500.0), (200.0, 1500.0), (True, False), clip=True)
    assert Scaling.from_dict(json.loads(json.dumps(both.to_dict()))) == both


def test_limits_come_from_flags_then_cards_then_the_type_of_the_data():
    cards = [Channel.euv("SDO/AIA 171", ""), Channel.magnetogram("SDO/HMI magnetogram", "", 1000.0)]
    cube = image(np.random.default_rng(0).uniform(1, 200, (2, 8, 8)), cards)
    assert resolve_scaling(cube) == Scaling((1.0, -1000.0), (200.0, 1000.0), (True, False))
    assert resolve_scaling(cube, lower=[2], upper=[300, 500], clip=True) == Scaling((2.0, 2.0), (300.0, 500.0), (True, False), True)
    assert resolve_scaling(cube, log=[False]).log == (False, False)
    assert resolve_scaling(image(np.ones((1, 8, 8)) * 99, is_8bit=True)) == Scaling((0.0,), (255.0,), (False,))
    assert resolve_scaling(random_image(2, -1.5, 1.5)) == Scaling((-1.0, -1.0), (1.0, 1.0), (False, False))


@pytest.mark.parametrize(("flags", "message"), [
    ({"lower": [5], "upper": [5]}, "the lower limit 5 must be below the upper limit 5; set --saturation_lower_limit_target"),
    ({"lower": [0], "upper": [200], "log": [True]}, "a log scale needs a lower limit above 0, not 0; set --saturation_lower_limit_target"),
    ({"log": [True]}, "a log scale needs a lower limit above 0, not -1"),
    ({"lower": [math.nan]}, "the lower limit nan must be below"),
    ({"upper": [math.inf]}, "the upper limit inf; set"),
    ({"lower": [1, 2, 3]}, r"--saturation_lower_limit_target takes one value, or one a channel \(2\), not 3"),
    ({"log": []}, r"--logscale_target takes one value, or one a channel \(2\), not 0"),
])
def test_limits_that_cannot_be_are_refused_with_their_flag(flags, message):
    with pytest.raises(UserError, match=message):
        resolve_scaling(random_image(2, 0, 1), side="target", **flags)


def test_values_far_outside_stop_with_the_flags_to_set():
    gauss = random_image(1, -300, 300)
    message = r"a\.fits: channel 1 runs from -2\S+ to 2\S+, far outside its limits -1 \.\. 1; set --saturation_lower_limit_input"
    with pytest.raises(UserError, match=message):
        resolve_scaling(gauss)
    with pytest.raises(UserError, match="far outside its limits"):
        resolve_scaling(gauss, clip=True)
    with pytest.raises(UserError, match="far outside its limits"):
        resolve_scaling(gauss, lower=[-10], upper=[10])
    assert resolve_scaling(gauss, lower=[-10], upper=[10], clip=True).clip
    assert resolve_scaling(gauss, lower=[-150], upper=[150]).upper == (150.0,)


def test_a_few_bright_pixels_are_not_far_outside():
    data = np.zeros((1, 100, 100), np.float32)
    data[0, 0, :99] = 2000
    assert resolve_scaling(image(data)).upper == (1.0,)
    data[0, 1, :10] = 2000
    with pytest.raises(UserError, match="far outside"):
        resolve_scaling(image(data))


def test_the_share_far_outside_is_that_of_finite_pixels():
    data = np.full((1, 100, 100), np.nan, np.float32)
    data[0, 0, :50] = 40
    with pytest.raises(UserError, match="channel 1 runs from 40 to 40"):
        resolve_scaling(image(data))
