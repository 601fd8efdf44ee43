"""The whole data set is read once before the first step; bad files are named, good ones remembered."""
from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pix2pixcc.images import verification
from pix2pixcc.images.cubes import Channel, write_cube
from pix2pixcc.images.files import read_image, write_image
from pix2pixcc.images.verification import Summary, verify_dataset
from pix2pixcc.pipeline import Scaling
from pix2pixcc.utils import UserError

FLAGS = {"input_ch": 2, "target_ch": 1, "n_workers": 0, "progress": False}


@pytest.fixture
def pairs(tmp_path) -> list[tuple[Path, Path]]:
    made = []
    for k in range(6):
        made.append((tmp_path / "Input" / f"{k}.fits", tmp_path / "Target" / f"{k}.png"))
        write_image(made[-1][0], np.full((2, 16, 16), k, np.float32))
        write_image(made[-1][1], np.full((1, 16, 16), 10 * k))
    return made


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that are read from now on."""
    done: list[Path] = []

    def counted(path, channels, *, side):
        done.append(path)
        return read_image(path, channels, side=side)
    monkeypatch.setattr(verification, "read_image", counted)
    return done


def test_the_summary_says_what_the_data_are(pairs):
    inputs, targets = verify_dataset(pairs, **FLAGS)
    assert inputs == Summary(number=6, size=16, count=2, dtype="float32", lowest=0, highest=5, channels=None)
    assert targets == Summary(number=6, size=16, count=1, dtype="uint8", lowest=0, highest=50, channels=None)


def test_processes_find_what_one_finds(pairs):
    assert verify_dataset(pairs, **FLAGS | {"n_workers": 2}) == verify_dataset(pairs, **FLAGS)


def test_a_good_file_is_read_once_and_again_only_when_it_changes(pairs, reads, tmp_path):
    memory = tmp_path / "files.json"
    summary = verify_dataset(pairs, **FLAGS, remember=memory)
    assert sorted(reads) == sorted(path for pair in pairs for path in pair)
    assert verify_dataset(pairs, **FLAGS, remember=memory) == summary and len(reads) == 12
    write_image(pairs[2][0], np.full((2, 16, 16), 77.0))
    os.utime(pairs[3][1], ns=(1, 1))
    assert verify_dataset(pairs, **FLAGS, remember=memory)[0].highest == 77
    assert reads[12:] == [pairs[2][0], pairs[3][1]]


def test_a_file_checked_for_other_channels_is_read_again(pairs, reads, tmp_path):
    verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    with pytest.raises(UserError, match="6 of 12 files cannot be used"):
        verify_dataset(pairs, **FLAGS | {"input_ch": 3}, remember=tmp_path / "files.json")
    assert len(reads) == 18


@pytest.mark.parametrize("content", [
    "", "[]", "{}", '{"format": 2, "cards": {}, "files": {"a": 3}}', '{"format": 2, "cards": {}, "files": {"a": [3]}}',
    '{"format": 2, "cards": {}, "files": {"a": {"size": 3}}}', '{"format": 1, "files": {}}',
    '{"format": 2, "cards": {"a": 3}, "files": {}}', '{"format": 2, "cards": {}, "files": null}'])
def test_a_damaged_memory_is_as_good_as_none(pairs, reads, tmp_path, content):
    (tmp_path / "files.json").write_text(content)
    verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    assert len(reads) == 12
    assert len(json.loads((tmp_path / "files.json").read_text())["files"]) == 12


def test_every_bad_file_is_named_with_its_reason_and_the_good_ones_are_remembered(pairs, reads, tmp_path):
    pairs[0][0].write_text("no FITS")
    with open(pairs[1][0], "rb+") as file:
        file.truncate(3000)
    write_image(pairs[2][0], np.full((2, 16, 16), np.nan))
    pairs[3][1].unlink()
    write_image(pairs[4][1], np.zeros((1, 8, 8)))
    with pytest.raises(UserError) as error:
        verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    lines = str(error.value).splitlines()
    assert lines[0] == "5 of 12 files cannot be used:" and len(lines) == 6
    for name, reason in (("0.fits", "not a FITS file"), ("1.fits", "truncated"), ("2.fits", "no finite pixel"),
                         ("3.png", "No such file"),
                         ("4.png", "has 8 pixels on a side, the first image has 16; all images must have one size")):
        assert any(name in line and reason in line for line in lines)
    reads.clear()
    with pytest.raises(UserError, match="5 of 12"):
        verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    assert len(reads) == 4      # the one of another size is good in itself


def test_only_so_many_bad_files_are_listed(pairs):
    for input, _ in pairs:
        input.write_text("no FITS")
    with pytest.raises(UserError) as error:
        verify_dataset(pairs, **FLAGS, report=2)
    assert len(str(error.value).splitlines()) == 4 and str(error.value).endswith("and 4 more")


def test_the_size_asked_for_is_checked(pairs):
    with pytest.raises(UserError, match=r"12 of 12.*\n.*0\.fits has 16 pixels on a side, --data_size is 32"):
        verify_dataset([*pairs], **FLAGS, data_size=32)


def test_no_pairs_are_refused():
    with pytest.raises(UserError, match="holds no pairs; set --input_dir_train"):
        verify_dataset([], **FLAGS)


def test_cards_that_ask_for_different_scalings_are_refused_unless_flags_rule(tmp_path):
    pairs = []
    for k, limit in enumerate((1500.0, 1500.0, 1000.0)):
        for side, upper in (("Input", 1500.0), ("Target", limit)):
            (tmp_path / side).mkdir(exist_ok=True)
            write_cube(tmp_path / side / f"{k}.fits", np.zeros((1, 16, 16)), fits.Header(),
                       [Channel.magnetogram("SDO/HMI magnetogram", f"2011-01-0{k + 1}", upper)])
        pairs.append((tmp_path / "Input" / f"{k}.fits", tmp_path / "Target" / f"{k}.fits"))
    flags = FLAGS | {"input_ch": 1}
    message = r"1 of 6.*\n.*Target/2\.fits asks for another scaling .* 0\.fits; set --saturation_lower_limit_target"
    with pytest.raises(UserError, match=message):
        verify_dataset(pairs, **flags)
    assert verify_dataset(pairs, **flags, check_cards=False)[1].channels[0].upper == 1500


def test_an_interrupted_check_goes_on_where_it_was(pairs, tmp_path, monkeypatch):
    done = []

    def interrupted(path, channels, *, side):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(path)
        return read_image(path, channels, side=side)
    monkeypatch.setattr(verification, "read_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    assert len(json.loads((tmp_path / "files.json").read_text())["files"]) == 5


def remembered(memory):
    return json.loads(memory.read_text())["files"]


@pytest.mark.skipif(sys.platform != "linux", reason="what is patched reaches the workers by a fork")
def test_a_worker_that_dies_is_a_message_and_the_others_work_is_remembered(pairs, tmp_path, monkeypatch):
    def killed(path, channels, *, side):
        if path == pairs[-1][0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(path, channels, side=side)
    monkeypatch.setattr(verification, "read_image", killed)
    with pytest.raises(UserError, match="^a worker process was killed.*: lower --n_workers"):
        verify_dataset(pairs, **FLAGS | {"n_workers": 2}, remember=tmp_path / "files.json")
    assert remembered(tmp_path / "files.json")


@pytest.mark.skipif(sys.platform != "linux", reason="what is patched reaches the process by a fork")
def test_a_check_that_is_killed_has_saved_what_it_knew_a_minute_ago(pairs, tmp_path, monkeypatch):
    def killed(path, channels, *, side):
        if path == pairs[-1][0]:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_image(path, channels, side=side)
    monkeypatch.setattr(verification, "read_image", killed)
    monkeypatch.setattr(verification, "SAVE_EVERY", 0)
    check = multiprocessing.get_context("fork").Process(target=verify_dataset, args=[pairs],
                                                        kwargs=FLAGS | {"remember": tmp_path / "files.json"})
    check.start()
    check.join(60)
    assert check.exitcode == -signal.SIGTERM and len(remembered(tmp_path / "files.json")) >= 1


def test_the_bar_knows_how_many_files_there_are(pairs, capsys):
    verify_dataset(pairs, **FLAGS | {"progress": True})
    assert "12/12" in capsys.readouterr().err


AIA = [f"SDO/AIA {passband}" for passband in ("304", "193")]


def cubes(folder, *inputs, header=None):
    """Pairs of cubes with two inputs each, named as `inputs` say, and a magnetogram."""
    pairs = []
    for k, names in enumerate(inputs):
        pairs.append((folder / "Input" / f"{k}.fits", folder / "Target" / f"{k}.fits"))
        described = [Channel.euv(name, f"2011-01-0{k + 1}T00:00:00") for name in names]
        for path, data, channels in zip(pairs[-1], (np.full((2, 16, 16), 99.0), np.zeros((1, 16, 16))),
                                        (described, [Channel.magnetogram("SDO/HMI magnetogram", "")]), strict=True):
            path.parent.mkdir(exist_ok=True)
            write_cube(path, data, header or fits.Header(), channels)
    return pairs


@pytest.mark.parametrize("names", [AIA[::-1], ["SDO/AIA 304", "SDO/AIA 171"], ["STEREO/EUVI-A 304", "SDO/AIA 193"]])
@pytest.mark.parametrize("place", [0, 2])
def test_channels_of_another_name_or_order_are_listed_with_what_they_are(tmp_path, names, place):
    said = [AIA, AIA, AIA]
    said[place] = names
    with pytest.raises(UserError) as error:
        verify_dataset(cubes(tmp_path, *said), **FLAGS, check_cards=False)
    lines = str(error.value).splitlines()
    assert len(lines) == 2 and f"Input/{place}.fits holds {names[0].replace('-A', '')}, {names[1]}, " in lines[1]
    assert lines[1].endswith("prepare all inputs with the same channels in the same order "
                             "(pix2pixCC_Prepare.py --channels)")
    assert "1.fits holds SDO/AIA 304, SDO/AIA 193;" in lines[1] or "0.fits holds SDO/AIA 304, SDO/AIA 193;" in lines[1]


def test_a_file_without_cards_among_files_with_cards_is_listed(tmp_path):
    pairs = cubes(tmp_path, AIA, AIA, AIA)
    write_image(pairs[1][0], np.full((2, 16, 16), 99.0))
    with pytest.raises(UserError, match=r"1 of 6.*\n.*Input/1\.fits holds no cards of its channels, 0\.fits holds SDO"):
        verify_dataset(pairs, **FLAGS)


def test_both_stereo_spacecraft_may_stand_in_one_set(tmp_path):
    pairs = cubes(tmp_path, ["STEREO/EUVI-A 304", "STEREO/EUVI-A 195"], ["STEREO/EUVI-B 304", "STEREO/EUVI-B 195"])
    assert verify_dataset(pairs, **FLAGS)[0].channels[0].name == "STEREO/EUVI-A 304"


def test_a_unit_that_contradicts_the_others_is_listed(tmp_path):
    pairs = cubes(tmp_path, AIA, AIA, AIA, AIA)
    for k, unit in enumerate(("Gauss", "G", "Mx/cm^2")):
        fits.setval(pairs[k][1], "BUNIT", value=unit)
    verify_dataset(pairs, **FLAGS)
    fits.setval(pairs[1][1], "BUNIT", value="kG")
    with pytest.raises(UserError, match=r"1 of 8.*\n.*Target/1\.fits is in kg \(BUNIT\), 0\.fits in gauss; convert"):
        verify_dataset(pairs, **FLAGS)


def test_pixels_of_another_type_are_listed(pairs):
    np.save(pairs[0][0].with_name("a.npy"), np.zeros((2, 16, 16), np.int16))
    np.save(pairs[0][0].with_name("b.npy"), np.zeros((2, 16, 16), np.float64))
    inputs = [pairs[0][0], pairs[1][0], *(pairs[0][0].with_name(name) for name in ("a.npy", "b.npy"))]
    with pytest.raises(UserError, match=r"1 of 8.*\n.*a\.npy holds int16, 0\.fits floating-point numbers; save all in"):
        verify_dataset([(path, pairs[k][1]) for k, path in enumerate(inputs)], **FLAGS)


def test_the_values_of_every_file_must_suit_the_limits_not_those_of_the_first_alone(pairs):
    write_image(pairs[3][0], np.stack([np.full((16, 16), 3.0), np.full((16, 16), 3e4)]).astype(np.float32))
    far = Scaling((0.0, 0.0), (5.0, 5.0), (False, False)).far_outside
    with pytest.raises(UserError, match=r"1 of 12.*\n.*Input/3\.fits: channel 2 runs from 30000 to 30000, far "
                                        r"outside its limits 0 \.\. 5; .* set --saturation_lower_limit_input"):
        verify_dataset(pairs, **FLAGS, far_outside=(far, None))
    log = Scaling((1.0, 1.0), (200.0, 200.0), (True, True)).far_outside
    with pytest.raises(UserError, match=r"2 of 12.*\n.*Input/0\.fits: channel 1 runs from 0 to 0, all of it below"):
        verify_dataset(pairs, **FLAGS, far_outside=(log, None))      # 0 and 1


@pytest.mark.parametrize(("keyword", "value", "words"), [
    ("HGLN_OBS", -95.0, r"two observers saw them \(HGLN_OBS -95\.00 and 87\.00 degrees\)"),
    ("DATE-OBS", "2011-01-08T00:00:00", "two times")])
def test_a_pair_of_two_observers_or_times_is_listed(tmp_path, keyword, value, words):
    header = fits.Header([("HGLN_OBS", 87.0), ("DATE-OBS", "2011-01-01T00:00:00")])
    pairs = cubes(tmp_path, AIA, AIA, header=header)
    verify_dataset(pairs, **FLAGS)
    fits.setval(pairs[1][0], keyword, value=value)
    with pytest.raises(UserError, match=rf"1 of 4.*\n.*Input/1\.fits and its target .*Target/1\.fits: by .*{words}"):
        verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    with pytest.raises(UserError, match=words):                     # what is remembered tells it as well
        verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")


def test_what_is_remembered_of_a_file_is_one_line_and_the_cards_stand_there_once(tmp_path):
    memory = tmp_path / "files.json"
    verify_dataset(cubes(tmp_path, *[AIA] * 8), **FLAGS, remember=memory)
    content = json.loads(memory.read_text())
    assert len(content["files"]) == 16 and len(content["cards"]) == 2
    assert all(len(key) + len(json.dumps(found)) < 300 + len(str(tmp_path)) for key, found in content["files"].items())


def test_files_that_are_no_longer_of_the_set_are_forgotten(pairs, tmp_path):
    verify_dataset(pairs, **FLAGS, remember=tmp_path / "files.json")
    write_image(pairs[0][0], np.zeros((2, 16, 16)))
    verify_dataset(pairs[:3], **FLAGS, remember=tmp_path / "files.json")
    assert len(remembered(tmp_path / "files.json")) == 6
