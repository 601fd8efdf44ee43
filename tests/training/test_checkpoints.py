"""A run's folder: which checkpoints there are, which are kept, and files that are whole or refused."""
import json
import os
import time

import pytest
import torch

from pix2pixcc.networks import Generator
from pix2pixcc.training.checkpoints import load_weights, read_tensors, read_weights, save_tensors, snapshot
from pix2pixcc.training.folder import Best, RunFolder
from pix2pixcc.utils import UserError


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder("run", tmp_path / "checkpoints")
    folder.path.mkdir(parents=True)
    return folder


def network(**options):
    return Generator(1, 1, **({"n_gf": 2, "n_downsample": 1, "n_residual": 1} | options))


def add_weights(folder, *iterations, name="G"):
    folder.model.mkdir(exist_ok=True)
    for iteration in iterations:
        folder.weights(iteration, name).touch()


def add_states(folder, *iterations):
    for iteration in iterations:
        save_tensors(folder.state(iteration), {"iteration": iteration, "record": {"options": {}}, "training": {},
                                               "lr_factor": 1.0})


def test_checkpoints_are_listed_by_their_numbers(folder):
    add_weights(folder, 10, 9, 100)
    add_weights(folder, 7, name="G_ema")
    for name in ("010_G.pt", "²_G.pt", "x_G.pt", "11_G.pt.bak", "-1_G.pt", ".part-5_G.pt", "12_D.pt", "1 2_G.pt"):
        (folder.model / name).touch()
    assert folder.iterations() == [9, 10, 100] and folder.iterations("G_ema") == [7] and folder.iterations("D") == [12]
    assert folder.state_iterations() == []


def test_an_iteration_is_chosen_by_number_as_the_best_or_all(folder):
    add_weights(folder, 5, 10)
    folder.set_best(Best(10, "G", 0.5))
    assert [folder.choose(wanted) for wanted in ("5", "best", "-1")] == [[5], [10], [5, 10]]
    for wanted, words in (("7", "there are 5, 10"), ("last", "'best', or -1 for all"), ("-2", "give a number"),
                          ("٣", "give a number"),
                          ("9" * 30, "give a number"), ("", "give a number")):
        with pytest.raises(UserError, match=words):
            folder.choose(wanted)
    with pytest.raises(UserError, match="train with --ema for --average"):
        folder.choose("5", "G_ema")
    folder.set_best(None)
    with pytest.raises(UserError, match="train with --val_during_train"):
        folder.choose("best")
    add_weights(folder, *range(20, 60))
    with pytest.raises(UserError, match=r"there are 5, 10, 20, 21, \.\.\., 56, 57, 58, 59$"):
        folder.choose("7")


def test_the_best_is_remembered_once(folder):
    assert folder.best() is None
    folder.set_best(Best(5, "G_ema", 0.25))
    assert folder.best() == Best(5, "G_ema", 0.25) and json.loads(folder.best_file.read_text())["network"] == "G_ema"
    before = folder.best_file.stat().st_mtime_ns
    folder.set_best(Best(5, "G_ema", 0.25))
    assert folder.best_file.stat().st_mtime_ns == before
    folder.best_file.write_text("{}")
    with pytest.raises(UserError, match="names no checkpoint; delete it"):
        folder.best()
    folder.set_best(Best(6, "G", 0.5))
    assert folder.best() == Best(6, "G", 0.5)


def test_the_last_states_and_that_of_the_best_are_kept(folder):
    add_states(folder, 1, 2, 3, 4, 5)
    folder.set_best(Best(2, "G", 0.5))
    folder.prune_states(5, keep=2)
    assert folder.state_iterations() == [2, 4, 5]
    folder.best_file.write_text("damaged")
    folder.prune_states(5, keep=1)
    assert folder.state_iterations() == [5]


def test_the_state_just_written_is_kept_and_those_of_a_branch_that_was_left_go(folder):
    add_states(folder, 10, 20, 30, 12)
    folder.prune_states(12, keep=1)
    assert folder.state_iterations() == [12]


def test_the_newest_good_state_is_found(folder, capsys):
    assert folder.newest_good_state() is None
    add_states(folder, 1, 2, 3)
    folder.state(3).write_bytes(b"half")
    assert folder.newest_good_state() == 2 and "trying the state before it" in capsys.readouterr().err
    assert folder.newest_good_state(before=1) == 1
    with pytest.raises(UserError, match=r"State/7\.pt does not exist"):
        folder.read_state(7)
    os.rename(folder.state(2), folder.state(4))
    with pytest.raises(UserError, match="is the training state of iteration 2"):
        folder.read_state(4)


