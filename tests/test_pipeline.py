"""Files to tensors: scaling and where its limits come from, augmentation, pairs, and the stream of images."""
from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, write_image
from pix2pixcc.pipeline import (
    Augmentation,
    ImageStream,
    PairDataset,
    Scaling,
    pad_to_multiple,
    resolve_scaling,
    rotate,
    shift,
)
from pix2pixcc.utils import UserError

PLAIN = Scaling((-1.0,), (1.0,), (False,))
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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestScaling:
    def test_limits_become_exactly_minus_1_and_1(self):
        assert scaled(GAUSS, -1500, 0, 1500) == [-1, 0, 1]
        assert scaled(Scaling((0.0,), (255.0,), (False,)), 0, 255) == [-1, 1]
        assert scaled(EUV, 1, 200) == [-1, 1]

    def test_with_log_the_logarithms_of_the_limits_are_the_ends(self):
        """1..200 becomes 0..log10(200) becomes -1..1 (Jeong et al. 2020)."""
        value = 100.0
        expected = 2 * math.log10(value) / math.log10(200) - 1
        assert scaled(EUV, value)[0] == pytest.approx(expected, abs=1e-6)
        assert scaled(EUV, math.sqrt(200))[0] == pytest.approx(0, abs=1e-6)

    def test_under_log_what_has_no_logarithm_takes_the_lower_limit(self):
        assert scaled(EUV, 0, -3, math.nan, math.inf, -math.inf) == [-1] * 5

    def test_under_log_the_lower_limit_is_the_floor(self):
        """A faint pixel never lies farther out than an empty one, and brighter ones never below fainter ones."""
        assert scaled(EUV, 1e-30, 1e-3, 0.5, 1) == [-1] * 4
        rising = scaled(EUV, -1, 0, 1e-40, 1e-20, 0.9, 1, 1.001, 10, 200, 1e4)
        assert rising == sorted(rising)
        within = torch.empty(1, 64, 64).uniform_(1, 5000, generator=generator(1))
        centre = half = math.log(200.0) / 2
        assert torch.equal(EUV.scale(within), (within.log() - centre) / half)      # bit for bit

    def test_under_log_values_far_below_the_limits_are_refused_although_they_have_a_floor(self):
        with pytest.raises(UserError, match=r"runs from \S+e-\d+ to \S+e-07, far outside its limits 1 \.\. 200"):
            resolve_scaling(random_image(1, 1e-10, 1e-6), lower=[1], upper=[200], log=[True])
        assert resolve_scaling(random_image(1, 0, 0), lower=[1], upper=[200], log=[True]).log == (True,)

    def test_linear_nan_and_infinity_become_0_where_the_limits_hold_it_else_the_lower_limit(self):
        assert scaled(GAUSS, math.nan, math.inf, -math.inf) == [0] * 3
        assert scaled(Scaling((-100.0,), (300.0,), (False,)), math.nan) == [-0.5]
        assert scaled(Scaling((0.0,), (255.0,), (False,)), math.nan) == [-1]
        assert scaled(Scaling((10.0,), (255.0,), (False,)), math.nan, math.inf) == [-1, -1]

    def test_values_beyond_the_limits_stay_unless_clipped(self):
        assert scaled(GAUSS, 3000, -3000) == [2, -2]
        assert scaled(Scaling((-1500.0,), (1500.0,), (False,), clip=True), 3000, -3000) == [1, -1]
        assert scaled(Scaling((1.0,), (200.0,), (True,), clip=True), 1e4, 0.01) == [1, -1]

    @pytest.mark.parametrize(("scaling", "low", "high"), [(EUV, 1, 5000), (GAUSS, -4000, 4000),
                                                          (Scaling((0.0,), (255.0,), (False,)), 0, 255),
                                                          (Scaling((1e6,), (1e6 + 100,), (False,)), 1e6, 1e6 + 100)])
    def test_unscale_undoes_scale_within_float32(self, scaling, low, high):
        data = torch.empty(1, 64, 64).uniform_(low, high, generator=torch.Generator().manual_seed(1))
        back = scaling.unscale(scaling.scale(data))
        span = max(abs(low), abs(high)) if not scaling.log[0] else data
        assert ((back - data).abs() / span).max() < 2e-6      # a logarithm up to 8.5 is rounded twice, by 5e-7 each

    def test_each_channel_has_its_own_limits_and_scale(self):
        both = Scaling((1.0, -1500.0), (200.0, 1500.0), (True, False))
        data = torch.stack([plane(1, 200)[0], plane(-1500, 750)[0]])
        assert both.scale(data).flatten().tolist() == [-1, 1, -1, 0.5]
        batch = torch.stack([data, data])
        assert torch.equal(both.scale(batch)[1], both.scale(data))
        assert torch.allclose(both.unscale(both.scale(batch)), batch)

    def test_a_tensor_of_other_channels_is_refused(self):
        for channels in (1, 3):
            with pytest.raises(ValueError, match="zip"):
                Scaling((1.0, 1.0), (2.0, 2.0), (False, False)).scale(torch.ones(channels, 4, 4))

    def test_the_original_is_kept_unless_scaled_in_place(self):
        data = plane(0, 1500)
        assert GAUSS.scale(data) is not data and data.flatten().tolist() == [0, 1500]
        assert GAUSS.scale(data, in_place=True) is data and data.flatten().tolist() == [0, 1]
        assert GAUSS.unscale(data, in_place=True) is data and data.flatten().tolist() == [0, 1500]

    def test_json_gives_back_the_scaling(self):
        both = Scaling((1.0, -1500.0), (200.0, 1500.0), (True, False), clip=True)
        assert Scaling.from_dict(json.loads(json.dumps(both.to_dict()))) == both


