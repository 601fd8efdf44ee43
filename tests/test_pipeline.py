"""Files to tensors: pairs, augmentation, datasets, and the stream of images."""
from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from pix2pixcc.images.files import write_image
from pix2pixcc.images.pairs import pair_files
from pix2pixcc.parallel.workers import error_of_worker
from pix2pixcc.pipeline import Augmentation, ImageStream, PairDataset, Scaling, pad_to_multiple, rotate, shift
from pix2pixcc.utils import UserError

PLAIN = Scaling((-1.0,), (1.0,), (False,))


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def names_of(pairs) -> list[tuple[str, str]]:
    return [(input.name, target.name) for input, target in pairs]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestPairs:
    def test_files_of_one_name_belong_together_whatever_their_order_and_format(self):
        pairs = pair_files(paths("b.fits", "a.fits.gz"), paths("a.png", "b.png"))
        assert names_of(pairs) == [("b.fits", "b.png"), ("a.fits.gz", "a.png")]

    @pytest.mark.parametrize(("input", "target"), [
        ("AIA_0001.fits", "HMI_0001.fits"), ("0001_input.png", "0001_target.png"), ("STEREO_A_0001.fits", "sdo.hmi.0001.fits"),
        ("aia_171_20110215_000012.fits", "hmi_m720s_20110215_000012.fits"), ("2011-02-15T00:00:12.fits", "m_20110215000012.fits"),
    ])
    def test_names_may_differ_by_instrument_or_agree_in_their_time(self, input, target):
        others = paths("aia_99_20120101_000000.fits"), paths("m_20120101_000000_hmi.fits")
        assert names_of(pair_files([Path(input), *others[0]], [*others[1], Path(target)])) \
            == [(input, target), ("aia_99_20120101_000000.fits", "m_20120101_000000_hmi.fits")]

    def test_files_without_a_partner_are_listed_up_to_ten(self):
        inputs, targets = [Path(f"{k:02}.fits") for k in range(15)], paths("00.fits", "lone.fits")
        with pytest.raises(UserError) as error:
            pair_files(inputs, targets)
        message = str(error.value)
        assert "14 input files without a target of their own (01.fits, 02.fits" in message and "10.fits, ...)" in message
        assert "11.fits" not in message and "1 target files without an input of their own (lone.fits)" in message

    def test_one_time_on_two_files_matches_neither(self):
        with pytest.raises(UserError, match=r"2 input files without a target.*x_20110101_000000.fits, y_20110101_000000.fits"):
            pair_files(paths("x_20110101_000000.fits", "y_20110101_000000.fits"), paths("z_20110101_000000.fits"))

    def test_two_files_of_one_name_are_refused(self):
        with pytest.raises(UserError, match=r"2 target files share their name with another \(a.fits, a.fits.gz\). Keep one"):
            pair_files(paths("a.fits"), paths("a.fits", "a.fits.gz"))


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
        assert not Augmentation(0, 0).is_on and Augmentation(1, 0).is_on and Augmentation(0, 1).is_on

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
        counts = np.array([[np.sum((offsets == (down, right)).all(1)) for right in range(-2, 3)] for down in range(-2, 3)])
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
    return PairDataset(pairs, input_ch=3, target_ch=1, input_scaling=Scaling((-1.0,) * 3, (1.0,) * 3, (False,) * 3), target_scaling=PLAIN,
                       **options)


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

    def test_batches_are_the_same_with_no_and_with_two_workers(self, pairs):
        dataset = dataset_of(pairs, augmentation=Augmentation(4, 20), seed=1)
        batches = [list(DataLoader(dataset, batch_sampler=ImageStream(10, 4, seed=1, stop=28), num_workers=workers)) for workers in (0, 2)]
        assert len(batches[0]) == 7
        for one, other in zip(*batches, strict=True):
            assert all(torch.equal(one[key], other[key]) for key in ("input", "target", "index"))

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

    def test_the_message_of_a_worker_is_the_original_one(self, pairs):
        pairs[0][0].write_text("no FITS")
        try:
            dataset_of(pairs)[0]
        except UserError:
            handed_on = ExceptionWrapper(where="in DataLoader worker process 0")
        with pytest.raises(UserError, match=r"(?s)Original Traceback.*not begin with SIMPLE") as error:
            handed_on.reraise()
        message = str(error_of_worker(error.value))
        assert message == f"{pairs[0][0]} is not a FITS file: it does not begin with SIMPLE; choose another file or format"
        assert str(error_of_worker(UserError(message))) == message


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
        for start, stop, batch_size, world_size in ((0, 40, 1, 1), (17, 40, 4, 1), (0, 10, 3, 2), (40, 40, 2, 1), (50, 40, 2, 1)):
            stream = ImageStream(7, batch_size, start=start, stop=stop, world_size=world_size)
            batches = list(stream)
            assert len(batches) == len(stream) == max(0, -(-(stop - start) // (batch_size * world_size)))
            assert all(len(batch) == batch_size for batch in batches)

    def test_without_an_end_it_has_no_length(self):
        with pytest.raises(TypeError, match="endless"):
            len(ImageStream(10, 1))

    def test_one_stream_can_be_read_twice(self):
        stream = ImageStream(5, 2, stop=10)
        assert list(stream) == list(stream)


class TestPadding:
    @pytest.mark.parametrize(("size", "multiple", "padded_size"), [(30, 16, 32), (33, 16, 48), (1, 8, 8), (128, 32, 128)])
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
