"""One file of nine formats to one float32 array, and back; no file gets memory or a pickle loaded beyond its due."""
from __future__ import annotations

import contextlib
import gzip
import os
import pickle
import random
import resource
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
import torch
from astropy.io import fits
from PIL import Image as PillowImage

from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.images.files import list_images, read_image, write_image
from pix2pixcc.utils import FITS_FORMATS, FORMATS, UserError, format_of

EXACT = (*FITS_FORMATS, "npy", "tif", "tiff")


def pixels(channels: int, size: int = 16, scale: float = 200.0) -> np.ndarray:
    return (np.random.default_rng(channels).random((channels, size, size)) * scale).astype(np.float32)


@contextlib.contextmanager
def memory_limit(spare_bytes: int):
    """Let the process take no more than this beyond what it has."""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("only Linux tells in this way how much memory a process has")
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + spare_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("extension", [*EXACT, "fits.gz"])
def test_float_formats_give_back_what_was_written(tmp_path, extension, channels):
    data = pixels(channels) - 100
    write_image(tmp_path / f"a.{extension}", data)
    image = read_image(tmp_path / f"a.{extension}", channels)
    assert np.array_equal(image.data, data)
    assert image.data.dtype == np.float32 and image.data.flags.c_contiguous and image.data.flags.writeable
    assert not image.is_8bit


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("extension", "tolerance"), [("png", 0.5), ("jpg", 3), ("jpeg", 3)])
def test_8_bit_formats_round_clip_and_take_nan_as_0(tmp_path, extension, tolerance, channels):
    data = np.repeat(np.linspace(0, 255, 16, dtype=np.float32)[None, None], channels, axis=0).repeat(16, axis=1)
    write_image(tmp_path / f"a.{extension}", data)
    image = read_image(tmp_path / f"a.{extension}", channels)
    assert image.is_8bit
    assert np.abs(image.data - data).max() <= tolerance
    beyond = np.full((channels, 16, 16), 300.0)
    beyond[:, :8] = -5
    beyond[:, :, :8] = np.nan
    write_image(tmp_path / f"b.{extension}", beyond)
    back = read_image(tmp_path / f"b.{extension}", channels).data
    assert back[:, 8:, 8:].min() == 255 and back[:, :8].max() == 0 and back[:, :, :8].max() == 0


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_pictures_of_seven_channels_are_refused_with_the_formats_that_hold_them(tmp_path, extension):
    message = f"{extension} holds 1 or 3 channels, not 7; use --data_format_target fits, npy or tif"
    with pytest.raises(UserError, match=message):
        write_image(tmp_path / f"a.{extension}", pixels(7))
    assert not list(tmp_path.iterdir())


def test_an_unknown_extension_is_not_written(tmp_path):
    with pytest.raises(UserError, match="unknown format; name it with one of tif, tiff"):
        write_image(tmp_path / "a.bmp", pixels(1))


def test_the_header_is_written_and_fits_the_data(tmp_path):
    header = fits.Header({"NAXIS": 3, "NAXIS3": 7, "BITPIX": 16, "OBSERVER": "SDO"})
    write_image(tmp_path / "a.fits", pixels(1), header)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert hdus[0].shape == (16, 16) and hdus[0].header["BITPIX"] == -32 and hdus[0].header["OBSERVER"] == "SDO"
    assert read_image(tmp_path / "a.fits", 1).header["OBSERVER"] == "SDO"


@pytest.mark.parametrize("kind", [">f4", "<f4", ">f8", "<i2", ">i4", "<u2", "|u1", "<f2", "|b1", "<i8"])
def test_every_number_type_and_byte_order_becomes_native_float32(tmp_path, kind):
    data = pixels(3).astype(kind)
    np.save(tmp_path / "a.npy", data)
    image = read_image(tmp_path / "a.npy", 3)
    assert np.array_equal(image.data, data.astype(np.float32)) and image.data.dtype == np.dtype("=f4")
    assert image.is_8bit == (kind == "|u1")


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_fits_integers_and_floats_are_read_through_their_scale(tmp_path, kind):
    data = pixels(1)[0].astype(kind)
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    assert np.array_equal(read_image(tmp_path / "a.fits", 1).data[0], data.astype(np.float32))


def test_fortran_order_is_undone(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels(7)))
    assert np.array_equal(read_image(tmp_path / "a.npy", 7).data, pixels(7))


@pytest.mark.parametrize("arrange", [lambda a: a, lambda a: np.moveaxis(a, 0, -1)], ids=["first", "last"])
@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("extension", ["fits", "npy", "tif"])
def test_the_channel_axis_is_found_first_or_last(tmp_path, extension, channels, arrange):
    path, data = tmp_path / f"a.{extension}", np.ascontiguousarray(arrange(pixels(channels)))
    if extension == "fits":
        fits.PrimaryHDU(data).writeto(path)
    elif extension == "npy":
        np.save(path, data)
    else:
        tifffile.imwrite(path, data, photometric="minisblack")
    assert np.array_equal(read_image(path, channels).data, pixels(channels))


