"""Images, headers and channels to draw, and what stands on a figure."""
import math
from unittest import mock

import numpy as np
from astropy.io import fits

from pix2pixcc.images.cubes import Channel
from pix2pixcc.solar.geometry import AU_METRES, RSUN_METRES

SIZE = 64
DISTANCE = 1.0163 * AU_METRES
TIME = "2011-03-05T12:04:03"
EUVI = [Channel.euv(f"STEREO/EUVI-B {passband}", "2011-03-05T11:56:43") for passband in (304, 195, 171)]
FRONTSIDE = [Channel.euv(f"SDO/AIA {passband}", "2011-02-13T09:19:20") for passband in (304, 193, 171)]
FRONTSIDE.append(Channel.magnetogram("SDO/HMI magnetogram", "2011-02-13T10:34:12"))


def make_header(size=SIZE, roll=0.0, shift=(0.0, 0.0)):
    scale = 3600 * math.degrees(math.asin(RSUN_METRES / DISTANCE)) / (450 / 1024 * size)
    cosine, sine = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return fits.Header({
        "NAXIS": 2, "NAXIS1": size, "NAXIS2": size, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec",
        "CUNIT2": "arcsec", "CRPIX1": (size + 1) / 2 + shift[0], "CRPIX2": (size + 1) / 2 + shift[1], "CRVAL1": 0.0,
        "CRVAL2": 0.0, "CDELT1": scale, "CDELT2": scale, "PC1_1": cosine, "PC1_2": -sine, "PC2_1": sine,
        "PC2_2": cosine, "HGLN_OBS": -94.782, "HGLT_OBS": 1.0769, "DSUN_OBS": DISTANCE, "DATE-OBS": TIME,
        "OBSRVTRY": "STEREO_B"})


def make_disk(value=100.0, size=SIZE):
    rows, columns = np.indices((size, size))
    radius = np.hypot(rows - (size - 1) / 2, columns - (size - 1) / 2) / (450 / 1024 * size)
    return np.where(radius <= 0.98, value, 0.0).astype(np.float32)


def make_euv(count):
    rng = np.random.default_rng(1)
    return np.stack([make_disk() * rng.lognormal(0, 0.5, (SIZE, SIZE)).astype(np.float32) for _ in range(count)])


def make_magnetogram():
    return make_disk(1.0) * np.random.default_rng(2).normal(0, 60, (SIZE, SIZE)).astype(np.float32)


def panels(figure):
    """The panels by the first line of their titles; colour bars have none."""
    return {axes.get_title().splitlines()[0]: axes for axes in figure.axes if axes.get_title()}


def words(figure):
    """Every piece of text that is drawn, with its rectangle in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    with mock.patch.object(Text, "draw", autospec=True) as draw:
        canvas.draw()
    seen = [call.args[0] for call in draw.call_args_list]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in seen
            if text.get_visible() and text.get_text().strip()]


def overlaps(placed):
    """The pairs of words that are written over each other."""
    return [(text, other) for k, (text, box) in enumerate(placed) for other, beside in placed[k + 1:]
            if box.overlaps(beside)]