class TestLimits:
    def test_limits_come_from_flags_then_cards_then_the_type_of_the_data(self):
        cards = [Channel.euv("SDO/AIA 171", ""), Channel.magnetogram("SDO/HMI magnetogram", "", 1000.0)]
        cube = image(np.random.default_rng(0).uniform(1, 200, (2, 8, 8)), cards)
        assert resolve_scaling(cube) == Scaling((1.0, -1000.0), (200.0, 1000.0), (True, False))
        assert resolve_scaling(cube, lower=[2], upper=[300, 500], clip=True) \
            == Scaling((2.0, 2.0), (300.0, 500.0), (True, False), clip=True)
        assert resolve_scaling(cube, log=[False]).log == (False, False)
        assert resolve_scaling(image(np.ones((1, 8, 8)) * 99, is_8bit=True)) == Scaling((0.0,), (255.0,), (False,))
        assert resolve_scaling(random_image(2, -1.5, 1.5)) == Scaling((-1.0, -1.0), (1.0, 1.0), (False, False))

    @pytest.mark.parametrize(("flags", "message"), [
        ({"lower": [5], "upper": [5]},
         "the lower limit 5 must be below the upper limit 5; set --saturation_lower_limit_target"),
        ({"lower": [0], "upper": [200], "log": [True]},
         "a log scale needs a lower limit above 0, not 0; set --saturation_lower_limit_target"),
        ({"log": [True]}, "a log scale needs a lower limit above 0, not -1"),
        ({"lower": [math.nan]}, "the lower limit nan must be below"),
        ({"upper": [math.inf]}, "the upper limit inf; set"),
        ({"lower": [1, 2, 3]}, r"--saturation_lower_limit_target takes one value, or one a channel \(2\), not 3"),
        ({"log": []}, r"--logscale_target takes one value, or one a channel \(2\), not 0"),
    ])
    def test_limits_that_cannot_be_are_refused_with_their_flag(self, flags, message):
        with pytest.raises(UserError, match=message):
            resolve_scaling(random_image(2, 0, 1), side="target", **flags)

    def test_values_far_outside_stop_with_the_flags_to_set(self):
        gauss = random_image(1, -300, 300)
        message = (r"a\.fits: channel 1 runs from -2\S+ to 2\S+, far outside its limits -1 \.\. 1; "
                   "set --saturation_lower_limit_input")
        with pytest.raises(UserError, match=message):
            resolve_scaling(gauss)
        with pytest.raises(UserError, match="far outside its limits"):
            resolve_scaling(gauss, clip=True)
        with pytest.raises(UserError, match="far outside its limits"):
            resolve_scaling(gauss, lower=[-10], upper=[10])
        assert resolve_scaling(gauss, lower=[-10], upper=[10], clip=True).clip
        assert resolve_scaling(gauss, lower=[-150], upper=[150]).upper == (150.0,)

    def test_a_few_bright_pixels_are_not_far_outside(self):
        data = np.zeros((1, 100, 100), np.float32)
        data[0, 0, :99] = 2000
        assert resolve_scaling(image(data)).upper == (1.0,)
        data[0, 1, :10] = 2000
        with pytest.raises(UserError, match="far outside"):
            resolve_scaling(image(data))

    def test_the_share_far_outside_is_that_of_finite_pixels(self):
        data = np.full((1, 100, 100), np.nan, np.float32)
        data[0, 0, :50] = 40
        with pytest.raises(UserError, match="channel 1 runs from 40 to 40"):
            resolve_scaling(image(data))