@pytest.mark.parametrize("shape", [(7, 8, 9), (8, 7, 8), (2, 8, 8), (8, 8), (1, 7, 8, 8), (8,), ()])
def test_a_shape_without_the_channels_is_refused_with_file_shape_and_flag(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape, np.float32))
    text = " x ".join(map(str, shape)) or "a single number"
    with pytest.raises(UserError, match=rf"a\.npy is {text}.*(--target_ch|must be square)"):
        read_image(tmp_path / "a.npy", 7, side="target")


@pytest.mark.parametrize(("shape", "channels"), [((8, 9), 1), ((3, 8, 16), 3), ((0, 0), 1), ((3, 0, 0), 3)])
def test_images_must_be_square_and_hold_pixels(tmp_path, shape, channels):
    np.save(tmp_path / "a.npy", np.ones(shape, np.float32))
    with pytest.raises(UserError, match="images must be square and hold pixels; crop or register it first"):
        read_image(tmp_path / "a.npy", channels)


def test_a_channel_without_a_finite_pixel_is_refused(tmp_path):
    data = pixels(3)
    data[1] = np.nan
    write_image(tmp_path / "a.fits", data)
    with pytest.raises(UserError, match=r"a\.fits: channel 2 holds no finite pixel"):
        read_image(tmp_path / "a.fits", 3)
    data[1, 3, 5] = 1
    write_image(tmp_path / "a.fits", data)
    assert np.isnan(read_image(tmp_path / "a.fits", 3).data).sum() == 255


def test_a_cube_says_what_its_channels_are(tmp_path):
    time = "2011-02-15T00:00:00"
    channels = [Channel.euv("SDO/AIA 171", time), Channel.magnetogram("SDO/HMI magnetogram", time)]
    write_cube(tmp_path / "a.fits", pixels(2), fits.Header(), channels)
    assert read_image(tmp_path / "a.fits", 2).channels == channels
    write_image(tmp_path / "b.fits", pixels(2))
    assert read_image(tmp_path / "b.fits", 2).channels is None
    header = fits.getheader(tmp_path / "a.fits")
    header["CLOW2"] = "low"
    write_image(tmp_path / "c.fits", pixels(2), header)
    with pytest.raises(UserError, match=r"c\.fits: the cards CHAN1\.\.CSCALE2 cannot be read"):
        read_image(tmp_path / "c.fits", 2)


