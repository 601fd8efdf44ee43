"""Ctrl-C and SIGTERM at any moment, while modules are imported too, are one line and a status, for every command."""
import os
import signal
import subprocess
import sys

import pytest
from running import ROOT, finish, start, train, wait_for

from pix2pixcc.images import verification

COMMANDS = {"Train": [], "Test": [], "Evaluate": ["--generated", "a", "--real", "b"],
            "Map": ["--frontside", "a", "--out", "b"],
            "Prepare": ["train", "--raw", ".", "--out", "out"], "Simulate": ["--out", "out"]}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def hearing():
    """In a process to be: signals are not ignored, as they are where tests run in the background."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def importing(tmp_path):
    """A NumPy whose import takes a minute, and the file that it makes as it begins."""
    package = tmp_path / "path" / "numpy"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    return tmp_path / "begun"


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("way", ["in place", "installed"])
def test_a_command_that_is_stopped_while_it_imports_says_so_in_one_line(tmp_path, importing, command, number, way):
    name = f"pix2pixCC_{command}"
    script = "import sys; from pix2pixcc.utils import run_as_script; sys.argv[0] = sys.argv.pop(1); run_as_script()"
    program = [str(ROOT / f"{name}.py")] if way == "in place" else ["-c", script, name]
    process = subprocess.Popen([sys.executable, *program, *COMMANDS[command]], cwd=tmp_path, stderr=subprocess.PIPE,
                               text=True, preexec_fn=hearing,
                               env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(ROOT)])})
    wait_for(importing.exists)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (STATUS[number], "stopped\n")


def test_a_command_that_is_terminated_at_work_tidies_up(tmp_path):
    process = start(tmp_path, "Simulate", "--out", "sun", "--pairs", 500, "--size", 64, "--n_workers", 2)
    wait_for(lambda: len(list(tmp_path.glob("sun/Train/Target/*.fits"))) > 3)
    os.killpg(process.pid, signal.SIGTERM)                 # as Slurm does it: all processes of the job
    assert finish(process) == 143
    said = (tmp_path / "log").read_text()
    assert said.splitlines()[-1] == "stopped" and "Traceback" not in said
    assert not list(tmp_path.rglob(".part-*"))


def test_a_check_that_is_terminated_keeps_what_it_has_found(here, monkeypatch, heard):
    """Before a training begins: the same command then reads only the files that are left."""
    read, read_image = [], verification.read_image

    def killing(path, *arguments, **named):
        read.append(path)
        if len(read) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_image(path, *arguments, **named)

    monkeypatch.setattr(verification, "read_image", killing)
    result = train("--n_iterations", 1)
    assert (result.status, result.err.splitlines()[-1]) == (143, "stopped") and len(read) == 5
    assert train("--n_iterations", 1).status == 0
    assert len(read) == 5 + 14 - 4                         # the fifth of fourteen was in hand
