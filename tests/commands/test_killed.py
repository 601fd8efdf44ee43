"""Whatever ends a training, it goes on where it was: kills, signals, full or lost disks, divergence, a second one."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from running import RUN, differences, finish, start, train, wait_for, write_pairs
from survival import FLAGS, result_of, survive, unreadable

ROLLBACK = ["--no_shuffle", "--save_freq", 6, "--display_freq", 100, "--on_nan", "rollback"]
SHORT = ["--save_freq", 2, "--report_freq", 2, "--display_freq", 100]
pytestmark = pytest.mark.usefixtures("one_thread")


def log():
    return Path("log").read_text()


# Killed

def test_a_training_survives_kills_at_any_moment(here):
    write_pairs(here, size=48)      # smaller ones have too few bins to be scored, and there would be no best
    outcome = survive(here, 6, iterations=16, seed=1)
    assert outcome.problems == [] and outcome.kills == 6 and outcome.completed >= 1 and outcome.checked > 0


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    """What a run of eight iterations leaves that is left alone."""
    folder = write_pairs(tmp_path_factory.mktemp("unkilled"), size=48)
    assert finish(start(folder, "Train", *FLAGS, "--n_iterations", 8)) == 0, (folder / "log").read_text()
    return result_of(folder / "checkpoints" / "run", 8)


@pytest.mark.parametrize("moment", [3, 8, 10, 12])
def test_a_kill_between_any_two_writes_is_made_up_for(here, unkilled, moment):
    """The process kills itself just before it puts its `moment`-th file in place."""
    write_pairs(here, size=48)
    flags = [*FLAGS, "--n_iterations", 8]
    run = here / "checkpoints" / "run"
    assert finish(start(here, "Train", *flags, DIE_AT_WRITE=moment)) == -9
    assert any(run.rglob(".part-*")) and unreadable(run)[0] == []
    assert finish(start(here, "Train", *flags)) == 0, log()
    assert differences(unkilled, result_of(run, 8)) == [] and not any(run.rglob(".part-*"))


def test_a_terminated_training_saves_and_says_that_it_is_to_be_continued(here):
    """As Slurm does it: SIGTERM to all processes of the job, those of the loader too."""
    flags = [*RUN, "--n_workers", 2, *SHORT, "--n_epochs", 1000]
    process = start(here, "Train", *flags)
    wait_for(Path("checkpoints/run/losses.csv").is_file)
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process) == 75
    iteration = int(re.search(r"stopped at iteration (\d+) of 7000, all saved", log())[1])
    assert torch.load(f"checkpoints/run/State/{iteration}.pt", weights_only=True)["iteration"] == iteration
    assert Path(f"checkpoints/run/Model/{iteration}_G.pt").is_file() and not Path("checkpoints/run/train.lock").exists()
    assert log().count("saving; Ctrl-C stops at once") == 1 and "Traceback" not in log()
    assert train(*SHORT, "--n_epochs", 1000, "--n_iterations", iteration + 1, "--resume").status == 0


def test_ctrl_c_saves(here):
    process = start(here, "Train", *RUN, "--n_workers", 2, *SHORT, "--n_epochs", 1000)
    wait_for(Path("checkpoints/run/losses.csv").is_file)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == 130 and "all saved" in log() and "Traceback" not in log()


def test_a_second_ctrl_c_stops_at_once_in_the_middle_of_a_step(here):
    process = start(here, "Train", *RUN, "--n_workers", 1, "--n_gf", 256, "--n_residual", 9)
    wait_for(Path("checkpoints/run/tensorboard").is_dir)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: "saving; Ctrl-C stops at once" in log())
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == 130
    # The step in hand was not waited for.
    assert "all saved" not in log() and not Path("checkpoints/run/State").exists()
    assert Path("checkpoints/run/train.lock").exists()
    result = train(*SHORT, "--n_iterations", 2, "--resume", "--allow_changed_options")
    assert result.status == 0, result.err


def test_what_a_killed_loader_leaves_does_not_hold_up_the_next_start(here):
    flags = [*RUN, "--n_workers", 2, *SHORT, "--n_epochs", 1000]
    process = start(here, "Train", *flags)
    wait_for(Path("checkpoints/run/State/2.pt").is_file)
    process.kill()
    finish(process)
    again = start(here, "Train", *flags, "--resume")
    wait_for(lambda: "resuming from iteration" in log())
    os.kill(again.pid, signal.SIGTERM)
    assert finish(again) == 75


def test_a_killed_loader_process_is_a_message(here):
    process = start(here, "Train", *RUN, "--n_workers", 1, *SHORT, "--n_epochs", 1000)
    wait_for(Path("checkpoints/run/State/2.pt").is_file)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    status = finish(process)
    assert status == 2 and "a worker process was killed" in log() and "Traceback" not in log(), log()


# A full, read-only or vanished disk

def test_a_full_disk_is_named_and_the_last_checkpoint_stays(here):
    assert train(*SHORT, "--n_iterations", 2).status == 0
    process = start(here, "Train", *RUN, "--n_workers", 0, *SHORT, "--n_iterations", 8, "--resume", FILE_LIMIT=60_000)
    assert finish(process) == 2
    assert "error: cannot write checkpoints/run/State/4.pt: File too large" in log() and "Traceback" not in log()
    assert unreadable(here / "checkpoints/run")[0] == [] and not any(here.rglob(".part-*"))
    result = train(*SHORT, "--n_iterations", 4, "--resume")
    assert result.status == 0 and "resuming from iteration 2" in result.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_disk_that_fills_up_or_turns_read_only_is_named(here):
    disk = here / "checkpoints"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        assert train(*SHORT, "--n_iterations", 2).status == 0
        with open(disk / "ballast", "wb") as file:
            file.write(bytes(os.statvfs(disk).f_bavail * 4096 - 40_000))
        result = train(*SHORT, "--n_iterations", 8, "--resume")
        assert result.status == 2, result.err
        assert re.search("cannot write .*checkpoints/run.*No space left on device", result.err), result.err
        assert unreadable(disk / "run")[0] == []
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        result = train(*SHORT, "--n_iterations", 4, "--resume")
        assert result.status == 2 and "Read-only file system" in result.err
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        (disk / "ballast").unlink()
        assert train(*SHORT, "--n_iterations", 4, "--resume").status == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("lose", [lambda run: run.rename("elsewhere"), shutil.rmtree,
                                  lambda run: (run / "train.lock").unlink()],
                         ids=["moved", "deleted", "lock deleted"])
def test_a_lost_folder_ends_the_run_and_is_not_made_anew(here, lose):
    process = start(here, "Train", *RUN, "--n_workers", 0, *SHORT, "--n_epochs", 1000)
    run = Path("checkpoints/run")
    wait_for((run / "State/2.pt").is_file)
    os.kill(process.pid, signal.SIGSTOP)
    lose(run)
    os.kill(process.pid, signal.SIGCONT)
    assert finish(process) == 2
    # The second message if it was lost while a file was being written.
    messages = ("checkpoints/run/train.lock is gone or another process has taken it",
                "cannot write (in )?checkpoints/run.*: No such file")
    assert re.search("|".join(messages), log()) and "Traceback" not in log()
    assert not (run / "State" / "10.pt").exists()


def test_a_folder_that_cannot_be_made_is_named(here):
    Path("checkpoints").write_text("a file")
    result = train(*SHORT, "--n_iterations", 2)
    assert result.status == 2 and "checkpoints" in result.err


# Diverged

@pytest.fixture
def diverging(here, monkeypatch):
    """A loss that is NaN from the second time on that the pair `sun_3` is seen."""
    from pix2pixcc.training.step import AdversarialTraining
    seen = []
    step = AdversarialTraining.step

    def faulty(self, input, target):
        if input.max() > 1.005:      # only sun_3 is as bright
            seen.append(1)
            if len(seen) > 1:
                input = input * float("inf")
        return step(self, input, target)

    from astropy.io import fits
    with fits.open("data/Input/sun_3.fits", mode="update") as hdus:
        hdus[0].data[0, 16, 16] = 250
        del hdus[0].header["CHECKSUM"], hdus[0].header["DATASUM"]
    for k in range(7):
        if k != 3:
            with fits.open(f"data/Input/sun_{k}.fits", mode="update") as hdus:
                hdus[0].data[hdus[0].data > 199] = 199
                del hdus[0].header["CHECKSUM"], hdus[0].header["DATASUM"]
    monkeypatch.setattr(AdversarialTraining, "step", faulty)
    return here


def test_a_diverged_run_stops_and_names_iteration_and_files(diverging):
    result = train("--no_shuffle", "--n_iterations", 40, "--save_freq", 6, "--report_freq", 10, "--display_freq", 100)
    assert result.status == 2
    assert "the loss is no number at iteration 11; its images: data/Input/sun_3.fits." in result.err
    assert "Nothing of it was saved; the last good state is iteration 6" in result.err
    assert "--on_nan rollback" in result.err
    assert unreadable(diverging / "checkpoints/run")[0] == [] and not Path("checkpoints/run/Model/12_G.pt").exists()
    for path in Path("checkpoints/run/Model").iterdir():
        assert all(value.isfinite().all() for value in torch.load(path, weights_only=True).values())


def test_a_rollback_goes_on_from_the_last_good_state_at_half_the_rate(diverging, monkeypatch):
    from pix2pixcc.training.step import AdversarialTraining

    faulty, times = AdversarialTraining.step, []

    def once(self, input, target):
        if len(times) and input.max() > 1.005:
            input = input.clamp(max=1)
        try:
            return faulty(self, input, target)
        finally:
            if not self.sums.isfinite().all():
                times.append(1)

    monkeypatch.setattr(AdversarialTraining, "step", once)
    result = train(*ROLLBACK, "--n_iterations", 14, "--report_freq", 4)
    assert result.status == 0, result.err
    assert "at iteration 11" in result.out and "Back to iteration 6 with the learning rate times 0.5" in result.out
    rows = [line.split(",") for line in Path("checkpoints/run/losses.csv").read_text().splitlines()]
    assert [(row[0], row[2]) for row in rows[1:]] == [("4", "0.0002"), ("8", "0.0001"), ("12", "0.0001")]
    assert torch.load("checkpoints/run/State/14.pt", weights_only=True)["lr_factor"] == 0.5


def test_a_run_that_always_diverges_gives_up(diverging):
    result = train(*ROLLBACK, "--n_iterations", 40, "--report_freq", 10)
    assert result.status == 2 and "again and again from iteration 6 on" in result.err
    assert result.out.count("Back to iteration 6") == 9


def test_a_run_that_diverges_before_its_first_state_stops(here):
    result = train("--lr", 1e15, "--n_iterations", 20, "--report_freq", 1, "--on_nan", "rollback")
    assert result.status == 2 and "start again with a lower --lr" in result.err and not list(here.rglob("*.pt"))


def test_missing_pixels_never_reach_the_loss(here):
    from astropy.io import fits
    for side in ("Input", "Target"):
        for path in Path("data", side).iterdir():
            with fits.open(path, mode="update") as hdus:
                hdus[0].data[0, 3:9, 4:20] = float("nan")
                hdus[0].data[0, 20, 20] = float("inf")
                hdus[0].data[0, 21, 21] = -float("inf")
                del hdus[0].header["CHECKSUM"], hdus[0].header["DATASUM"]
    result = train(*SHORT, "--n_iterations", 8, "--padding_size", 2, "--max_rotation_angle", 10)
    assert result.status == 0, result.err
    assert "nan" not in Path("checkpoints/run/losses.csv").read_text()
    weights = torch.load("checkpoints/run/Model/8_G.pt", weights_only=True)
    assert all(value.isfinite().all() for value in weights.values())


def test_a_file_that_vanishes_while_training_is_named(here):
    process = start(here, "Train", *RUN, "--n_workers", 2, *SHORT, "--n_epochs", 1000)
    wait_for(Path("checkpoints/run/State/2.pt").is_file)
    Path("data/Target/sun_2.fits").unlink()
    assert finish(process) == 2
    assert re.search(r"^error: cannot read data/Target/sun_2.fits: No such file", log(), re.MULTILINE)
    assert "Traceback" not in log()


# Two at once

def test_the_second_training_is_told_who_holds_the_folder(here):
    first = start(here, "Train", *RUN, "--n_workers", 0, *SHORT, "--n_epochs", 1000)
    wait_for(Path("checkpoints/run/State/2.pt").is_file)
    result = train(*SHORT, "--n_epochs", 1000, "--resume")
    assert result.status == 2 and f"is being trained by process {first.pid} on {socket.gethostname()}" in result.err
    assert "delete checkpoints/run/train.lock" in result.err
    os.kill(first.pid, signal.SIGTERM)
    assert finish(first) == 75
    assert train(*SHORT, "--n_epochs", 1000, "--n_iterations", 4, "--resume").status == 0


def test_a_job_goes_on_elsewhere_when_its_node_has_died(here):
    """The name in the lock file is that of another host, and no process holds it."""
    process = start(here, "Train", *RUN, "--n_workers", 0, *SHORT, "--n_epochs", 1000)
    wait_for(Path("checkpoints/run/State/2.pt").is_file)
    process.kill()
    finish(process)
    lock = Path("checkpoints/run/train.lock")
    lock.write_text(lock.read_text().replace(socket.gethostname(), "node17"))
    result = train(*SHORT, "--n_epochs", 1000, "--n_iterations", 40, "--resume")
    assert result.status == 0 and "resuming from iteration" in result.out, result.err
    assert not lock.exists()


def test_two_tests_at_once_on_one_checkpoint_do_not_disturb_each_other(here):
    assert train(*SHORT, "--n_iterations", 2).status == 0
    flags = ["--dataset_name", "run", "--gpu_ids", "-1", "--input_dir_test", "data/Input", "--iteration", 2,
             "--n_workers", 1]
    assert [finish(process) for process in [start(here, "Test", *flags) for _ in range(2)]] == [0, 0], log()
    products = sorted(path.name for path in Path("checkpoints/run/Image/Test/2").glob("*.fits"))
    assert products == [f"sun_{k}_AI.fits" for k in range(7)] and not any(here.rglob(".part-*"))
    assert unreadable(here / "checkpoints/run")[0] == []


def test_a_training_leaves_the_unfinished_products_of_a_test_alone(here):
    folder = here / "checkpoints/run/Image/Test/2"
    folder.mkdir(parents=True)
    (folder / ".part-young").write_bytes(b"")
    (folder / ".part-old").write_bytes(b"")
    os.utime(folder / ".part-old", (0, time.time() - 2 * 86400))
    assert train(*SHORT, "--n_iterations", 2).status == 0
    assert [path.name for path in folder.iterdir()] == [".part-young"]