class TestAugmentation:
    def test_input_and_target_are_moved_and_turned_alike(self):
        image = torch.rand(1, 32, 32, generator=generator())
        augmentation = Augmentation(5, 30)
        draws = generator(3)
        for _ in range(20):
            input, target = augmentation(image.repeat(3, 1, 1), image.clone(), draws)
            assert torch.equal(input, target.expand(3, -1, -1))
        assert not torch.equal(target, image)

    def test_switched_off_it_returns_the_same_objects_and_draws_nothing(self):
        input, target, draws = torch.rand(3, 8, 8), torch.rand(1, 8, 8), generator()
        state = draws.get_state()
        output = Augmentation(0, 0)(input, target, draws)
        assert output[0] is input and output[1] is target
        assert torch.equal(draws.get_state(), state)

    def test_at_angle_0_and_shift_0_nothing_is_copied(self):
        image = torch.rand(3, 8, 8)
        assert rotate(image, 0) is image and shift(image, 0, 0) is image

    def test_rotation_by_90_degrees_is_that_of_the_image_plane_about_the_centre(self):
        image = torch.rand(3, 16, 16, generator=generator())
        assert torch.allclose(rotate(image, 90), torch.rot90(image, 1, (1, 2)), atol=1e-5)
        image = torch.rand(2, 15, 15, generator=generator())
        assert torch.allclose(rotate(image, -90), torch.rot90(image, -1, (1, 2)), atol=1e-5)

    def test_a_disk_about_the_centre_stays_where_it_is(self):
        y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
        disk = torch.exp(-(x ** 2 + y ** 2) / 200)[None]
        assert (rotate(disk, 33) - disk).abs().max() < 0.005

    def test_a_background_is_kept_to_the_border_in_every_channel(self):
        image = torch.stack([torch.full((32, 32), -1.0), torch.zeros(32, 32), torch.full((32, 32), 0.5)])
        assert torch.allclose(rotate(image, 20), image, atol=1e-6)

    def test_rotation_leaves_its_input_alone(self):
        image = torch.rand(1, 8, 8)
        before = image.clone()
        rotate(image, 10)
        assert torch.equal(image, before)

    @pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -4), (2, 5), (-3, 1), (-1, -6)])
    def test_a_shift_is_what_edge_padding_and_a_crop_give(self, down, right):
        image, size = torch.rand(2, 16, 16), 7
        padded = np.pad(image.numpy(), ((0, 0), (size, size), (size, size)), mode="edge")
        crop = padded[:, size - down:size - down + 16, size - right:size - right + 16]
        assert np.array_equal(shift(image, down, right).numpy(), crop)

    def test_every_crop_offset_is_equally_likely(self):
        y, x = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
        image, draws, augmentation = torch.stack([y, x]), generator(), Augmentation(2, 0)
        offsets = np.array([augmentation(image, image, draws)[0][:, 7, 7].tolist() for _ in range(2500)], int) - 7
        counts = np.array([np.sum((offsets == one).all(1)) for one in itertools.product(range(-2, 3), repeat=2)])
        assert counts.sum() == 2500
        assert ((counts - 100) ** 2 / 100).sum() < 52      # chi squared, 24 degrees of freedom, p = 0.001

    def test_angles_fill_the_range_on_both_sides(self, monkeypatch):
        angles = []
        monkeypatch.setattr("pix2pixcc.pipeline.rotate", lambda image, angle: angles.append(angle) or image)
        draws, image = generator(), torch.zeros(1, 4, 4)
        for _ in range(500):
            Augmentation(0, 10)(image, image, draws)
        assert angles[0::2] == angles[1::2]
        assert -10 <= min(angles) < -9.8 and 9.8 < max(angles) <= 10 and abs(np.mean(angles)) < 1


@pytest.fixture
def pairs(tmp_path) -> list[tuple[Path, Path]]:
    """Ten pairs of 16 pixels on a side, three channels and one; the first channel is the target."""
    made = []
    for k in range(10):
        data = np.random.default_rng(k).uniform(-1, 1, (3, 16, 16))
        made.append((tmp_path / "Input" / f"{k}.fits", tmp_path / "Target" / f"{k}.npy"))
        write_image(made[-1][0], data)
        write_image(made[-1][1], data[:1])
    return made


def dataset_of(pairs, **options) -> PairDataset:
    return PairDataset(pairs, input_ch=3, target_ch=1, target_scaling=PLAIN,
                       input_scaling=Scaling((-1.0,) * 3, (1.0,) * 3, (False,) * 3), **options)


