"""Which channels an input has, by its cards, and how they come into a model's order."""
import numpy as np
import pytest
from astropy.io import fits

from pix2pixcc.generation.channels import are_references, in_the_order_of
from pix2pixcc.images.cubes import Channel, set_channel_cards
from pix2pixcc.images.files import Image
from pix2pixcc.utils import UserError

NOW, BEFORE = "2011-03-05T12:04:03", "2011-02-13T09:19:20"
NAMES = {"3A": "STEREO/EUVI-A 304", "1A": "STEREO/EUVI-A 195", "7A": "STEREO/EUVI-A 171", "3B": "STEREO/EUVI-B 304",
         "1B": "STEREO/EUVI-B 195", "7B": "STEREO/EUVI-B 171", "3": "SDO/AIA 304", "1": "SDO/AIA 193",
         "7": "SDO/AIA 171", "2": "SDO/AIA 211", "m": "SDO/HMI magnetogram", "8A": "STEREO/EUVI-A 284",
         "s": "GOES/SUVI 304"}


def channels(text, timed=True):
    """'3A 1A' are EUVI-A 304 and 195 of now; '-3' is AIA 304 of an earlier day."""
    described = []
    for word in text.split():
        name, time = NAMES[word.lstrip("-")], (BEFORE if "-" in word else NOW) if timed else ""
        described.append(Channel.magnetogram(name, time) if "m" in word else Channel.euv(name, time))
    return described


def cube(text, size=4):
    """A cube whose channel k holds k."""
    described, header = channels(text), fits.Header()
    set_channel_cards(header, described)
    data = np.arange(len(described), dtype=np.float32)[:, None, None] * np.ones((size, size), np.float32)
    return Image(data, header, described, False, "x.fits")


@pytest.mark.parametrize("given, model, order", [
    ("3A 1A 7A", "3 1 7", [0, 1, 2]), ("7A 1A 3A", "3 1 7", [2, 1, 0]), ("1B 3B 7B", "3 1 7", [1, 0, 2]),
    ("7 3 1", "3 1 7", [1, 2, 0]), ("7 3 1", "3B 1B 7B", [1, 2, 0]), ("2 3", "3 2", [1, 0]),
    ("-3 -1 -7 -m 3A 1A 7A", "3 1 7 -3 -1 -7 -m", [4, 5, 6, 0, 1, 2, 3]),
    ("m 7 1 3 3B 1B 7B", "3 1 7 -3 -1 -7 -m", [4, 5, 6, 3, 2, 1, 0]),
    ("-m -3 3", "3 -3 -m", [2, 1, 0]), ("m", "m", [0]), ("m 3", "3 m", [1, 0])])
@pytest.mark.parametrize("timed", [True, False])
def test_channels_come_into_the_models_order_by_their_cards(given, model, order, timed):
    image = in_the_order_of(cube(given), channels(model, timed), 4)
    assert image.data[:, 0, 0].tolist() == order
    assert [channel.name for channel in image.channels] == [NAMES[given.split()[k].lstrip("-")] for k in order]
    assert [image.header[f"CHAN{k + 1}"] for k in range(len(order))] == [channel.name for channel in image.channels]


@pytest.mark.parametrize("given, model, words", [
    ("3A", "7", "channel 1 is STEREO/EUVI-A 304, the model's SDO/AIA 171"),
    ("3A 8A 7A", "3 1 7", "channel 2 is STEREO/EUVI-A 284, the model's SDO/AIA 193"),
    ("3A 1 7A", "3 1 7", "channel 2 is SDO/AIA 193 of an earlier day, the model's SDO/AIA 193"),
    ("1A 3B 7A", "3 1 7", "x.fits holds STEREO/EUVI-A 195, STEREO/EUVI-B 304"),
    ("3A 3A", "3 -3", "channel 2 is STEREO/EUVI-A 304, the model's SDO/AIA 304 of an earlier day"),
    ("s", "3", "GOES/SUVI 304"), ("3", "m", "SDO/HMI magnetogram"), ("7A 7A 1A", "7 1 1", "channel 2")])
def test_other_channels_are_refused_by_both_names(given, model, words):
    with pytest.raises(UserError, match="x.fits") as refused:
        in_the_order_of(cube(given), channels(model), 4)
    assert words in str(refused.value)


def test_another_size_is_refused_by_who_asks_for_it():
    with pytest.raises(UserError, match="x.fits is 4 pixels wide, this model was trained on 8"):
        in_the_order_of(cube("3"), channels("3"), 8)
    with pytest.raises(UserError, match="--data_size says 9"):
        in_the_order_of(cube("3"), channels("3"), 9, size_of="--data_size says")


@pytest.mark.parametrize("card", [{"lower": 2.0}, {"upper": 255.0}, {"scale": "linear"}])
def test_other_limits_are_refused(card):
    image = cube("3")
    other = Image(image.data, image.header, [Channel(**(image.channels[0].to_dict() | card))], False, "x.fits")
    with pytest.raises(UserError, match="x.fits: the cards of SDO/AIA 304 say .*, those of the training data 1 .. 200"):
        in_the_order_of(other, channels("3"), 4)


def test_a_fits_image_says_what_it_is_and_other_formats_cannot():
    image = cube("3")
    with pytest.raises(UserError, match="x.fits does not say what its channels are"):
        in_the_order_of(Image(image.data, fits.Header(), None, False, "x.fits"), channels("3"), 4)
    plain = Image(image.data, None, None, False, "x.npy")
    assert in_the_order_of(plain, channels("3"), 4) is plain and in_the_order_of(image, None, None) is image


@pytest.mark.parametrize("text, expected", [
    ("3A 1A 3 m", [False, False, True, True]), ("3 -3 -m", [False, True, True]), ("3 1", [False, False]),
    ("m", [False])])
def test_references_are_of_sdo_beside_stereo_or_of_an_earlier_day(text, expected):
    assert are_references(channels(text)) == expected
    assert are_references(channels(text, timed=False)) == expected
