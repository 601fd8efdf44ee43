"""What a run finds, remembers and refuses."""
from pathlib import Path

import pytest
from running import write_cubes

from pix2pixcc.options import parse, train_parser
from pix2pixcc.training.data import find_training_data, hold_out
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.loss_table import LossTable
from pix2pixcc.training.record import as_built, changed_options, options_record, scaling_flags
from pix2pixcc.utils import UserError


@pytest.fixture
def data(tmp_path):
    inputs, targets = write_cubes(tmp_path / "data", count=5)
    return find(inputs, targets)


def find(inputs, targets, **changes):
    settings = {"input_format": "fits", "target_format": "fits", "input_ch": 1, "target_ch": 1, "n_downsample": 2, "n_D": 2,
                "data_size": None, "flags": lambda side, described: {}}
    return find_training_data(str(inputs), str(targets), **settings | changes)


def record(data, *flags, ranks=1):
    return options_record(parse(train_parser(), list(flags)), data, ranks, (1, 1))


def test_a_data_set_is_the_same_wherever_it_lies(data, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    assert find(tmp_path / "moved/Input", tmp_path / "moved/Target").digest == data.digest
    next((tmp_path / "moved/Input").iterdir()).rename(tmp_path / "moved/Input/sun_20110401_120403.fits")
    with pytest.raises(UserError, match="sun_20110401_120403"):
        find(tmp_path / "moved/Input", tmp_path / "moved/Target")


def test_the_latest_in_time_are_held_out():
    pairs = [(Path(f"aia_2011{month:02d}01_000000.fits"), Path(f"hmi_{month}.fits")) for month in (5, 1, 9, 3)]
    training, validation = hold_out(pairs, 0.5)
    assert [pair[0].name[8:10] for pair in training] == ["01", "03"]
    assert [pair[0].name[8:10] for pair in validation] == ["05", "09"]
    with pytest.raises(UserError, match="--val_fraction"):
        hold_out(pairs, 0.99)


@pytest.mark.parametrize("n_downsample, n_D, words", [(5, 1, "at most 4"), (2, 3, "96 pixels"), (4, 1, None)])
def test_a_side_must_fit_the_networks(tmp_path, n_downsample, n_D, words):
    dirs = write_cubes(tmp_path / "data", count=1)
    if words is None:
        assert find(*dirs, n_downsample=n_downsample, n_D=n_D).size == 48
    else:
        with pytest.raises(UserError, match=words):
            find(*dirs, n_downsample=n_downsample, n_D=n_D)


def test_over_data_with_cards_only_typed_limits_count():
    opt = parse(train_parser(), ["--model", "pix2pixHD", "--saturation_upper_limit_target", "1000"])
    assert scaling_flags(opt, "target", described=True) == {"lower": None, "upper": [1000.0], "log": None, "clip": True}
    assert scaling_flags(opt, "target", described=False) == {"lower": [-3000.0], "upper": [1000.0], "log": None, "clip": True}


@pytest.mark.parametrize("flags, ranks, expected", [
    (["--lr", "0.1"], 1, "--lr: 0.0002 -> 0.1"), (["--ccc", "False"], 1, "--ccc"), (["--seed", "3"], 1, "--seed"),
    (["--batch_size", "2"], 1, "--batch_size times the number of GPUs: 1 -> 2"), ([], 2, "--batch_size times the number of GPUs: 1 -> 2"),
    (["--data_type", "16"], 1, "--data_type")])
def test_a_change_of_the_mathematics_is_named(data, flags, ranks, expected):
    (change,) = changed_options(record(data), record(data, *flags, ranks=ranks))
    assert change.startswith(expected)


@pytest.mark.parametrize("flags, ranks", [(["--n_epochs", "500"], 1), (["--n_workers", "7", "--save_freq", "5", "--gpu_ids", "-1"], 1)])
def test_other_changes_are_free(data, flags, ranks):
    assert changed_options(record(data), record(data, *flags, ranks=ranks)) == []


def test_half_the_batch_on_twice_the_ranks_is_no_change(data):
    assert changed_options(record(data, "--batch_size", "2"), record(data, "--batch_size", "1", ranks=2)) == []


def test_epochs_may_grow_but_not_shrink_under_a_decaying_rate(data):
    decaying = record(data, "--epoch_decay", "10", "--n_epochs", "20")
    assert changed_options(decaying, record(data, "--epoch_decay", "10", "--n_epochs", "30")) == []
    (change,) = changed_options(decaying, record(data, "--epoch_decay", "10", "--n_epochs", "15"))
    assert "may only grow" in change


def test_other_limits_are_a_change(data):
    other = record(data)
    other["scaling"] = {"input": other["scaling"]["input"], "target": other["scaling"]["target"] | {"upper": [3000.0]}}
    assert "--saturation_" in changed_options(record(data), other)[0]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"options": 3}', '{"options": {}, "scaling": []}'])
def test_a_damaged_options_file_is_named(tmp_path, text):
    folder = RunFolder("run", tmp_path)
    folder.path.mkdir()
    folder.options.write_text(text)
    with pytest.raises(UserError, match=r"options\.json"):
        as_built(folder, parse(train_parser(), []), ["n_gf"])


def test_a_bare_folder_has_no_record(tmp_path):
    assert as_built(RunFolder("run", tmp_path), parse(train_parser(), []), ["n_gf"]) is None


def test_rows_after_the_point_of_resumption_are_dropped(tmp_path):
    table = LossTable(tmp_path / "losses.csv", ["loss_G", "val_cc"])
    for iteration in (10, 20, 30):
        table.add(iteration, iteration / 7, 1e-4, {"loss_G": iteration / 3})
    table.add(30, 0, 0, {"val_cc": float("nan")})
    table.write(table.text())
    whole = (tmp_path / "losses.csv").read_text()
    assert whole.splitlines()[0] == "iteration,epoch,lr,loss_G,val_cc" and whole.splitlines()[3] == "30,4.2857,0.0001,10,"
    resumed = LossTable(tmp_path / "losses.csv", ["loss_G", "val_cc"], keep_until=20)
    resumed.add(30, 30 / 7, 1e-4, {"loss_G": 10})
    assert resumed.text() == whole
