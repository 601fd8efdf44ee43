"""What a run writes: in order, never two minds about it, and made up for after a kill."""
import io
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from pix2pixcc.training import recorder as module
from pix2pixcc.training.folder import Best, RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.recorder import FolderRecorder, LossTable, Recorder
from pix2pixcc.utils import UserError

COLUMNS = ["loss_G", "val_cc_binned", "ema_cc_binned"]


class Sample:
    """In the place of a pair to draw: writes down what is asked of it, and by which process it is done."""

    input = torch.tensor([2.0])

    def draw(self, folder, iteration, generated):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{iteration}_noted").write_text(f"{generated.item()} {os.getpid()}")


@pytest.fixture
def pages(monkeypatch, tmp_path):
    """What stands in for drawing the curves and the page, and tells how often that was done, in whichever process."""
    noted = tmp_path / "pages"

    def note(path, **_):
        with open(noted, "a") as file:
            file.write(f"{path}\n")

    monkeypatch.setattr(module, "gallery", note)
    monkeypatch.setattr(module, "loss_curves", lambda *paths: None)
    return lambda: len(noted.read_text().splitlines()) if noted.exists() else 0


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder("run", tmp_path / "checkpoints")
    with folder.locked():
        yield folder


def record(folder, start=0, keep_last=2, sample=None):
    return FolderRecorder(folder, RunRecord({"options": {"n_gf": 4}}), COLUMNS, sample or Sample(), start=start,
                          epoch=4, keep_last=keep_last)


def state(value, average=None):
    training = {"generator": {"w": torch.tensor([value])}, "discriminator": {"w": torch.tensor([-value])}}
    if average is not None:
        training["average"] = {"n_averaged": torch.tensor(3), "module.w": torch.tensor([average])}
    return {"training": training, "lr_factor": 1.0}


def weight(folder, iteration, network="G"):
    return torch.load(folder.weights(iteration, network), weights_only=True)["w"].item()


def test_a_checkpoint_is_state_weights_average_and_best(folder):
    with record(folder) as recorder:
        recorder.report(2, 2e-4, {"loss_G": 3.0})
        recorder.save(2, 2e-4, state(1.0, average=0.5), {"val_cc_binned": 0.25, "ema_cc_binned": 0.5})
    assert (weight(folder, 2), weight(folder, 2, "D"), weight(folder, 2, "G_ema")) == (1.0, -1.0, 0.5)
    assert json.loads(folder.best_file.read_text()) == {"iteration": 2, "network": "G_ema", "cc_binned": 0.5}
    saved = folder.read_state(2)
    assert saved["record"] == {"options": {"n_gf": 4}} == json.loads(folder.options.read_text())
    assert folder.losses.read_text() == ("iteration,epoch,lr,loss_G,val_cc_binned,ema_cc_binned\n"
                                         "2,0.5000,0.0002,3,0.25,0.5\n")
    assert (folder.path / "index.html").is_file() and (folder.path / "losses.png").is_file()
    assert any("tfevents" in path.name for path in folder.board.iterdir())


def test_a_checkpoint_is_what_it_was_when_it_was_saved(folder):
    live = state(1.0)
    with record(folder) as recorder:
        recorder.save(2, 2e-4, live, {})
        live["training"]["generator"]["w"].add_(5)
    assert weight(folder, 2) == 1.0


def test_the_best_is_that_of_the_table_the_first_of_equals(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.25), (4, 0.75), (6, 0.75), (8, float("nan"))):
            recorder.save(iteration, 1e-4, state(1.0), {"val_cc_binned": score})
    assert folder.best().iteration == 4 and folder.state_iterations() == [4, 6, 8]


def test_going_back_forgets_later_rows_and_the_best_among_them(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.25), (4, 0.75)):
            recorder.save(iteration, 1e-4, state(1.0), {"val_cc_binned": score})
        recorder.rewind(2, state(1.0))
        assert folder.best().iteration == 2
        recorder.report(4, 1e-4, {"loss_G": 9.0})
    assert folder.losses.read_text().splitlines()[1:] == ["2,0.5000,0.0001,,0.25,", "4,1.0000,0.0001,9,,"]


def test_a_new_start_takes_up_what_was_recorded(folder):
    with record(folder) as recorder:
        for iteration, score in ((2, 0.75), (4, 0.5)):
            recorder.save(iteration, 1e-4, state(1.0), {"val_cc_binned": score})
    folder.best_file.unlink()
    (folder.model / ".part-x").touch()
    with record(folder, start=4) as recorder:
        assert folder.best().iteration == 2 and not (folder.model / ".part-x").exists()
    with record(folder) as recorder:                       # from the start: nothing of it counts
        pass
    assert folder.best() is None and len(folder.losses.read_text().splitlines()) == 1