def png_16_bit_colour(data: np.ndarray) -> bytes:
    """A PNG of (3, H, W) as the standard writes it; Pillow cannot."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    rows = b"".join(b"\0" + row.tobytes() for row in np.moveaxis(data, 0, -1).astype(">u2"))
    header = struct.pack(">IIBBBBB", data.shape[2], data.shape[1], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_png_keeps_its_16_bits_in_grey_and_colour(tmp_path):
    data = pixels(3, scale=65535).astype(np.uint16)
    PillowImage.fromarray(data[0]).save(tmp_path / "grey.png")
    (tmp_path / "colour.png").write_bytes(png_16_bit_colour(data))
    assert np.array_equal(read_image(tmp_path / "grey.png", 1).data, data[:1])
    image = read_image(tmp_path / "colour.png", 3)
    assert np.array_equal(image.data, data) and not image.is_8bit


def test_black_and_white_and_palette_png_become_grey_and_colour(tmp_path):
    PillowImage.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", 1).data[0], 255 * np.eye(8))
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:4, :, 1] = 200
    PillowImage.fromarray(colour).quantize(4).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png", 3).data, np.moveaxis(colour, -1, 0))


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}, {"planarconfig": "separate"}, {"tile": (16, 16)},
                                     {"bigtiff": True}, {"byteorder": ">"}], ids=str)
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_tiff_of_seven_samples_or_pages(tmp_path, kind, options):
    data = pixels(7).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", **options)
    assert np.array_equal(read_image(tmp_path / "a.tif", 7).data, data)


@pytest.mark.parametrize(("kind", "compression"), [(np.uint16, "tiff_lzw"), (np.float32, "tiff_lzw"),
                                                     (np.uint8, "tiff_lzw"), (np.uint8, None)])
def test_tiff_as_other_programs_compress_it(tmp_path, kind, compression):
    data = pixels(1)[0].astype(kind)
    PillowImage.fromarray(data).save(tmp_path / "a.tif", compression=compression)
    image = read_image(tmp_path / "a.tif", 1)
    assert np.array_equal(image.data[0], data) and image.is_8bit == (kind is np.uint8)


def test_tiff_with_pages_of_unequal_type_or_a_palette_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(pixels(1)[0])
        tiff.write(pixels(1)[0].astype(np.uint16))
    with pytest.raises(UserError, match="pages of unequal size or type; give one page a channel"):
        read_image(tmp_path / "a.tif", 2)
    PillowImage.fromarray(pixels(1)[0].astype(np.uint8)).convert("P").save(tmp_path / "b.tif")
    with pytest.raises(UserError, match="palette colours; convert it to grey or RGB"):
        read_image(tmp_path / "b.tif", 1)


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_loaded_and_the_message_says_so(tmp_path):
    trap = Trap(tmp_path / "sprung")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(trap))
    np.save(tmp_path / "object.npy", np.array([trap], dtype=object), allow_pickle=True)
    for name in ("pickle.npy", "object.npy"):
        with pytest.raises(UserError, match=f"{name} holds pickled Python objects, which are never loaded"):
            read_image(tmp_path / name, 1)
    torch.save({"a": trap}, tmp_path / "torch.npy")
    np.savez(tmp_path / "arrays.npz", a=np.array([trap], dtype=object))
    os.rename(tmp_path / "arrays.npz", tmp_path / "arrays.npy")
    for name in ("torch.npy", "arrays.npy"):
        with pytest.raises(UserError, match=f"{name} is an archive"):
            read_image(tmp_path / name, 1)
    for name in ("pickle", "object", "torch", "arrays"):
        for extension in ("fits", "tif", "png"):
            os.symlink(tmp_path / f"{name}.npy", tmp_path / f"{name}.{extension}")
            with pytest.raises(UserError):
                read_image(tmp_path / f"{name}.{extension}", 1)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [np.array(["text"] * 4).reshape(2, 2), np.ones((2, 2), complex),
                                     np.zeros((2, 2), [("a", "f4")])],
                         ids=["text", "complex", "records"])
def test_arrays_of_no_numbers_are_refused(tmp_path, content):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(UserError, match=r"not npy \(its pixels are of type .*, not numbers\)"):
        read_image(tmp_path / "a.npy", 1)


def fits_bomb(path, **cards):
    fits.PrimaryHDU(np.zeros((2, 2), np.float32)).writeto(path)
    data = path.read_bytes()
    for keyword, value in cards.items():
        start = data.index(keyword.ljust(8).encode() + b"=")
        data = data[:start + 10] + str(value).rjust(20).encode() + data[start + 30:]
    path.write_bytes(data)


def bombs(folder):
    """Small files that declare gigabytes."""
    fits_bomb(folder / "wide.fits", NAXIS1=10**9)
    fits_bomb(folder / "wider.fits", NAXIS1=10**9, NAXIS2=10**9)
    fits_bomb(folder / "square.fits", NAXIS1=16000, NAXIS2=16000)
    (folder / "zipped.fits.gz").write_bytes(gzip.compress((folder / "square.fits").read_bytes()))
    for name, shape in (("square.npy", (16000, 16000)), ("huge.npy", (2**40, 2**40))):
        with open(folder / name, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    empty = png_16_bit_colour(np.zeros((3, 4, 4)))
    start = empty[12:16] + struct.pack(">II", 13000, 13000) + empty[24:29]
    (folder / "square.png").write_bytes(empty[:12] + start + struct.pack(">I", zlib.crc32(start)) + empty[33:])
    tifffile.imwrite(folder / "square.tif", np.zeros((16, 16), np.float32))
    tiff = bytearray((folder / "square.tif").read_bytes())
    for tag in (256, 257):
        long, short = struct.pack("<HHI", tag, 4, 1), struct.pack("<HHI", tag, 3, 1)
        start = tiff.index(long if long in tiff else short)
        tiff[start:start + 12] = struct.pack("<HHII", tag, 4, 1, 16000)
    (folder / "square.tif").write_bytes(tiff)
    PillowImage.new("L", (8, 8)).save(folder / "square.jpg")
    jpeg = (folder / "square.jpg").read_bytes()
    start = jpeg.index(b"\xff\xc0") + 5
    (folder / "square.jpg").write_bytes(jpeg[:start] + struct.pack(">HH", 16000, 16000) + jpeg[start + 4:])


def test_header_bombs_are_refused_before_any_memory_is_taken(tmp_path):
    bombs(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 9 and max(path.stat().st_size for path in paths) < 10_000
    for path in paths:
        tracemalloc.start()
        try:
            with memory_limit(64 << 20), pytest.raises(UserError, match=r"declares|truncated|mmap|damaged") as error:
                read_image(path, 3 if path.name == "square.png" else 1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "MemoryError" not in str(error.value) and "allocate" not in str(error.value)
        assert peak < 4 << 20, f"{path.name}: {peak} bytes"


def test_a_side_beyond_16384_pixels_is_refused(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (20000, 20000)})
        file.truncate(20000 * 20000 + 200)
    with pytest.raises(UserError, match="declares 20000 x 20000 pixels, more than 16384 on a side"):
        read_image(tmp_path / "a.npy", 1)


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "nowhere.fits").symlink_to(tmp_path / "gone")
    for name, message in (("pipe", "is not a regular file"), ("folder", "is not a regular file"),
                          ("nowhere", "No such file or directory. Check the name, the link behind it")):
        with pytest.raises(UserError, match=message):
            read_image(tmp_path / f"{name}.fits", 1)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_text_or_an_empty_file_by_any_extension_is_named_with_the_way_out(tmp_path, extension):
    for content in (b"", b"hello, Sun\n" * 1000):
        (tmp_path / f"a b\nc.{extension}").write_bytes(content)
        with pytest.raises(UserError, match=r"replace it with a good copy|choose another file") as error:
            read_image(tmp_path / f"a b\nc.{extension}", 1)
        assert f"a b\nc.{extension}" in str(error.value)


def test_an_unknown_extension_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.bmp: unknown format; it should be one of tif, tiff, png"):
        read_image(tmp_path / "a.bmp", 1)


def damaged(data: bytes, chance: random.Random) -> bytes:
    kind, content = chance.randrange(5), bytearray(data)
    if kind == 0:
        return bytes(content[:chance.randrange(len(content))])
    if kind == 1:
        for _ in range(chance.randrange(1, 8)):
            content[chance.randrange(min(len(content), 3000))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        for _ in range(chance.randrange(1, 30)):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif kind == 3:
        digits = [place for place, byte in enumerate(content[:12000]) if 48 <= byte <= 57] or [0]
        for _ in range(4):
            content[chance.choice(digits)] = 48 + chance.randrange(10)
    else:
        place = chance.randrange(len(content))
        content[place:place + 8] = chance.choice([b"\xff" * 8, b"\0" * 8, b"99999999"])
    return bytes(content)


def test_400_damaged_files_are_read_or_refused_and_nothing_else(tmp_path):
    chance = random.Random(11)
    originals = []
    for extension in (*FORMATS, "fits.gz"):
        write_image(tmp_path / f"good.{extension}", pixels(3))
        originals.append((extension, (tmp_path / f"good.{extension}").read_bytes()))
    fits.CompImageHDU(pixels(3).astype(np.int16)).writeto(tmp_path / "rice.fits")
    originals.append(("fits", (tmp_path / "rice.fits").read_bytes()))
    refused = 0
    with memory_limit(512 << 20):
        for number in range(400):
            extension, data = chance.choice(originals)
            path = tmp_path / f"bad{number}.{extension}"
            path.write_bytes(damaged(data, chance))
            try:
                image = read_image(path, 3)
                assert image.data.dtype == np.float32 and image.data.shape[0] == 3
            except UserError as error:
                assert path.name in str(error) and "MemoryError" not in str(error)
                refused += 1
    assert refused > 150


def test_formats_are_known_by_extension():
    names = {"a.fits": "fits", "a.FTS": "fts", "b.fits.gz": "fits", "c.fit.fz": "fit", "g.JPEG": "jpeg",
             "d.png.gz": "", "e.txt": "", "f": "", "h.gz": ""}
    assert {name: format_of(name) for name in names} == names


def test_images_are_listed_in_natural_order_without_hidden_files_and_folders(tmp_path):
    for name in ("b10.fits", "b9.fits", "c.FITS", "d.fits.gz", "e.fits.fz", ".part-x.fits", "f.png", "g.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "broken.fits").symlink_to(tmp_path / "gone")
    found = [path.name for path in list_images(tmp_path, "fits")]
    assert found == ["b9.fits", "b10.fits", "broken.fits", "c.FITS", "d.fits.gz", "e.fits.fz"]


def test_a_folder_without_such_images_says_what_it_holds(tmp_path):
    with pytest.raises(UserError, match=r"--data_format_input bmp: unknown format; choose one of tif"):
        list_images(tmp_path, "bmp")
    with pytest.raises(UserError, match=r"holds no .tif files \(it holds no images, or choose another folder\)"):
        list_images(tmp_path, "tif")
    (tmp_path / "a.tiff").touch()
    with pytest.raises(UserError, match=r"holds no .tif files \(it holds tiff: set --data_format_target tiff"):
        list_images(tmp_path, "tif", side="target")
    message = "cannot list .*gone: No such file or directory. Set --target_dir_train or --target_dir_test"
    with pytest.raises(UserError, match=message):
        list_images(tmp_path / "gone", "tif", side="target")
