"""What a run writes: in order, never two minds about it, and made up for after a kill."""
import json
import os
from pathlib import Path

import pytest
import torch

from pix2pixcc.training import recorder as module
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.recorder import Recorder
from pix2pixcc.utils import UserError

COLUMNS = ["loss_G", "val_cc_binned", "ema_cc_binned"]


class Sample:
    """In the place of a pair to draw: notes what is asked of it."""

    def __init__(self):
        self.drawn = []

    def draw(self, folder, iteration, generated):
        self.drawn.append((folder.name, iteration, generated.item()))


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder("run", tmp_path / "checkpoints")
    with folder.locked():
        yield folder


def record(folder, start=0, keep_last=2, sample=None):
    return Recorder(folder, RunRecord({"options": {"n_gf": 4}}), COLUMNS, sample or Sample(), start=start, keep_last=keep_last)


def state(value, average=None):
    training = {"generator": {"w": torch.tensor([value])}, "discriminator": {"w": torch.tensor([-value])}}
    if average is not None:
        training["average"] = {"n_averaged": torch.tensor(3), "module.w": torch.tensor([average])}
    return {"training": training, "lr_factor": 1.0}


def weight(folder, iteration, network="G"):
    return torch.load(folder.weights(iteration, network), weights_only=True)["w"].item()


def test_a_checkpoint_is_state_weights_average_and_best(folder):
    with record(folder) as recorder:
        recorder.report(2, 0.5, 2e-4, {"loss_G": 3.0})
        recorder.save(2, 0.5, 2e-4, state(1.0, average=0.5), {"val_cc_binned": 0.25, "ema_cc_binned": 0.5})
    assert (weight(folder, 2), weight(folder, 2, "D"), weight(folder, 2, "G_ema")) == (1.0, -1.0, 0.5)
    assert json.loads(folder.best_file.read_text()) == {"iteration": 2, "network": "G_ema", "cc_binned": 0.5}
    saved = folder.read_state(2)
    assert saved["record"] == {"options": {"n_gf": 4}} == json.loads(folder.options.read_text())
    assert folder.losses.read_text() == "iteration,epoch,lr,loss_G,val_cc_binned,ema_cc_binned\n2,0.5000,0.0002,3,0.25,0.5\n"
    assert (folder.path / "index.html").is_file() and (folder.path / "losses.png").is_file()
    assert any("tfevents" in path.name for path in folder.board.iterdir())


def test_a_checkpoint_is_what_it_was_when_it_was_saved(folder):
    live = state(1.0)
    with record(folder) as recorder:
        recorder.save(2, 0.5, 2e-4, live, {})
        live["training"]["generator"]["w"].add_(5)
    assert weight(folder, 2) == 1.0


def test_the_best_is_that_of_the_table_the_first_of_equals(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.25), (4, 0.75), (6, 0.75), (8, float("nan"))):
            recorder.save(iteration, 1.0, 1e-4, state(1.0), {"val_cc_binned": score})
    assert folder.best().iteration == 4 and folder.state_iterations() == [4, 6, 8]


def test_going_back_forgets_later_rows_and_the_best_among_them(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.25), (4, 0.75)):
            recorder.save(iteration, 1.0, 1e-4, state(1.0), {"val_cc_binned": score})
        recorder.rewind(2)
        assert folder.best().iteration == 2
        recorder.report(4, 1.0, 1e-4, {"loss_G": 9.0})
    assert folder.losses.read_text().splitlines()[1:] == ["2,1.0000,0.0001,,0.25,", "4,1.0000,0.0001,9,,"]


def test_a_new_start_takes_up_what_was_recorded(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.75), (4, 0.5)):
            recorder.save(iteration, 1.0, 1e-4, state(1.0), {"val_cc_binned": score})
    folder.best_file.unlink()
    (folder.model / ".part-x").touch()
    with record(folder, start=4) as recorder:
        assert folder.best().iteration == 2 and not (folder.model / ".part-x").exists()
    with record(folder) as recorder:                       # from the start: nothing of it counts
        pass
    assert folder.best() is None and len(folder.losses.read_text().splitlines()) == 1


def test_weights_that_are_missing_or_older_than_their_state_are_made_from_it(folder):
    with record(folder) as recorder:
        recorder.save(2, 1.0, 1e-4, state(1.0), {})
    kept = folder.weights(2, "D").stat().st_mtime_ns
    folder.weights(2, "G").unlink()
    with record(folder, start=2) as recorder:
        recorder.complete(2, state(1.0)["training"])
    assert weight(folder, 2) == 1.0 and folder.weights(2, "D").stat().st_mtime_ns == kept
    os.utime(folder.weights(2, "D"), (0, 0))               # left by a branch that was abandoned
    with record(folder, start=2) as recorder:
        recorder.complete(2, state(7.0)["training"])
    assert weight(folder, 2, "D") == -7.0 and weight(folder, 2) == 1.0


def test_only_the_state_is_written_after_a_rollback(folder):
    with record(folder) as recorder:
        recorder.save_state(2, state(1.0))
    assert folder.state_iterations() == [2] and folder.iterations() == []


def test_the_sample_is_drawn_in_the_background(folder):
    sample = Sample()
    with record(folder, sample=sample) as recorder:
        recorder.display(5, torch.tensor([2.5]))
    assert sample.drawn == [("Train", 5, 2.5)]


def test_curves_and_page_are_not_drawn_more_often_than_can_be_looked_at(folder, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "gallery", drawn.append)
    monkeypatch.setattr(module, "loss_curves", lambda *paths: None)
    with record(folder) as recorder:
        for _ in range(5):
            recorder.draw()
        recorder.wait()
        assert drawn == []
        monkeypatch.setattr(module, "DRAW_EVERY", 0.0)
        recorder.draw()
        recorder.wait()
        assert len(drawn) == 1
    assert len(drawn) == 2                                 # and at the end


def test_a_run_that_fails_draws_nothing_more(folder, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "gallery", drawn.append)
    with pytest.raises(UserError, match="diverged"), record(folder) as recorder:
        recorder.save(2, 1.0, 1e-4, state(1.0), {})
        raise UserError("diverged")
    assert drawn == [] and folder.state_iterations() == [2]      # what was saved before is there


def test_nothing_is_written_into_a_folder_that_another_has_taken(folder):
    with pytest.raises(UserError, match="is gone or another process has taken it"), record(folder) as recorder:
        folder.lock.path.unlink()
        recorder.save(2, 1.0, 1e-4, state(1.0), {})
    assert folder.state_iterations() == [] and folder.iterations() == []


@pytest.mark.parametrize("what", ["save_tensors", "loss_curves", "gallery"])
def test_a_full_disk_is_told_whoever_writes(folder, monkeypatch, what):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, what, full)
    with pytest.raises(UserError, match=r"cannot write in .*run: No space left on device\. Free some space"), record(folder) as recorder:
        recorder.save(2, 1.0, 1e-4, state(1.0), {})
        recorder.save(4, 1.0, 1e-4, state(1.0), {})
    assert folder.state_iterations() == ([] if what == "save_tensors" else [2, 4])


def test_tensorboard_on_a_full_disk_is_told(folder, monkeypatch):
    class Full:
        def __init__(self, *_, **__):
            pass

        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "SummaryWriter", Full)
    with pytest.raises(UserError, match="No space left on device"), record(folder) as recorder:
        recorder.report(2, 0.5, 1e-4, {"loss_G": 1.0})
    assert Path(folder.losses).is_file()