def test_weights_that_are_missing_or_older_than_their_state_are_made_from_it(folder):
    with record(folder) as recorder:
        recorder.save(2, 1e-4, state(1.0), {})
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
        recorder.rewind(2, state(1.0))
    assert folder.state_iterations() == [2] and folder.iterations() == []


def test_the_sample_is_drawn_by_another_process(folder):
    with record(folder) as recorder:
        recorder.display(5, lambda input: input + 0.5)
        recorder.display(10, lambda input: input + 1)
    noted = [(folder.samples / f"{iteration}_noted").read_text().split() for iteration in (5, 10)]
    assert [value for value, _ in noted] == ["2.5", "3.0"]
    assert noted[0][1] == noted[1][1] != str(os.getpid())


def test_what_is_asked_for_after_a_drawing_is_written_after_it(folder, monkeypatch):
    """A checkpoint that is there tells that the pictures before it are there too."""
    order, save = [], module.save_tensors
    monkeypatch.setattr(module, "save_tensors", lambda path, state: (
        order.append((folder.samples / "2_noted").exists()) or save(path, state)))
    with record(folder) as recorder:
        recorder.display(2, lambda input: input)
        recorder.save(2, 1e-4, state(1.0), {})
    assert order == [True] * 3


def test_a_drawing_that_fails_or_is_killed_ends_the_run_with_a_message(folder, monkeypatch):
    monkeypatch.setattr(Sample, "draw", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError.*in a worker process"), \
            record(folder) as recorder:
        recorder.display(2, lambda input: input)
        recorder.save(2, 1e-4, state(1.0), {})
        recorder.wait()
    monkeypatch.setattr(Sample, "draw", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="a worker process was killed"), record(folder) as recorder:
        recorder.display(2, lambda input: input)
        recorder.wait()
    assert folder.state_iterations() == [] and multiprocessing.active_children() == []


def test_curves_and_page_are_not_drawn_more_often_than_can_be_looked_at(folder, monkeypatch, pages):
    with record(folder) as recorder:
        for _ in range(5):
            recorder.draw()
        recorder.wait()
        assert pages() == 0
        monkeypatch.setattr(module, "DRAW_EVERY", 0.0)
        recorder.draw()
        recorder.wait()
        assert pages() == 1
    assert pages() == 2                                    # and at the end


def test_the_page_of_a_training_does_not_read_what_was_generated(folder):
    products = folder.generated / "2"
    products.mkdir(parents=True)
    (products / "sun_AI.fits").touch()
    with record(folder):
        pass
    page = (folder.path / "index.html").read_text()
    assert 'href="Image/Test/2/"' in page and "sun_AI.fits" not in page


def test_a_run_that_fails_draws_nothing_more(folder, pages):
    with pytest.raises(UserError, match="diverged"), record(folder) as recorder:
        recorder.save(2, 1e-4, state(1.0), {})
        raise UserError("diverged")
    assert pages() == 0 and folder.state_iterations() == [2]      # what was saved before is there


def test_nothing_is_written_into_a_folder_that_another_has_taken(folder):
    with pytest.raises(UserError, match="is gone or another process has taken it"), record(folder) as recorder:
        folder.lock.path.unlink()
        recorder.save(2, 1e-4, state(1.0), {})
    assert folder.state_iterations() == [] and folder.iterations() == []


@pytest.mark.parametrize("what", ["save_tensors", "loss_curves", "gallery"])
def test_a_full_disk_is_told_whoever_writes(folder, monkeypatch, what):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, what, full)
    words = r"cannot write in .*run: No space left on device\. Free some space"
    with pytest.raises(UserError, match=words), record(folder) as recorder:
        recorder.save(2, 1e-4, state(1.0), {})
        recorder.save(4, 1e-4, state(1.0), {})
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
        recorder.report(2, 1e-4, {"loss_G": 1.0})
    assert Path(folder.losses).is_file()


def test_the_other_ranks_record_nothing(folder):
    before = sorted(folder.path.rglob("*"))
    with Recorder() as recorder:
        recorder.report(2, 1e-4, {"loss_G": 1.0})
        recorder.display(2, None)
        recorder.save(2, 1e-4, state(1.0), {"val_cc_binned": 0.5})
        recorder.complete(2, state(1.0)["training"])
        recorder.rewind(2, state(1.0))
        recorder.draw()
        recorder.wait()
    assert sorted(folder.path.rglob("*")) == before


# The table

HEADER = "iteration,epoch,lr,loss_G,val_cc\n"


def table(path, keep_until=0, columns=("loss_G", "val_cc")):
    return LossTable(path, columns, keep_until)


