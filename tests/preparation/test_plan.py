"""What is to be made of an archive, and what the flags may say."""
from datetime import timedelta

import pytest
from records import START, record, sdo

from pix2pixcc.preparation.holdout import TestDays
from pix2pixcc.preparation.plan import (
    Request,
    checked_passbands,
    farside_names,
    parse_hours,
    parse_shard,
    plan_farside,
    plan_training,
    training_names,
)
from pix2pixcc.preparation.settings import Settings
from pix2pixcc.utils import UserError

AIA = ["304", "193", "171"]


def request(out, passbands, *, reference=False):
    timing = {"tolerance": 10.0, "reference_tolerance": 390.0, "cadence": None}
    return Request(out, passbands, reference, Settings(32, 0.01), timing)


def days(*numbers):
    return [one for day in numbers for one in sdo(1440 * day)]


@pytest.mark.parametrize(("command", "given", "own"), [
    ("train", ["304", "195", "171"], AIA), ("train", ["94", "4500"], ["94", "4500"]),
    ("farside", ["193", "284"], ["195", "284"])])
def test_passbands_are_called_by_the_instruments_own_names(command, given, own):
    assert checked_passbands(given, command) == own


@pytest.mark.parametrize(("command", "given", "message"), [
    ("farside", ["94"], "--channels 94: EUVI has no such passband; it has 171, 195, 284, 304"),
    ("train", ["284"], "--channels 284: AIA has no such passband"),
    ("farside", ["195", "193"], "--channels 195 193: a passband")])
def test_a_passband_that_is_not_there_or_there_twice_is_refused(command, given, message):
    with pytest.raises(UserError, match=message):
        checked_passbands(given, command)


def test_shards_and_cadences_are_read():
    assert (parse_shard("3/10"), parse_shard(None)) == ((3, 10), (1, 1))
    assert [parse_hours(text) for text in ("12h", "30m", "1.5 d", "90min", None)] == [12, 0.5, 36, 1.5, None]
    for text in ("7h", "25h", "50m", "1.3d"):
        with pytest.raises(UserError, match=f"--cadence {text}: it should divide a day"):
            parse_hours(text)
    for text in ("4/3", "0/1", "1", "-1/2"):
        with pytest.raises(UserError, match=f"--shard {text}: it should be I/N"):
            parse_shard(text)
    for text in ("0h", "h", "12", "1w"):
        with pytest.raises(UserError, match=f"--cadence {text}: it should be a number and a unit"):
            parse_hours(text)


def test_the_names_of_a_request_are_those_of_its_files(tmp_path):
    assert training_names(request(tmp_path, ["171"])) == {"SDO/AIA 171", "SDO/HMI magnetogram"}
    assert farside_names(request(tmp_path, ["195"])) == {"STEREO/EUVI-A 195", "STEREO/EUVI-B 195"}
    assert farside_names(request(tmp_path, ["195"], reference=True)) == {
        "STEREO/EUVI-A 195", "STEREO/EUVI-B 195", "SDO/AIA 193", "SDO/HMI magnetogram"}


def test_pairs_go_to_train_or_test_each_to_its_two_folders(tmp_path):
    plan = plan_training(days(0, 2, 2.5), request(tmp_path, AIA), TestDays.parse([], ["2011-03-07"]), 1.0)
    assert [job.folders for job in plan.jobs] == [tuple(str(tmp_path / part / side) for side in ("Input", "Target"))
                                                  for part in ("Train", "Test")]
    assert plan.note == ("pairs        1 to train, 1 to test; 1 dropped, which saw the Sun within 1 days of a test "
                         "pair (--test_gap, --allow_overlap)")


def test_an_image_that_nearly_completes_a_time_is_named_and_a_time_with_fewer_than_half_is_not_asked_about(tmp_path):
    late = record("SDO/AIA 171", 25, path="late")
    no_test = TestDays.parse([], [])
    plan = plan_training([*days(1), *sdo(passbands=("304", "193")), late], request(tmp_path, AIA), no_test, 1.0)
    assert plan.near == {"late": "a time off the group: the nearest is 25 min off (--tolerance 10)"}
    alone = [*days(1), record("SDO/AIA 304", 0), late]
    assert plan_training(alone, request(tmp_path, AIA), no_test, 1.0).near == {}


def test_where_nothing_is_complete_the_message_counts_what_is_there(tmp_path):
    counts = "Good files: 1 of STEREO/EUVI-A 195, 0 of STEREO/EUVI-A 304"
    with pytest.raises(UserError, match=rf"(?s){counts}.*--raw and --channels"):
        plan_farside([record("STEREO/EUVI-A 195")], request(tmp_path, ["304", "195"]))


def test_farside_inputs_are_counted_by_spacecraft(tmp_path):
    records = [record(f"STEREO/EUVI-{letter} 195", minutes) for letter, minutes in (("A", 0), ("B", 0), ("B", 60))]
    plan = plan_farside(records, request(tmp_path, ["195"]))
    assert plan.note == "inputs       1 of STEREO-A, 2 of STEREO-B"
    assert [job.groups[0].time for job in plan.jobs] == [START, START, START + timedelta(hours=1)]
