"""Damaged, strange and hostile files: refused or skipped with a reason, never run, never followed elsewhere."""
import json
import os
import pickle
import random
import shutil
import struct
import zipfile

import pytest
import torch
from astropy.io import fits
from damage import Trap, damaged
from fuzzing import CASES, fuzz
from running import run, train, write_pairs

SHORT = ["--save_freq", 2, "--report_freq", 2, "--display_freq", 100]
TEST = ["--dataset_name", "run", "--gpu_ids", "-1", "--n_workers", 0, "--input_dir_test", "data/Input", "--no_preview"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four iterations with checkpoints at 2 and 4, and one product."""
    folder = write_pairs(tmp_path_factory.mktemp("trained"), count=3, size=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(*SHORT, "--n_iterations", 4, "--val_during_train", "--val_fraction", 0.3).status == 0
        assert run("Test", *TEST, "--iteration", 4).status == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "checkpoints" / "run"


def outcome(result):
    """A command's status and message; a mistake must be told in a few lines, without a traceback."""
    assert result.status in (0, 2) and "Traceback" not in result.err + result.out
    assert result.status == 0 or result.err + result.out
    return result


# Bad data, in bulk

@pytest.mark.parametrize("command, data_format", CASES, ids=[" ".join(case) for case in CASES])
def test_damaged_files_are_refused_or_skipped_and_the_good_ones_done(tmp_path, command, data_format):
    result = fuzz(tmp_path, command, data_format, number=48)
    assert result.problems == [] and result.files >= 48
    assert result.megabytes < 250


# Pickles

def checkpoints_with_programs(folder, trap):
    """Files of every kind that a pickle can hide in, by name."""
    torch.save({"model.1.weight": Trap(trap)}, folder / "torch.pt")
    torch.save({"model.1.weight": Trap(trap)}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    (folder / "raw.pt").write_bytes(pickle.dumps({"a": Trap(trap)}, protocol=2))
    (folder / "new.pt").write_bytes(pickle.dumps({"a": Trap(trap)}))
    torch.save(torch.nn.Conv2d(1, 1, 3), folder / "module.pt")
    with zipfile.ZipFile(folder / "bare.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Trap(trap)}, protocol=2))
        archive.writestr("archive/version", "3\n")
    return sorted(folder.glob("*.pt"))


def test_a_checkpoint_that_carries_a_program_is_not_run_and_says_so(here, tmp_path):
    (tmp_path / "pickles").mkdir()
    for path in checkpoints_with_programs(tmp_path / "pickles", tmp_path / "TRAP"):
        shutil.copy(path, here / "Model/4_G.pt")
        shutil.copy(path, here / "State/4.pt")
        result = outcome(run("Test", *TEST, "--iteration", 4))
        assert result.status == 2 and "othing of it was run" in result.err, path.name
        result = outcome(train(*SHORT, "--val_during_train", "--val_fraction", 0.3, "--latest_iter", 4))
        assert result.status == 2 and "othing of it was run" in result.err, path.name
    assert not (tmp_path / "TRAP").exists()
    shutil.copy(tmp_path / "pickles/torch.pt", here / "Model/4_G.pt")
    assert "loading it would run posix.mkdir" in run("Test", *TEST, "--iteration", 4).err


def test_the_trap_would_close_if_a_pickle_were_run(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "TRAP")))
    assert (tmp_path / "TRAP").exists()


# Checkpoints

def archive_with(path, change):
    """Rewrite an archive of torch.save, each part through `change(name, content)`, with checksums that fit."""
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts:
            archive.writestr(name, change(name, content))


def test_checkpoints_of_any_other_kind_are_refused(here):
    weights = torch.load(here / "Model/4_G.pt", weights_only=True)
    path = here / "Model/4_G.pt"
    first = next(iter(weights))
    contents = {
        "holds no state_dict but a list": [1, 2], "no plain state_dict": {"iteration": 3},
        "is no plain state_dict ": {},
        f"{first} is (1,) there": weights | {first: torch.zeros(1)},
        f"it lacks {first}": {k: v for k, v in weights.items() if k != first},
        "it has extra": weights | {"extra": torch.zeros(1)}, "plain state_dict of tensors": weights | {first: "text"},
        " of tensors": weights | {7: torch.zeros(1)}}
    for words, content in contents.items():
        torch.save(content, path)
        result = outcome(run("Test", *TEST, "--iteration", 4))
        assert result.status == 2 and words in result.err, (words, result.err)
    path.unlink()
    path.mkdir()
    assert "is no file" in outcome(run("Test", *TEST, "--iteration", 4)).err


def test_a_flipped_bit_in_the_weights_is_noticed(here):
    path = here / "Model/4_G.pt"
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    raw[largest.header_offset + 200] ^= 1
    path.write_bytes(raw)
    result = outcome(run("Test", *TEST, "--iteration", 4))
    assert result.status == 2 and "cannot read checkpoints/run/Model/4_G.pt: it is damaged" in result.err


def test_a_compressed_archive_and_tensors_beyond_their_file_are_refused(here):
    path = here / "Model/4_G.pt"
    original = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            archive.writestr(*part)
    assert "damaged" in outcome(run("Test", *TEST, "--iteration", 4)).err
    path.write_bytes(original)
    elements, many = b"K" + bytes([4 * 1 * 7 * 7]), b"J" + struct.pack("<i", 2**30)
    archive_with(path, lambda name, content: content.replace(elements, many) if name.endswith(".pkl") else content)
    assert path.read_bytes().count(many) and outcome(run("Test", *TEST, "--iteration", 4)).status == 2


def test_120_damaged_weights_and_states_are_refused(here):
    chance = random.Random(5)
    states, weights = {}, {}
    for number in range(60):
        weights[number] = here / f"Model/{1000 + number}_G.pt"
        weights[number].write_bytes(damaged((here / "Model/4_G.pt").read_bytes(), chance))
        states[number] = here / f"State/{1000 + number}.pt"
        states[number].write_bytes(damaged((here / "State/4.pt").read_bytes(), chance))
    result = outcome(run("Test", *TEST))
    skipped = result.err.count("skipped iteration ")
    products = {int(path.parent.name): fits.getdata(path) for path in (here / "Image/Test").glob("*/sun_0_AI.fits")}
    assert result.status == 2 and skipped > 40 and len(products) == 62 - skipped and {2, 4} <= products.keys()
    for iteration in products.keys() - {2, 4}:             # the damage lies between the parts of the archive
        assert (products[iteration] == products[4]).all()
    result = outcome(train(*SHORT, "--val_during_train", "--val_fraction", 0.3, "--resume", "--n_iterations", 6))
    assert result.status == 0 and result.err.count("trying the state before it") == 60


OTHER = [{"training": 5}, {"training": {}}, {"iteration": 5}, {"iteration": None}, {"record": {}}, {"record": []},
         {"record": {"options": 4}}, {"lr_factor": "half"}]
OTHER_TRAINING = [{"optimizer_G": {"state": {}}}, {"optimizer_D": "optimizer_G"}, {"sums": torch.zeros(3)},
                  {"sums": 0.0},
                  {"steps": "many"}, {"generator": "discriminator"}]


@pytest.mark.parametrize("change", [*OTHER, *({"training": change} for change in OTHER_TRAINING)], ids=repr)
def test_a_state_that_says_something_else_is_a_message(here, change):
    path = here / "State/4.pt"
    state = torch.load(path, weights_only=True)
    inner = change.get("training")
    if isinstance(inner, dict) and inner:
        ((key, value),) = inner.items()
        other = state["training"].get(value, value) if isinstance(value, str) else value
        change = {"training": state["training"] | {key: other}}
    torch.save(state | change, path)
    flags = [*SHORT, "--val_during_train", "--val_fraction", 0.3, "--n_iterations", 6, "--latest_iter", 4]
    assert outcome(train(*flags)).status == 2
    assert outcome(train(*flags, "--allow_changed_options")).status == 2


# What the folder says of itself

def generate():
    return outcome(run("Test", *TEST, "--iteration", 4, "--overwrite"))


@pytest.mark.parametrize("part, value", [
    ("options", 3), ("options", {"n_gf": "many"}), ("options", {"n_gf": 10**9}), ("options", {"n_gf": True}),
    ("options", {"n_gf": None}),
    ("options", {"model": "evil"}), ("options", {"n_residual": 10**9}), ("options", {"n_downsample": 64}),
    ("options", {"input_ch": -1}),
    ("options", {"input_ch": 2}), ("options", {"trans_conv": "no"}), ("options", {"data_format_input": "../x"}),
    ("options", {"padding_type": []}), ("scaling", None), ("scaling", {"input": {"lower": ["a"]}}),
    ("scaling", {"input": {"lower": [1], "upper": [200, 3], "log": [True], "clip": False}}),
    ("scaling", {"input": {"lower": [float("nan")], "upper": [2], "log": [False], "clip": False}}),
    ("scaling", {"target": {"lower": [5], "upper": [2], "log": [False], "clip": False}}),
    ("scaling", {"target": {"lower": [0], "upper": [2], "log": [True], "clip": False}}), ("channels", 7),
    ("channels", {"input": [3]}),
    ("channels", {"input": [{"name": "SDO/AIA 171", "colour": "blue"}]}), ("channels", {"input": [{}]}),
    ("channels", {"input": [{"name": 171}]}), ("channels", {"input": [{"name": "a", "lower": "low"}]}),
    ("channels", {"input": [{"name": "a"}] * 2}), ("size", "large"), ("size", -3)], ids=repr)
def test_options_that_cannot_be_are_named_with_their_file(here, part, value):
    record = json.loads((here / "options.json").read_text())
    record[part] = record[part] | value if isinstance(value, dict) and isinstance(record[part], dict) else value
    (here / "options.json").write_text(json.dumps(record))
    result = generate()
    assert result.status == 2 and "checkpoints/run/options.json is" in result.err


@pytest.mark.parametrize("name", ["options.json", "best.json", "verified.json", "losses.csv"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b"\xff\xfe\0", b"[" * 100000,
                                     b'{"files": 3, "format": 1}',
                                     b'{"files": {"a": 3}, "format": 1}', b"iteration,epoch\n\0,2\n", b"iteration\nx\n",
                                     b"a" * 200000])
def test_the_files_of_a_run_may_hold_anything(here, name, content):
    (here / name).write_bytes(content)
    generate()
    outcome(run("Test", *TEST, "--iteration", "best"))
    result = outcome(train(*SHORT, "--val_during_train", "--val_fraction", 0.3, "--resume", "--n_iterations", 6))
    if name == "losses.csv":
        assert result.status == 2 and "cannot read checkpoints/run/losses.csv" in result.err


def test_40_damaged_options_and_records_are_read_or_refused(here):
    chance = random.Random(9)
    files = {name: (here / name).read_bytes() for name in ("options.json", "best.json", "verified.json", "losses.csv")}
    for number in range(40):
        for name, content in files.items():
            (here / name).write_bytes(content)
        name = chance.choice(sorted(files))
        (here / name).write_bytes(damaged(files[name], chance))
        if number % 5:
            outcome(run("Test", *TEST, "--iteration", chance.choice(("best", "4")), "--overwrite"))
        else:
            outcome(train(*SHORT, "--val_during_train", "--val_fraction", 0.3, "--resume", "--n_iterations", 4))


def test_a_best_checkpoint_cannot_name_a_file_elsewhere(here, tmp_path):
    shutil.copy(here / "Model/4_G.pt", tmp_path / "4_secret.pt")
    for network in ("../../../4_secret", "G/../G", ".*", 3, None):
        (here / "best.json").write_text(json.dumps({"iteration": 4, "network": network, "cc_binned": 0.5}))
        result = outcome(run("Test", *TEST, "--iteration", "best"))
        assert result.status == 2 and "best.json names no checkpoint" in result.err


# Names and links

@pytest.mark.parametrize("name", ["../up", "/tmp/elsewhere", "a/b", "..", ".", "", "a\\b", "x" * 300, "nul\0"])
def test_a_name_cannot_leave_the_folder_of_runs(here, name):
    for result in (train(*SHORT, "--dataset_name", name), run("Test", *TEST, "--dataset_name", name)):
        assert outcome(result).status == 2 and "must be a plain name" in result.err


@pytest.mark.parametrize("name", ["a b", "Sonne ☉", "-x", "a;b", "$(reboot)", "con.pt", "..."])
def test_any_plain_name_is_a_folder_of_that_name(here, name):
    result = outcome(train(*SHORT, f"--dataset_name={name}", "--n_iterations", 1))
    assert result.status == 0 and (here.parent / name / "Model/1_G.pt").is_file()


@pytest.mark.parametrize("inner", ["", "Model", "State", "Image/Train", "Image/Test", "tensorboard"])
def test_links_do_not_lead_results_out_of_the_folder_of_runs(here, tmp_path, inner):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(here / inner) if (here / inner).exists() else (here / inner).parent.mkdir(parents=True, exist_ok=True)
    (here / inner).symlink_to(elsewhere)
    for result in (train(*SHORT, "--resume", "--n_iterations", 6), run("Test", *TEST)):
        assert outcome(result).status == 2 and "results stay in" in result.err
    assert list(elsewhere.iterdir()) == []


def test_links_in_a_circle_are_a_message(here):
    shutil.rmtree(here / "Model")
    (here / "Model").symlink_to(here / "Model")
    assert outcome(run("Test", *TEST)).status == 2


def test_a_link_in_the_place_of_a_result_is_replaced_not_followed(here, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("Image/Test/4/sun_0_AI.fits", "losses.csv", "options.json", "index.html", "losses.png", "Model/6_G.pt",
                 "State/6.pt",
                 "Image/Train/6_sheet.png"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        content = (here / name).read_bytes() if name.endswith((".csv", ".json")) else None
        (here / name).unlink(missing_ok=True)
        if content is None:
            (here / name).symlink_to(victim)
    flags = ["--val_during_train", "--val_fraction", 0.3, "--n_iterations", 6, "--save_freq", 2, "--report_freq", 2,
             "--display_freq", 6]
    table = "iteration,epoch,lr\n2,1,0.1\n"
    (here / "losses.csv").write_text(table)
    assert outcome(train(*flags, "--resume")).status == 0
    assert outcome(run("Test", *TEST, "--iteration", 4, "--overwrite")).status == 0
    assert victim.read_text() == "precious"
    replaced = ("Image/Test/4/sun_0_AI.fits", "index.html", "Model/6_G.pt", "State/6.pt")
    assert not any((here / name).is_symlink() for name in replaced)


# Products

def verify(path):
    return outcome(run("Test", "--verify", path))


def make_product(here):
    """A product of an input with an observer: only those carry a header that leads back."""
    from fuzzing import NOON, write_raw
    write_raw(here.parents[1] / "raw", "STEREO-B", NOON)
    record = json.loads((here / "options.json").read_text())
    record["channels"]["input"][0]["name"] = "STEREO/EUVI-B 304"
    (here / "options.json").write_text(json.dumps(record))
    result = run("Test", *TEST, "--input_dir_test", "raw", "--iteration", 4)
    assert result.status == 0, result.err
    return here / "Image/Test/4/STEREO-B_304_AI.fits"


def test_a_product_leads_back_to_its_checkpoint_and_inputs(here):
    product = make_product(here)
    result = verify(product)
    assert result.status == 0 and result.out.count("ok ") == 2 and "not checked" in result.out
    assert "CHECKSUM and DATASUM hold" in result.out and "Model/4_G.pt is the checkpoint that made it" in result.out
    assert "STEREO/EUVI-B_304a_2011-03-05T11:55:4" in result.out


def test_a_changed_product_checkpoint_or_list_of_inputs_is_found(here):
    product = make_product(here)
    original = product.read_bytes()

    def says(words, status=2, **cards):
        with fits.open(product, mode="update", checksum=True) as hdus:
            for key, value in cards.items():
                hdus[0].header.remove(key, ignore_missing=True, remove_all=True)
                if value is not None:
                    hdus[0].header[key] = value
        result = verify(product)
        product.write_bytes(original)
        assert result.status == status and words in result.out, result.out

    says("names no inputs", HISTORY=None)
    says("names no checkpoint", CKPTFILE=None)
    says("names no checkpoint", CKPTSHA=None)
    says("is NOT the checkpoint", CKPTSHA="0" * 64)
    says("is not there", 0, CKPTFILE="5_G.pt")
    says("is not there", 0, CKPTFILE="../../../../etc/passwd")
    raw = bytearray(original)
    raw[original.index(b"STEREO_B")] ^= 1
    product.write_bytes(raw)
    assert "BAD" in verify(product).out and verify(product).status == 2
    product.write_bytes(original)
    shutil.copy(here / "Model/2_G.pt", here / "Model/4_G.pt")
    assert "is NOT the checkpoint that made it" in verify(product).out
    (here / "Model/4_G.pt").unlink()
    assert "is not there" in verify(product).out


def test_60_damaged_products_are_found_or_refused(here):
    product, chance = make_product(here), random.Random(3)
    original, found = product.read_bytes(), 0
    for number in range(60):
        path = product.with_name(f"damaged{number}_AI.fits")
        path.write_bytes(damaged(original, chance))
        if verify(path).status == 2:
            found += 1
        else:      # the damage lies in the blanks that fill a header's last block
            assert fits.getheader(path).tostring() == fits.getheader(product).tostring(), number
            assert fits.getdata(path).tobytes() == fits.getdata(product).tobytes(), number
    assert found > 45
    for path in ("nowhere.fits", "data", "checkpoints/run/losses.csv"):
        assert verify(path).status == 2


# Flags

@pytest.mark.parametrize("flags", [
    ["--n_gf", 10**12], ["--n_df", 10**7], ["--n_residual", 10**9], ["--n_downsample", 60], ["--n_D", 50],
    ["--input_ch", 10**9],
    ["--seed", 10**30], ["--seed", -1], ["--n_workers", 10**6], ["--n_CC", 10**9], ["--lr", "nan"], ["--lr", "-1"],
    ["--batch_size", 0],
    ["--padding_size", 10**9], ["--save_freq", 0], ["--keep_last", 0], ["--ema", 2], ["--ccc", "maybe"],
    ["--gpu_ids", "one"]],
    ids=lambda flags: " ".join(map(str, flags)))
def test_numbers_that_cannot_be_are_refused_before_anything_is_read(here, flags):
    result = outcome(train(*flags))
    assert result.status == 2 and flags[0] in result.err


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(here):
    (here / "Model/4_G.pt").unlink()
    os.mkfifo(here / "Model/4_G.pt")
    assert outcome(run("Test", *TEST, "--iteration", 4)).status == 2
