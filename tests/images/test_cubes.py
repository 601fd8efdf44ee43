"""The model-ready file describes itself, and says so after a round trip."""
import numpy as np
import pytest
from astropy.io import fits

from pix2pixcc.images.cubes import Channel, read_channel_cards, set_channel_cards, write_cube

CHANNELS = [Channel.euv("STEREO/EUVI-B 304", "2011-03-05T11:56:43"),
            Channel.euv("STEREO/EUVI-B 195", "2011-03-05T12:00:58"),
            Channel.magnetogram("SDO/HMI magnetogram", "2011-02-13T10:34:12", series="M45s")]


def test_a_cube_is_float32_channels_first_and_says_what_it_holds(tmp_path):
    data = np.arange(48, dtype=np.float64).reshape(3, 4, 4)
    write_cube(tmp_path / "new" / "cube.fits", data, fits.Header({"HGLN_OBS": -94.8}), CHANNELS)
    with fits.open(tmp_path / "new" / "cube.fits", checksum=True) as hdus:
        assert len(hdus) == 1 and hdus[0].header["BITPIX"] == -32 and hdus[0].header["HGLN_OBS"] == -94.8
        assert np.array_equal(hdus[0].data, data)
        assert read_channel_cards(hdus[0].header, 3) == CHANNELS
        assert hdus[0].header["CHAN1"] == "STEREO/EUVI-B 304" and hdus[0].header["CSCALE1"] == "log10"
        assert (hdus[0].header["CLOW1"], hdus[0].header["CHIGH1"]) == (1.0, 200.0)
        limits = [hdus[0].header[key] for key in ("CLOW3", "CHIGH3", "CSCALE3")]
        assert limits == [-1500.0, 1500.0, "linear"]


def test_the_given_header_is_left_alone(tmp_path):
    header = fits.Header()
    write_cube(tmp_path / "cube.fits", np.zeros((3, 2, 2)), header, CHANNELS)
    assert len(header) == 0


def test_cards_of_some_channels_only_describe_nothing():
    header = fits.Header()
    set_channel_cards(header, CHANNELS[:2])
    assert read_channel_cards(header, 2) == CHANNELS[:2]
    assert read_channel_cards(header, 3) is None


@pytest.mark.parametrize("channel, expected", [(CHANNELS[0], False), (CHANNELS[2], True),
                                               (Channel("magnetogram"), True)])
def test_a_magnetogram_is_known_by_its_name(channel, expected):
    assert channel.is_magnetogram is expected


def test_a_channel_goes_through_json():
    assert Channel(**CHANNELS[2].to_dict()) == CHANNELS[2]
