"""Several processes train as one, resume as any number, speak with one voice, and end together."""
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from running import (
    ROOT,
    RUN,
    assert_same_run,
    differences,
    finish,
    read_state,
    run,
    start_ranks,
    train,
    wait_for,
    write_pairs,
)

from pix2pixcc.parallel import launching
from pix2pixcc.parallel import ranks as devices
from pix2pixcc.parallel.launching import launch
from pix2pixcc.utils import UserError

WATCHED = ["--save_freq", 20, "--report_freq", 4, "--display_freq", 20, "--padding_size", 3, "--epoch_decay", 2,
           "--n_epochs", 8]

# The longest sums, over the pixels of two images, have 2 x 32 x 32 terms. In another order such a sum of float32 may
# differ by one rounding, 2**-24 of its terms, for each of them. 20 steps of Adam move a weight by up to 2e-4 each, in
# proportion to its gradient; twice that, since the gradients come from activations that differ as much.
ROUNDING = 2 * 32 * 32 * 2**-24                            # 1.2e-4, relative
WEIGHTS = 2 * 20 * 2e-4 * ROUNDING                         # 9.8e-7; one step on other images moves them further


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run `whole2`, 40 iterations on two ranks by torchrun, `whole1` on one, and `start2`, `start1`, the first 18."""
    torch.set_num_threads(1)
    folder = write_pairs(tmp_path_factory.mktemp("ranks"), size=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with open("torchrun.log", "w") as log:
            torchrun = subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
                 ROOT / "pix2pixCC_Train.py",
                 *map(str, [*RUN, *WATCHED, "--n_workers", 0, "--dataset_name", "whole2", "--n_iterations", 40])],
                stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert train(*WATCHED, "--dataset_name", "whole1", "--n_iterations", 40, "--batch_size", 2).status == 0
        assert train(*WATCHED, "--dataset_name", "start1", "--n_iterations", 18, "--batch_size", 2).status == 0
        ranks = start_ranks(folder, 2, *WATCHED, "--dataset_name", "start2", "--n_iterations", 18)
        assert [finish(rank) for rank in ranks] == [0, 0]
        assert torchrun.wait(120) == 0, Path("torchrun.log").read_text()
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def rename(name, new):
    """A copy of a run under another name, as if it had been started so."""
    shutil.copytree(f"checkpoints/{name}", f"checkpoints/{new}")
    for path in Path(f"checkpoints/{new}/State").iterdir():
        state = torch.load(path, weights_only=True)
        state["record"]["options"]["dataset_name"] = new
        torch.save(state, path)


def assert_equal_to_rounding(one, other):
    """Losses and weights, but for biases, which the next instance norm takes away: their gradient is rounding alone."""
    tables = [list(csv.DictReader(Path(f"checkpoints/{name}/losses.csv").read_text().splitlines()))
              for name in (one, other)]
    assert len(tables[0]) == len(tables[1]) == 10
    for rows in zip(*tables, strict=True):
        for term in ("loss_G", "loss_D", "GAN_G", "FM", "CC"):
            assert float(rows[0][term]) == pytest.approx(float(rows[1][term]), rel=ROUNDING)
    for network in "GD":
        weights = [torch.load(f"checkpoints/{name}/Model/40_{network}.pt", weights_only=True) for name in (one, other)]
        for name, value in weights[0].items():
            if not name.endswith("bias"):
                assert (value - weights[1][name]).abs().max() < WEIGHTS, name


def test_two_ranks_of_batch_one_are_one_rank_of_batch_two(here):
    assert_equal_to_rounding("whole2", "whole1")


def test_two_ranks_resume_bit_for_bit(here):
    rename("start2", "parts2")
    ranks = start_ranks(here, 2, *WATCHED, "--dataset_name", "parts2", "--n_iterations", 40, "--resume")
    assert [finish(rank) for rank in ranks] == [0, 0]
    assert_same_run("whole2", "parts2")


def test_one_rank_goes_on_from_two_and_two_from_one(here):
    rename("start2", "two_one")
    rename("start1", "one_two")
    result = train(*WATCHED, "--dataset_name", "two_one", "--n_iterations", 40, "--batch_size", 2, "--resume")
    assert result.status == 0 and "resuming from iteration 18" in result.out
    ranks = start_ranks(here, 2, *WATCHED, "--dataset_name", "one_two", "--n_iterations", 40, "--resume")
    assert [finish(rank) for rank in ranks] == [0, 0]
    assert_equal_to_rounding("two_one", "whole1")
    assert_equal_to_rounding("one_two", "whole1")


def test_checkpoints_are_the_same_with_or_without_ranks(here):
    one, two = (read_state(name, 40) for name in ("whole1", "whole2"))
    shapes = [{name: value.shape for name, value in state["training"]["generator"].items()} for state in (one, two)]
    assert shapes[0] == shapes[1] and not any(name.startswith("module.") for name in shapes[1])
    assert one.keys() == two.keys() and one["training"].keys() == two["training"].keys()


def test_another_number_of_ranks_with_the_same_batch_is_refused(here):
    rename("start2", "grown")
    result = train(*WATCHED, "--dataset_name", "grown", "--n_iterations", 40, "--resume")
    assert result.status == 2 and "--batch_size times the number of GPUs: 2 -> 1" in result.err


def test_only_the_first_rank_speaks(here):
    for log in ("log0", "log1"):
        Path(log).unlink(missing_ok=True)
    flags = ["--dataset_name", "voices", "--n_iterations", 4, "--gpu_ids", "0", "--display_freq", 100]
    assert [finish(rank) for rank in start_ranks(here, 2, *flags)] == [0, 0]
    first, second = (Path(log).read_text() for log in ("log0", "log1"))
    assert second == "" and "done: " in first
    assert first.count("no GPU was found") == (0 if torch.cuda.is_available() else 1)


def test_a_mistake_is_told_once_and_ends_all_ranks(here):
    Path("log1").unlink(missing_ok=True)
    ranks = start_ranks(here, 2, "--dataset_name", "voices", "--input_dir_train", "nowhere")
    assert [finish(rank) for rank in ranks] == [2, 2]
    assert "nowhere" in Path("log0").read_text() and Path("log1").read_text() == ""


def test_batch_norms_over_several_processes_need_gpus(here):
    Path("log0").unlink(missing_ok=True)
    flags = ["--dataset_name", "norms", "--n_iterations", 2, "--norm_type", "BatchNorm2d", "--gpu_ids", "-1"]
    assert [finish(rank) for rank in start_ranks(here, 2, *flags)] == [2, 2]
    assert "--norm_type BatchNorm2d over several processes needs GPUs" in Path("log0").read_text()


def test_a_rank_that_is_killed_ends_the_others_with_a_message(here):
    Path("log0").unlink(missing_ok=True)
    flags = ["--dataset_name", "lost", "--n_epochs", 5000, "--save_freq", 4, "--display_freq", 10000]
    ranks = start_ranks(here, 2, *flags)
    wait_for(Path("checkpoints/lost/State/4.pt").is_file)
    ranks[1].kill()
    assert finish(ranks[0], 30) == 2
    said = Path("log0").read_text()
    assert "process 0 lost the others" in said and "Traceback" not in said


def test_sigterm_to_one_rank_saves_the_run_of_all(here):
    ranks = start_ranks(here, 2, "--dataset_name", "asked", "--n_epochs", 5000, "--save_freq", 10000,
                        "--report_freq", 2, "--display_freq", 10000)
    wait_for(Path("checkpoints/asked/losses.csv").is_file)
    os.kill(ranks[1].pid, signal.SIGTERM)
    assert [finish(rank) for rank in ranks] == [75, 75]
    (state,) = Path("checkpoints/asked/State").iterdir()
    assert f"stopped at iteration {state.stem} of 35000, all saved" in Path("log0").read_text()


def test_without_any_gpu_both_commands_work_on_the_cpu_whichever_were_asked_for(here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for result in (train("--dataset_name", "none", "--gpu_ids", "0,1", "--n_iterations", 2),
                   run("Test", "--dataset_name", "none", "--gpu_ids", "1", "--n_workers", 0, "--input_dir_test",
                       "data/Input", "--no_preview")):
        assert (result.status, result.err.count("warning: no GPU was found; working on the CPU")) == (0, 1), result.err


def test_gpus_that_are_not_there_beside_others_are_refused(here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for gpu_ids, number in (("7", 7), ("0,1", 1)):
        result = train("--dataset_name", "none", "--gpu_ids", gpu_ids)
        assert result.status == 2
        assert f"error: --gpu_ids {gpu_ids}: no GPU {number} here; this machine has 1: 0. Use -1" in result.err
    result = train("--dataset_name", "none", "--gpu_ids", "0,0")
    assert result.status == 2 and "each GPU once" in result.err


# One command that starts the ranks

def script(tmp_path, text):
    path = tmp_path / "rank.py"
    path.write_text("import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + textwrap.dedent(text))
    return [sys.executable, str(path)]


def test_the_ranks_are_told_of_each_other(tmp_path):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    said = f"' '.join(os.environ[name] for name in {names})"
    command = script(tmp_path, f"open(f'{tmp_path}/{{rank}}', 'w').write({said})")
    assert launch(command, 3) == 0
    said = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [words[:5] for words in said] == [[str(rank), str(rank), "3", "3", "127.0.0.1"] for rank in range(3)]
    assert len({words[5] for words in said}) == 1


@pytest.mark.parametrize("statuses, expected", [((0, 2), 2), ((75, 75), 75), ((130, 130), 130), ((75, 3), 3)])
def test_the_status_of_the_job_is_that_of_its_ranks(tmp_path, statuses, expected):
    assert launch(script(tmp_path, f"sys.exit({statuses}[rank])"), 2) == expected


def test_a_rank_that_fails_or_is_killed_takes_the_others_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "GRACE", 0.5)
    assert launch(script(tmp_path, "sys.exit(4) if rank else time.sleep(100)"), 2) == 4
    with pytest.raises(UserError, match=r"process 1 of 2 was killed by signal 9 \(out of memory\?\)"):
        launch(script(tmp_path, "os.kill(os.getpid(), signal.SIGKILL) if rank else time.sleep(100)"), 2)


@pytest.mark.parametrize("number, expected", [(signal.SIGTERM, 143), (signal.SIGINT, 7)])
def test_signals_are_handed_on_to_all_ranks(tmp_path, number, expected):
    """SIGTERM kills these ranks by its default action, Ctrl-C is answered with a status of their own."""
    command = script(tmp_path, f"""
        signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
        open(f'{tmp_path}/{{rank}}', 'w').close()
        time.sleep(100)""")
    launcher = subprocess.Popen([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
                                 f"from pix2pixcc.parallel.launching import launch; sys.exit(launch({command!r}, 2))"])
    wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    launcher.send_signal(number)
    assert launcher.wait(30) == expected


def test_several_gpus_are_launched_unless_torchrun_has_done_it(monkeypatch):
    launched = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "launch", lambda command, count: launched.append((command[1:], count)) or 75)
    assert devices.relaunch_on("0,1", ["train.py", "--gpu_ids", "0,1"]) == 75
    assert launched == [(["train.py", "--gpu_ids", "0,1"], 2)]
    assert devices.relaunch_on("1", ["train.py"]) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert devices.relaunch_on("0,1", ["train.py"]) is None


def test_differences_between_states_are_seen():
    """What the comparisons above rest on."""
    first = {"a": [torch.ones(2)], "b": 1}
    assert differences(first, {"a": [torch.ones(2)], "b": 1}) == []
    assert differences(first, {"a": [torch.tensor([1.0, 1 + 2**-23])], "b": 2, "c": 0}) == ["a.0.", "b.", "c."]
    assert re.fullmatch("a.0.", differences(first, first | {"a": [torch.ones(2).double()]})[0])