def test_leftovers_go_but_not_those_of_a_test_that_runs(folder):
    young, old = folder.generated / "5" / ".part-young", folder.generated / "5" / ".part-old"
    leftovers = [folder.path / ".part-a", folder.model / ".part-b", folder.states / ".part-c",
                 folder.samples / ".part-d"]
    for path in (young, old, *leftovers):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(old, (0, time.time() - 2 * 86400))
    folder.remove_leftovers()
    assert [path for path in (young, old, *leftovers) if path.exists()] == [young]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "checkpoints").touch()
    folder = RunFolder("run", tmp_path / "checkpoints")
    with pytest.raises(UserError, match="cannot make .*checkpoints/run"), folder.locked():
        pass


def test_links_that_lead_out_of_the_folder_of_runs_are_refused(tmp_path):
    root = tmp_path / "checkpoints"
    (root / "run").mkdir(parents=True)
    (root / "run" / "Model").symlink_to(tmp_path)
    with pytest.raises(UserError, match="results stay in"):
        RunFolder("run", root)
    (root / "run" / "Model").unlink()
    (root / "run" / "Model").symlink_to(root / "run" / "Model")
    with pytest.raises(UserError, match="leads"):
        RunFolder("run", root)
    (tmp_path / "other disk").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "other disk")
    assert RunFolder("run", tmp_path / "linked").path == tmp_path / "linked" / "run"


def test_weights_load_whoever_wrapped_them_and_into_a_network_without_memory(tmp_path):
    first, path = network(), tmp_path / "5_G.pt"
    torch.save({f"module.{name}": value for name, value in first.state_dict().items()}, path)
    with torch.device("meta"):
        bare = network()
    for second in (network(), bare):
        load_weights(second, path)
        assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("options, words", [({"n_gf": 4},
                                             r"model.1.weight is \(2, 1, 7, 7\) there and \(4, 1, 7, 7\) here"),
                                            ({"n_residual": 2}, "is of another network"),
                                            ({"n_downsample": 2}, "is of another network"),
                                            ({"n_residual": 0}, "is of another network")], ids=repr)
def test_weights_of_another_network_are_refused_by_the_first_difference(tmp_path, options, words):
    save_tensors(tmp_path / "5_G.pt", network().state_dict())
    with pytest.raises(UserError, match=words):
        load_weights(network(**options), tmp_path / "5_G.pt")


def test_what_a_network_lacks_or_has_too_much_is_named(tmp_path):
    state = network().state_dict()
    last = list(state)[-1]
    save_tensors(tmp_path / "less.pt", {name: value for name, value in state.items() if name != last})
    save_tensors(tmp_path / "more.pt", state | {"more": torch.zeros(1)})
    with pytest.raises(UserError, match=f"it lacks {last}"):
        load_weights(network(), tmp_path / "less.pt")
    with pytest.raises(UserError, match="it has more, which this network lacks"):
        load_weights(network(), tmp_path / "more.pt")


def test_old_files_of_torch_save_can_be_read(tmp_path):
    torch.save({"a": torch.arange(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "old.pt")["a"], torch.arange(3))


@pytest.mark.parametrize("content, words", [(b"", "damaged"), (b"hello", "damaged"), (b"\x80\x04]\x94.", "damaged")])
def test_what_is_no_file_of_torch_save_is_refused(tmp_path, content, words):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_tensors(tmp_path / "a.pt")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no file"):
        read_tensors(tmp_path)


def test_a_snapshot_does_not_change_with_what_it_was_taken_of():
    live = {"weights": [torch.zeros(2), (torch.ones(1), 3)], "name": "x"}
    kept = snapshot(live)
    live["weights"][0].add_(1)
    assert kept["weights"][0].tolist() == [0, 0] and isinstance(kept["weights"][1], tuple) and kept["name"] == "x"


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "5_G.pt"
    save_tensors(path, {"a": torch.zeros(1)})

    def fail(state, file):
        raise RuntimeError("unexpected pos 64\nat line 3")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match=r"cannot write .*5_G.pt: unexpected pos 64\. Free some space"):
        save_tensors(path, {"a": torch.ones(1)})
    assert read_tensors(path)["a"].item() == 0 and list(tmp_path.iterdir()) == [path]
