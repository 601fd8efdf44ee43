"""Headers damaged in one keyword each, of AIA, HMI and EUVI files."""
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from observation_files import AIA, EUVI_A, magnetogram_header, real_header, rescaled

from pix2pixcc.preparation.cubes import IncompleteGroup, prepare_group
from pix2pixcc.preparation.index import Record, record_of_header
from pix2pixcc.preparation.pairing import farside_groups, frontside_pairs
from pix2pixcc.solar.observations import observation_of

SIZE = 32
MISSING = fits.card.UNDEFINED
ODD = (None, MISSING, "", "  ", "nan", "(MISSING)", "inf", "abc", "1e999", 0, -1, 1, 1e30, -1e30, 1e-30, 10 ** 15, 7.5,
       True, False, "0x400", "2011-02-15", "-4712.01.01_11:59:28_TAI", "9999-12-31T23:59:59", "HPLN-CAR")


def _field(size):
    rows, columns = np.indices((size, size)) / size
    return (100 * np.sin(9 * rows) * np.cos(7 * columns)).astype(np.float32)


def originals():
    """The image and header of each instrument."""
    euvi, aia, hmi = real_header(EUVI_A), real_header(AIA), rescaled(magnetogram_header(), 128)
    hmi["DATE-OBS"], hmi["T_OBS"] = "2011-02-15T00:00:00.00", "2011.02.15_00:00:57_TAI"
    return {"AIA": (fits.getdata(AIA).astype(np.float32), aia), "HMI": (_field(128), hmi),
            "EUVI": (fits.getdata(EUVI_A).astype(np.float32), euvi)}


def cases():
    """Instrument, keyword and value, every one of them; values that a header cannot hold are left out."""
    for instrument, (_, header) in originals().items():
        for keyword in dict.fromkeys(header):
            if keyword and keyword not in ("SIMPLE", "BITPIX", "NAXIS", "COMMENT", "HISTORY", "EXTEND"):
                yield from ((instrument, keyword, value) for value in ODD)


def with_oddity(header, keyword, value):
    header = header.copy()
    if value is None:
        del header[keyword]
    else:
        header[keyword] = value
    return header


def outcome(images, instrument, keyword, value):
    """Index the odd file among good ones, group, and make the cubes: what became of the odd and of the good file.

    The good file of the odd one's instrument is of three days before; whatever is raised is a fault.
    """
    held = {name: image for name, image in images.items() if name != instrument}
    data, header = images[instrument]
    early = header.copy()
    for card in ("DATE-OBS", "DATE-AVG", "T_OBS"):
        if card in early:
            early[card] = early[card].replace("02-15", "02-12").replace("02.15", "02.12")
    held |= {"good": (data, early), "odd": (data, with_oddity(header, keyword, value))}
    for name in {"AIA", "HMI"} - {instrument}:        # the partner of a pair
        partner = images[name][1].copy()
        for card in ("DATE-OBS", "T_OBS"):
            partner[card] = partner[card].replace("02-15", "02-12").replace("02.15", "02.12")
        held[f"early {name}"] = (images[name][0], partner)
    records = [replace(record_of_header(Record(name, 1, 1.0), one), path=name) for name, (_, one) in held.items()]
    if instrument == "EUVI":
        groups, _ = farside_groups(records, ["STEREO/EUVI 171"])
    else:
        pairs, _ = frontside_pairs(records, ["171"])
        groups = [group for pair in pairs for group in (pair.input, pair.target)]
    done = set()
    for group in groups:
        try:
            prepared = prepare_group(group, SIZE, read=lambda name: observation_of(*held[name], Path(name)))
        except IncompleteGroup:
            continue
        assert np.isfinite(prepared.data).all() and prepared.data.any()
        assert prepared.header["DATE-OBS"].startswith("2011-02-1"), prepared.header["DATE-OBS"]
        done |= {record.path for record in prepared.sources}
    return "odd" in done, "good" in done