def add(rows, *row):
    rows.write(*rows.add(*row))


def test_a_report_and_the_scores_of_one_iteration_share_a_row(tmp_path):
    rows = table(tmp_path / "losses.csv")
    add(rows, 2, 0.5, 2e-4, {"loss_G": 1.23456789})
    add(rows, 4, 1.0, 2e-4, {"loss_G": 1.0})
    add(rows, 4, 1.0, 2e-4, {"val_cc": 0.5})
    add(rows, 6, 1.5, 1e-4, {"loss_G": float("nan"), "val_cc": float("inf")})
    assert rows.path.read_text() == HEADER + "2,0.5000,0.0002,1.23457,\n4,1.0000,0.0002,1,0.5\n6,1.5000,0.0001,,\n"


def test_a_row_is_appended_whatever_the_length_of_the_table(tmp_path):
    """What is written for the last report of a run is one row, as for the first."""
    rows, written = table(tmp_path / "losses.csv"), []
    add(rows, 2, 0.5, 1e-4, {"loss_G": 2})
    for iteration in (4, 6):
        line, replaced = rows.add(iteration, 0.5, 1e-4, {"loss_G": iteration})
        written.append((line, replaced))
        before = rows.path.read_bytes()
        rows.write(line, replaced)
        assert rows.path.read_bytes() == before + line.encode()
    assert written == [("4,0.5000,0.0001,4,\n", ""), ("6,0.5000,0.0001,6,\n", "")]


def test_a_table_is_taken_up_until_an_iteration(tmp_path):
    path = tmp_path / "losses.csv"
    rows = table(path)
    for iteration in (2, 4, 6):
        add(rows, iteration, iteration / 4, 1e-4, {"loss_G": iteration})
    again = table(path, 4, ["loss_G"])
    assert path.read_text() == HEADER + "2,0.5000,0.0001,2,\n4,1.0000,0.0001,4,\n"
    add(again, 4, 1.0, 1e-4, {"val_cc": 0.5})
    add(again, 6, 1.5, 1e-4, {"loss_G": 6})
    assert path.read_text() == HEADER + "2,0.5000,0.0001,2,\n4,1.0000,0.0001,4,0.5\n6,1.5000,0.0001,6,\n"
    table(path)
    assert path.read_text() == HEADER
    table(tmp_path / "none.csv", 4)
    assert (tmp_path / "none.csv").read_text() == HEADER


def test_a_last_row_that_is_not_whole_is_dropped(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text(HEADER + "2,0.5000,0.0001,2,\n4,1.0000,0.00")
    table(path, 9)
    assert path.read_text() == HEADER + "2,0.5000,0.0001,2,\n"


def test_a_row_for_which_there_is_no_room_leaves_the_table_whole(tmp_path, monkeypatch):
    rows = table(tmp_path / "losses.csv")
    add(rows, 2, 0.5, 1e-4, {"loss_G": 2})
    before = rows.path.read_text()

    class Full(io.FileIO):
        def write(self, text):
            return super().write(text[:5])

    monkeypatch.setattr(module, "open", lambda path, mode, buffering: Full(path, mode), raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        add(rows, 4, 1.0, 1e-4, {"loss_G": 4})
    assert rows.path.read_text() == before


def test_a_table_that_is_moved_away_is_begun_again(tmp_path):
    rows = table(tmp_path / "losses.csv")
    add(rows, 2, 0.5, 1e-4, {"loss_G": 2})
    rows.path.rename(tmp_path / "mine.csv")
    add(rows, 4, 1.0, 1e-4, {"loss_G": 4})
    add(rows, 4, 1.0, 1e-4, {"val_cc": 0.5})
    assert rows.path.read_text() == HEADER + "4,1.0000,0.0001,4,0.5\n"


def test_scores_that_are_no_numbers_are_passed_over(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text("iteration,val_cc_binned,notes\n2,high\n4,nan\n6,0.25,mine,more\n")
    rows = table(path, 9, ["val_cc_binned"])
    assert rows.best == Best(6, "G", 0.25) and rows.columns == ["iteration", "epoch", "lr", "val_cc_binned", "notes"]
    assert path.read_text().splitlines()[3] == "6,,,0.25,mine"


@pytest.mark.parametrize("content", [b"", b"{}", b"a,b\n1,2\n", b"iteration\nx\n", b"iteration\n\n-\n", b"\xff\xfe",
                                     b"iteration\n" + b"9" * 5000 + b"\n", b"iteration,a\n2," + b"x" * 200000 + b"\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "losses.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*losses.csv: it is damaged.*Move it away"):
        table(tmp_path / "losses.csv", 9)


def test_a_folder_in_its_place_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        table(tmp_path, 9)
