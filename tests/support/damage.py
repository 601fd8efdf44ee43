"""Files as archives, disks and strangers damage them, made from good ones, by a seed."""
import gzip
import io
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image as PillowImage

# Names that have broken programs before. Each takes a stem of its own, so that all can lie in one folder.
NAMES = ("{}", "{} with spaces", "{}_ünïcödé_太陽", "{}\nnewline", "{}'quote\"", "-{}", "{};rm -rf", "{}%s%d{{}}",
         "{}<script>", "{}\t",
         "{}" + "x" * 180, "{}\udcff", "{}..", "${{{}}}", "{}\u202e", "{}#?&")


class Trap:
    """What is unpickled of it makes a folder named as the trap: it is never to appear."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def originals(data_format, channels, size):
    """Good images of a format, in each of its kinds, as bytes."""
    random = np.random.default_rng(3)
    image = np.abs(random.normal(60, 20, (channels, size, size))).clip(1, 199).astype(np.float32)
    plane = image[0] if channels == 1 else image
    if data_format in ("fits", "fts", "fit"):
        kinds = [[fits.PrimaryHDU(plane)], [fits.PrimaryHDU(), fits.ImageHDU(plane.astype(np.int16))],
                 [fits.PrimaryHDU(), fits.CompImageHDU(plane.astype(np.int32), compression_type="RICE_1")]]
        files = [_written(lambda file, hdus=hdus: fits.HDUList(hdus).writeto(file)) for hdus in kinds]
        return [*files, gzip.compress(files[0])]
    if data_format == "npy":
        return [_written(lambda file: np.save(file, plane)),
                _written(lambda file: np.save(file, plane.astype(">f8").transpose()))]
    if data_format in ("tif", "tiff"):
        return [_written(lambda file: tifffile.imwrite(file, plane, photometric="minisblack")),
                _written(lambda file: tifffile.imwrite(file, plane.astype(np.uint16), photometric="minisblack",
                                                       compression="zlib"))]
    bytes_ = plane.astype(np.uint8)
    picture = PillowImage.fromarray(bytes_ if channels == 1 else bytes_.transpose(1, 2, 0))
    kind = "JPEG" if data_format in ("jpg", "jpeg") else "PNG"
    return [_written(lambda file: picture.save(file, kind)),
            _written(lambda file: picture.convert("L").save(file, kind, progressive=True))]


def _written(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def damaged(data, chance):
    """`data` cut off, with flipped bits in its head or anywhere, with other digits, or overwritten in one place."""
    kind, content = chance.randrange(6), bytearray(data)
    if kind == 0:
        return bytes(content[:chance.randrange(len(content))])
    if kind == 1:
        for _ in range(chance.randrange(1, 8)):
            content[chance.randrange(min(len(content), 3000))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        for _ in range(chance.randrange(1, 30)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == 3:
        digits = [place for place, byte in enumerate(content[:12000]) if 48 <= byte <= 57] or [0]
        for _ in range(4):
            content[chance.choice(digits)] = 48 + chance.randrange(10)
    elif kind == 4:
        place = chance.randrange(len(content))
        content[place:place + 8] = chance.choice([b"\xff" * 8, b"\0" * 8, b"99999999"])
    else:
        place = chance.randrange(len(content))
        del content[place:place + chance.randrange(1, 3000)]
    return bytes(content)


def strange(data_format, size, trap):
    """Contents that were never an image of the format, or are one that cannot be used."""
    image = np.ones((size, size), np.float32)
    contents = [b"", b"\0", b"hello, Sun\n" * 300, b"<html><body>404 Not Found</body></html>", os.urandom(5000),
                b"\0" * 5000,
                pickle.dumps({"state": Trap(trap)}), _archive(trap), *originals("png", 1, size)[:1],
                *originals("npy", 1, size)[:1]]
    arrays = [np.full((size, size), np.nan, np.float32), np.full((size, size), np.inf, np.float32),
              image[None, None, None],
              image[:, :-3], image[:0, :0], np.ones((5, size, size), np.float32), image[0], image * 1e38]
    if data_format in ("fits", "fts", "fit"):
        contents += [_written(fits.PrimaryHDU(array).writeto) for array in arrays]
        contents += [_header(NAXIS=2, NAXIS1=10**9, NAXIS2=10**9), _header(NAXIS=2, NAXIS1=0, NAXIS2=0),
                     _header(NAXIS=2, NAXIS1=-5, NAXIS2=5), _header(NAXIS=999),
                     _header(NAXIS=2, NAXIS1=16000, NAXIS2=16000),
                     _header(NAXIS=2, NAXIS1=2**40, NAXIS2=1),
                     gzip.compress(_header(NAXIS=2, NAXIS1=16000, NAXIS2=16000) + bytes(1 << 20)),
                     _written(fits.HDUList([fits.PrimaryHDU(), _object_table()]).writeto)]
    elif data_format == "npy":
        contents += [_written(lambda file, array=array: np.save(file, array)) for array in arrays]
        contents += [_written(lambda file: np.save(file, np.array([Trap(trap)], object), allow_pickle=True)),
                     _written(lambda file: np.savez(file, image=image)), _npy_header((10**9, 10**9)),
                     _npy_header((16000, 16000)),
                     _npy_header((size, size), "<c16") + bytes(16 * size * size), _npy_header((0, 0)),
                     _npy_header((-4, 4)),
                     _npy_header((size, size), "<U8") + bytes(32 * size * size), _npy_header((size, size), "|O")]
    elif data_format in ("tif", "tiff"):
        contents += [_written(lambda file, array=array: tifffile.imwrite(file, array)) for array in arrays
                     if array.size]
    else:
        contents += [_picture_of_size(data_format, 60000, 60000), _picture_of_size(data_format, 0, 0)]
    return contents


def _archive(trap):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap(trap), protocol=2))
        archive.writestr("archive/version", "3")
    return file.getvalue()


def _object_table():
    table = fits.BinTableHDU.from_columns([fits.Column("DATA", "100A", array=[pickle.dumps({})])])
    table.header["ZIMAGE"] = True
    return table


def _header(**cards):
    text = f"{'SIMPLE':8}= {'T':>20}".ljust(80) + f"{'BITPIX':8}= {-32:>20}".ljust(80)
    text += "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items()) + "END"
    return text.ljust(2880).encode() + bytes(2880)


def _npy_header(shape, descr="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


def _picture_of_size(data_format, width, height):
    data = bytearray(originals(data_format, 1, 16)[0])
    if data_format == "png":
        data[16:24] = struct.pack(">II", width, height)
    else:
        start = data.index(b"\xff\xc0") + 5
        data[start:start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def write_damaged(folder, number, extension, good, contents, chance):
    """Write about `number` bad files into `folder`, a dangling link, a folder, a pipe and an unreadable one among them.

    Returns
    -------
    list of Path
        All that were made, good or bad: nobody can tell what a flipped bit has done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []

    def new():
        stem = NAMES[len(paths) % len(NAMES)].format(f"bad{len(paths)}")
        paths.append(folder / f"{stem}.{extension}")
        return paths[-1]

    for content in contents:
        new().write_bytes(content)
    new().symlink_to(folder / "gone")
    new().symlink_to(paths[-1])
    new().mkdir()
    os.mkfifo(new())
    new().write_bytes(good[0])
    paths[-1].chmod(0)
    while len(paths) < number:
        new().write_bytes(damaged(chance.choice(good), chance))
    return paths


def chances(seed):
    return random.Random(seed)
