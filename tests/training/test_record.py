"""What a run remembers of itself, and what it refuses when it goes on."""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pix2pixcc import options
from pix2pixcc.images.cubes import Channel
from pix2pixcc.options import parse, train_parser
from pix2pixcc.pipeline import Scaling
from pix2pixcc.training.data import TrainingData
from pix2pixcc.training.record import SETTINGS, RunRecord
from pix2pixcc.utils import UserError

TIME = "2011-03-05T12:04:03"


@pytest.fixture
def data():
    pairs = [(Path(f"Input/sun_{k}.fits"), Path(f"Target/sun_{k}.fits")) for k in range(5)]
    return TrainingData(pairs, [], 48, Scaling((1.0,), (200.0,), (True,)), Scaling((-1500.0,), (1500.0,), (False,)),
                        [Channel.euv("SDO/AIA 171", TIME)], [Channel.magnetogram("SDO/HMI magnetogram", TIME)])


def record(data, *flags, ranks=1):
    options = vars(parse(train_parser(), list(flags)))
    return RunRecord.from_run({name: value for name, value in options.items() if name != "given"}, data, ranks=ranks,
                              repeats=(1, 1))


@pytest.mark.parametrize("flags, ranks, expected", [
    (["--lr", "0.1"], 1, "--lr: 0.0002 -> 0.1"), (["--ccc", "False"], 1, "--ccc"), (["--seed", "3"], 1, "--seed"),
    (["--batch_size", "2"], 1, "--batch_size times the number of GPUs: 1 -> 2"),
    ([], 2, "--batch_size times the number of GPUs: 1 -> 2"),
    (["--data_type", "16"], 1, "--data_type")])
def test_a_change_of_the_mathematics_is_named(data, flags, ranks, expected):
    (change,) = record(data, *flags, ranks=ranks).differences(record(data))
    assert change.startswith(expected)


@pytest.mark.parametrize("flags, ranks", [(["--n_epochs", "500"], 1),
                                          (["--n_workers", "7", "--save_freq", "5", "--gpu_ids", "-1"], 1)])
def test_other_changes_are_free(data, flags, ranks):
    assert record(data, *flags, ranks=ranks).differences(record(data)) == []


def test_half_the_batch_on_twice_the_ranks_is_no_change(data):
    assert record(data, "--batch_size", "1", ranks=2).differences(record(data, "--batch_size", "2")) == []


def test_epochs_may_grow_but_not_shrink_under_a_decaying_rate(data):
    decaying = record(data, "--epoch_decay", "10", "--n_epochs", "20")
    assert record(data, "--epoch_decay", "10", "--n_epochs", "30").differences(decaying) == []
    (change,) = record(data, "--epoch_decay", "10", "--n_epochs", "15").differences(decaying)
    assert "may only grow" in change


def test_other_limits_are_a_change(data):
    other = record(data)
    other.content["scaling"]["target"]["upper"] = [3000.0]
    assert "--saturation_" in other.differences(record(data))[0]


def test_a_record_reads_as_it_was_written(data, tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps(record(data, "--n_gf", "8").content))
    read = RunRecord.read(path)
    assert read.scaling("input") == data.input_scaling and read.channels("target") == data.target_channels
    assert read.size == 48
    assert read.settings({"n_gf": 8, "iteration": "best"}).items() >= {"n_gf": 8, "norm_type": "InstanceNorm2d"}.items()
    words = r"--n_gf 4 contradicts .*options\.json: this model was trained with 8; leave the flag out"
    with pytest.raises(UserError, match=words):
        read.settings({"n_gf": 4})


def test_a_run_that_goes_on_otherwise_keeps_the_records_of_its_older_checkpoints(data, tmp_path):
    path = tmp_path / "options.json"

    def go_on(iteration, upper, *flags):
        scaling = replace(data.target_scaling, upper=(upper,))
        path.write_text(json.dumps(record(replace(data, target_scaling=scaling), *flags).following(path, iteration)))

    def uppers(*iterations):
        return [RunRecord.read(path, iteration).scaling("target").upper[0] for iteration in iterations]

    go_on(0, 1500.0)
    go_on(4, 1500.0, "--lr", "0.1")                        # nothing that a checkpoint is used with
    assert "former" not in json.loads(path.read_text())
    go_on(10, 3000.0)
    go_on(20, 2000.0)
    go_on(20, 2000.0)                                      # stopped before it had saved
    assert uppers(1, 10, 11, 20, 21) == [1500, 1500, 3000, 3000, 2000] and RunRecord.read(path).path == path
    assert RunRecord.read(path).scaling("target").upper == (2000.0,)
    assert [one["until"] for one in json.loads(path.read_text())["former"]] == [10, 20]
    go_on(15, 3000.0)                                      # back on the older branch: as if it had never changed
    assert uppers(10, 11, 25) == [1500, 3000, 3000]
    go_on(5, 500.0)
    assert uppers(5, 6) == [1500, 500] and len(json.loads(path.read_text())["former"]) == 1
    go_on(0, 700.0)                                        # from the beginning
    assert uppers(5, 6) == [700, 700]


@pytest.mark.parametrize("older", ["", '{"options": 3}', '{"former": 3}', '{"former": [{}]}', "{}"])
def test_over_a_damaged_options_file_a_run_goes_on_with_its_own(data, tmp_path, older):
    (tmp_path / "options.json").write_text(older)
    assert record(data).following(tmp_path / "options.json", 4) == record(data).content
    assert record(data).following(tmp_path / "missing.json", 4) == record(data).content


@pytest.mark.parametrize("former", ["3", "[3]", "[{}]", '[{"until": "x"}]', '[{"until": 9}]'])
def test_former_records_that_are_damaged_are_named(data, tmp_path, former):
    content = record(data).content | {"former": json.loads(former)}
    (tmp_path / "options.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"options\.json is damaged"):
        RunRecord.read(tmp_path / "options.json", 4)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"options": 3}', '{"options": {}, "scaling": []}'])
def test_a_damaged_options_file_is_named(tmp_path, text):
    (tmp_path / "options.json").write_text(text)
    with pytest.raises(UserError, match=r"options\.json"):
        RunRecord.read(tmp_path / "options.json")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_record_may_hold_what_can_be_typed_and_nothing_else(data, tmp_path, name):
    def accepted(value):
        content = record(data).content
        content["options"][name] = value
        if name in ("input_ch", "target_ch"):
            side = name.removesuffix("_ch")
            scaling = content["scaling"][side]
            content["scaling"][side] = {key: limits if key == "clip" else limits[:1] * value
                                        for key, limits in scaling.items()}
            content["channels"][side] = None
        (tmp_path / "options.json").write_text(json.dumps(content))
        try:
            return RunRecord.read(tmp_path / "options.json").settings({})[name] == value
        except UserError as error:
            assert "options.json is damaged" in str(error)
            return False

    allowed = SETTINGS[name]
    for value in (allowed[0], allowed[-1]):
        assert accepted(value) and getattr(parse(options.test_parser(), [f"--{name}", str(value)]), name) == value
    for value in (allowed[0] - 1, allowed[-1] + 1) if isinstance(allowed, range) else ("other", None, 7):
        assert not accepted(value)
        with pytest.raises(SystemExit):
            parse(options.test_parser(), [f"--{name}", str(value)])