class TestPairDataset:
    def test_an_item_is_a_scaled_pair_in_float32(self, pairs):
        dataset = PairDataset(pairs, input_ch=3, target_ch=1, target_scaling=Scaling((-2.0,), (2.0,), (False,)),
                              input_scaling=Scaling((-1.0,) * 3, (1.0,) * 3, (False,) * 3))
        item = dataset[(0, 4)]
        assert item["index"] == 4 and len(dataset) == 10
        assert item["input"].shape == (3, 16, 16) and item["input"].dtype == item["target"].dtype == torch.float32
        assert torch.allclose(item["target"], item["input"][:1] / 2)
        assert torch.equal(dataset[4]["input"], item["input"])

    def test_an_item_depends_on_seed_epoch_and_index_alone(self, pairs):
        dataset = dataset_of(pairs, augmentation=Augmentation(4, 20), seed=5)
        item = dataset[(2, 3)]["input"]
        dataset[(2, 4)]
        torch.rand(5)
        assert torch.equal(dataset[(2, 3)]["input"], item)
        for other in (dataset[(3, 3)], dataset_of(pairs, augmentation=Augmentation(4, 20), seed=6)[(2, 3)]):
            assert not torch.equal(other["input"], item)

    def test_nan_in_a_file_never_reaches_an_item(self, pairs):
        data = np.zeros((3, 16, 16))
        data[:, 2:5] = np.nan
        data[:, 7] = np.inf
        write_image(pairs[0][0], data)
        assert torch.equal(dataset_of(pairs)[0]["input"], torch.zeros(3, 16, 16))

    def test_another_size_is_refused_with_its_file_and_flag(self, pairs):
        write_image(pairs[1][1], np.zeros((1, 8, 8)))
        with pytest.raises(UserError, match=r"1\.npy is 8 x 8 pixels, --data_size is 16"):
            dataset_of(pairs, data_size=16)[1]

    def test_other_channels_name_the_side(self, pairs):
        write_image(pairs[1][1], np.zeros((2, 16, 16)))
        with pytest.raises(UserError, match=r"1\.npy is 2 x 16 x 16.*--target_ch"):
            dataset_of(pairs)[1]


def positions(stream: ImageStream, batches: int) -> list[tuple[int, int]]:
    return [key for batch in itertools.islice(stream, batches) for key in batch]


class TestImageStream:
    def test_every_epoch_holds_every_image_once_in_another_order(self):
        keys = positions(ImageStream(10, 3, seed=4), 10)
        epochs = [keys[start:start + 10] for start in (0, 10, 20)]
        assert [{epoch for epoch, _ in keys} for keys in epochs] == [{0}, {1}, {2}]
        assert [sorted(index for _, index in keys) for keys in epochs] == [list(range(10))] * 3
        assert len({tuple(index for _, index in keys) for keys in epochs}) == 3

    def test_seeds_give_other_orders_and_no_shuffle_the_order_of_the_files(self):
        assert positions(ImageStream(10, 5, seed=1), 2) != positions(ImageStream(10, 5, seed=2), 2)
        assert positions(ImageStream(3, 2, shuffle=False), 3) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]

    @pytest.mark.parametrize("batch_size", [1, 3, 4])
    @pytest.mark.parametrize("start", [0, 1, 7, 10, 17, 40])
    def test_it_goes_on_from_any_position_with_any_batch_size(self, start, batch_size):
        whole = positions(ImageStream(10, 1, seed=9), 80)
        resumed = positions(ImageStream(10, batch_size, seed=9, start=start), 10)
        assert resumed == whole[start:start + 10 * batch_size]

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_ranks_share_each_batch_in_order(self, world_size):
        whole = list(itertools.islice(ImageStream(10, 2 * world_size, seed=3, start=5), 8))
        ranks = [list(itertools.islice(ImageStream(10, 2, seed=3, start=5, rank=rank, world_size=world_size), 8))
                 for rank in range(world_size)]
        assert [list(itertools.chain(*shares)) for shares in zip(*ranks, strict=True)] == whole

    def test_it_stops_with_the_batch_that_reaches_the_end(self):
        for start, stop, batch_size, world_size in ((0, 40, 1, 1), (17, 40, 4, 1), (0, 10, 3, 2), (40, 40, 2, 1),
                                                    (50, 40, 2, 1)):
            stream = ImageStream(7, batch_size, start=start, stop=stop, world_size=world_size)
            batches = list(stream)
            assert len(batches) == max(0, -(-(stop - start) // (batch_size * world_size)))
            assert all(len(batch) == batch_size for batch in batches)

    def test_one_stream_can_be_read_twice(self):
        stream = ImageStream(5, 2, stop=10)
        assert list(stream) == list(stream)


class TestPadding:
    @pytest.mark.parametrize(("size", "multiple", "padded_size"),
                             [(30, 16, 32), (33, 16, 48), (1, 8, 8), (128, 32, 128)])
    def test_sides_become_multiples_and_the_crop_undoes_it(self, size, multiple, padded_size):
        image = torch.rand(2, 3, size, size)
        padded, crop = pad_to_multiple(image, multiple)
        assert padded.shape == (2, 3, padded_size, padded_size)
        assert torch.equal(padded[crop], image)
        assert torch.equal(padded[0, 0, 0, :1], image[0, 0, 0, :1])

    def test_what_fits_is_not_copied(self):
        image = torch.rand(3, 32, 64)
        padded, crop = pad_to_multiple(image, 16)
        assert padded is image and torch.equal(padded[crop], image)
