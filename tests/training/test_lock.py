"""One process holds a folder at a time; a lock outlives neither its process nor a doubt about whose it is."""
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pix2pixcc.training import lock
from pix2pixcc.training.lock import FolderLock
from pix2pixcc.utils import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.lock"


def owner(pid=None, host=None, started="0"):
    return json.dumps({"pid": os.getpid() if pid is None else pid, "host": host or socket.gethostname(), "started": started})


def process(text, *words):
    """A Python process with the lock's module."""
    script = "import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom pathlib import Path\nfrom pix2pixcc.training.lock import FolderLock\n"
    script += textwrap.dedent(text)
    return subprocess.Popen([sys.executable, "-c", script, str(ROOT), *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_a_lock_names_its_process_and_goes_with_it(path):
    mine = FolderLock(path)
    with mine.held():
        said = json.loads(path.read_text())
        assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
        mine.check()
        with pytest.raises(UserError, match=f"is being trained by process {os.getpid()} on {socket.gethostname()}. Wait for it"), \
                FolderLock(path).held():
            pass
    assert list(path.parent.iterdir()) == []
    mine.check()                                           # nothing is held, nothing can be lost


def test_the_lock_of_a_process_that_was_killed_is_taken_over(path):
    holder = process("with FolderLock(Path(sys.argv[1])).held(): print('held', flush=True); __import__('time').sleep(60)", path)
    holder.stdout.readline()
    with pytest.raises(UserError, match=f"process {holder.pid} on"), FolderLock(path).held():
        pass
    holder.send_signal(signal.SIGKILL)                     # a zombie until it is waited for
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with FolderLock(path).held():
        assert json.loads(path.read_text())["pid"] == os.getpid()
    holder.wait()
    holder.stdout.close()


@pytest.mark.parametrize("text", [owner(started="1"), owner(pid=2**22 + 1), owner(pid=2**70)], ids=["number used again", "gone", "huge"])
def test_a_stale_lock_is_taken_over(path, text):
    path.write_text(text)
    with FolderLock(path).held():
        pass


@pytest.mark.parametrize("text, named", [
    (owner(host="node17"), "on node17"), ("", "process unknown on an unknown host"), ("[1]", "unknown"), ("{not json", "unknown"),
    (owner(pid="7"), "process 7"), ('{"pid": 1}', "process 1 on an unknown host"), ("\0" * 100, "unknown")],
    ids=["another machine", "empty", "list", "no JSON", "a word as number", "no host", "zeros"])
def test_a_lock_that_nobody_here_can_judge_is_left_and_named(path, text, named):
    path.write_text(text)
    with pytest.raises(UserError, match=rf"{named}.*if that process is gone, delete {path}"), FolderLock(path).held():
        pass
    assert path.read_text() == text


def test_links_and_folders_in_the_place_of_a_lock_are_left(path):
    path.symlink_to(path.parent / "gone")
    with pytest.raises(UserError, match="delete"), FolderLock(path).held():
        pass
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="delete"), FolderLock(path).held():
        pass


def test_a_lock_that_is_gone_or_taken_over_is_noticed(path):
    mine = FolderLock(path)
    for lose in (path.unlink, lambda: path.write_text(owner(host="node17"))):
        with mine.held():
            lose()
            with pytest.raises(UserError, match="is gone or another process has taken it"):
                mine.check()
    assert "node17" in path.read_text()                    # another's lock is not removed


def test_a_folder_that_is_not_there_is_named(path):
    with pytest.raises(UserError, match="cannot write in .*: No such file or directory"), FolderLock(path.parent / "none" / "x").held():
        pass


def test_without_hard_links_the_lock_still_excludes(path, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    with FolderLock(path).held():
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match="is being trained"), FolderLock(path).held():
            pass


def test_without_proc_a_process_is_asked_for_by_a_signal(path, monkeypatch):
    monkeypatch.setattr(lock, "PROCESSES", path.parent / "no proc")
    path.write_text(owner(pid=2**22 + 1))
    with FolderLock(path).held():
        assert json.loads(path.read_text())["started"] == "unknown"
        with pytest.raises(UserError, match="is being trained"), FolderLock(path).held():
            pass

    def of_another_user(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", of_another_user)
    path.write_text(owner(pid=1))
    with pytest.raises(UserError, match="process 1 on"), FolderLock(path).held():
        pass


def test_other_errors_of_links_are_told(path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(UserError, match="No space left on device"), FolderLock(path).held():
        pass
    assert list(path.parent.iterdir()) == []


def test_of_many_processes_one_at_a_time_holds_the_lock_also_when_holders_are_killed(path):
    """Each process takes the lock again and again, and kills itself while it holds it in the end: the others take over."""
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
    said = [each.communicate(timeout=60)[0] for each in processes]
    assert said == ["held 12\n"] * 5 and [each.returncode for each in processes] == [-9] * 5
