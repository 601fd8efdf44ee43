"""One process holds a folder at a time, and the lock ends with its process."""
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pix2pixcc.training.lock import NO_LOCKS, FolderLock
from pix2pixcc.utils import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = [json.dumps({"pid": 1, "host": "node17"}), json.dumps({"pid": 7, "host": socket.gethostname()}), "", "[1]",
         "{not json", "\0" * 100]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.lock"


def process(text, *words):
    """A Python process with the lock's module."""
    script = "import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom pathlib import Path\n"
    script += "from pix2pixcc.training.lock import FolderLock\n" + textwrap.dedent(text)
    return subprocess.Popen([sys.executable, "-c", script, str(ROOT), *map(str, words)], stdout=subprocess.PIPE,
                            text=True)


def refused(path, words):
    with pytest.raises(UserError, match=words), FolderLock(path).held():
        pass


def test_a_lock_names_its_process_and_goes_with_it(path):
    mine = FolderLock(path)
    with mine.held():
        said = json.loads(path.read_text())
        assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
        mine.check()
        refused(path, f"is being trained by process {os.getpid()} on {socket.gethostname()}. Wait.*gone, delete {path}")
        assert json.loads(path.read_text()) == said        # whoever is refused changes nothing
    assert list(path.parent.iterdir()) == []
    mine.check()                                           # nothing is held, nothing can be lost


def test_the_lock_of_a_process_that_was_killed_is_taken_over(path):
    holder = process("""
        import time
        with FolderLock(Path(sys.argv[1])).held():
            print("held", flush=True)
            time.sleep(60)
    """, path)
    holder.stdout.readline()
    refused(path, f"process {holder.pid} on")
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)      # a zombie until it is waited for
    assert json.loads(path.read_text())["pid"] == holder.pid
    with FolderLock(path).held():
        assert json.loads(path.read_text())["pid"] == os.getpid()
    holder.wait()
    holder.stdout.close()


@pytest.mark.parametrize("text", NAMES, ids=["another host", "this host", "empty", "list", "no JSON", "zeros"])
def test_a_file_that_nobody_holds_is_taken_over_whatever_it_says(path, text):
    """Such as the one that a process left on a node that went down."""
    path.write_text(text)
    with FolderLock(path).held():
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


@pytest.mark.parametrize("text", NAMES, ids=["another host", "this host", "empty", "list", "no JSON", "zeros"])
def test_a_file_that_is_held_is_left_whatever_it_says(path, text):
    path.write_text(text)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(path, "is being trained by (process 1 on node17|process 7 on |another process)")
    assert path.read_text() == text


def test_a_forked_process_does_not_keep_the_lock(path):
    """As a loader process, which may live on for a moment when its training has been killed."""
    holder = process("""
        import os, time
        with FolderLock(Path(sys.argv[1])).held():
            if not os.fork():
                print(os.getpid(), flush=True)
            time.sleep(60)
    """, path)
    child = int(holder.stdout.readline())
    refused(path, f"process {holder.pid} on")
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child, 0)                                      # still there
    with FolderLock(path).held():
        pass
    os.kill(child, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()


def test_links_and_folders_in_the_place_of_a_lock_are_left(path):
    path.symlink_to(path.parent / "gone")
    refused(path, "cannot write .*train.lock.*delete what is in that place")
    assert path.is_symlink() and not (path.parent / "gone").exists()
    path.unlink()
    path.mkdir()
    refused(path, "cannot write .*train.lock: Is a directory")


def test_a_lock_that_is_gone_or_taken_over_is_noticed(path):
    mine = FolderLock(path)
    for lose in (path.unlink, lambda: path.write_text(NAMES[0])):
        with mine.held():
            lose()
            with pytest.raises(UserError, match="is gone or another process has taken it"):
                mine.check()
    assert "node17" in path.read_text()                    # another's lock is not removed


def test_where_nobody_is_refused_the_earlier_of_two_trainings_stops(path, monkeypatch):
    """NFS without locks: `flock` succeeds for all."""
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    first, second = FolderLock(path), FolderLock(path)
    with first.held(), second.held():
        second.check()
        with pytest.raises(UserError, match="another process has taken it"):
            first.check()


@pytest.mark.parametrize("number", NO_LOCKS, ids=os.strerror)
def test_without_flock_whoever_is_named_holds_the_folder(path, monkeypatch, number):
    def no_flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    mine = FolderLock(path)
    with mine.held():
        mine.check()
        refused(path, f"process {os.getpid()} on")
    assert not path.exists()
    path.write_text(NAMES[0])
    refused(path, f"process 1 on node17.*delete {path}")


def test_of_many_processes_one_at_a_time_holds_the_lock_also_when_holders_are_killed(path):
    """Each process takes the lock again and again, and in the end kills itself while it holds it."""
    text = """
        import os, signal, time
        from pix2pixcc.utils import UserError
        path, number = Path(sys.argv[1]), 0
        inside = path.with_name("inside")
        while number < 12:
            try:
                with FolderLock(path).held():
                    with open(inside, "x") as file:        # two at once would fail here
                        file.write(str(os.getpid()))
                    number += 1
                    time.sleep(0.001)
                    if number == 12:
                        inside.unlink()
                        print("held", number, flush=True)
                        os.kill(os.getpid(), signal.SIGKILL)
                    inside.unlink()
            except UserError:
                time.sleep(0.001)
    """
    processes = [process(text, path) for _ in range(5)]
    said = [each.communicate(timeout=300)[0] for each in processes]
    assert said == ["held 12\n"] * 5 and [each.returncode for each in processes] == [-9] * 5
