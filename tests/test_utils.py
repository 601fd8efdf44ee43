"""Small things that every command shares."""
import json
import os
import signal
import stat
import sys
import time
from datetime import datetime

import pytest

from pix2pixcc.utils import (
    UserError,
    atomic_path,
    file_sha256,
    limit_spinning,
    natural_key,
    read_json,
    run_as_script,
    run_command,
    stem_of,
    time_in_name,
    write_json,
)


@pytest.mark.parametrize("name, time", [
    ("aia_0193_20110215_000012", datetime(2011, 2, 15, 0, 0, 12)),
    ("stereo_b_20110305_120403", datetime(2011, 3, 5, 12, 4, 3)),
    ("2011-03-05T12:04:03", datetime(2011, 3, 5, 12, 4, 3)),
    ("hmi.M_720s.20110213_103600_TAI", datetime(2011, 2, 13, 10, 36)),
    ("aia_20110305_1204", datetime(2011, 3, 5, 12, 4)), ("20110305120403", datetime(2011, 3, 5, 12, 4, 3)),
    ("aia_lev1_171a_2011_02_15t00_00_00_34z_image_lev1", datetime(2011, 2, 15)),
    ("20110305t120403z", datetime(2011, 3, 5, 12, 4, 3)), ("hmi_m_720s_2011_02_15_00_00_00_tai", datetime(2011, 2, 15)),
    ("image_12345678_1", None), ("sun_20111305_120403", None), ("plain", None)])
def test_the_time_in_a_name(name, time):
    assert time_in_name(name) == time


def test_stems_and_order_of_names():
    assert stem_of("a/b.fits.gz") == stem_of("b.fits") == "b"
    assert sorted(["i_10", "i_9", "h_11", "i_9b"], key=natural_key) == ["h_11", "i_9", "i_9b", "i_10"]
    assert sorted(["1²3", "1²2"], key=natural_key) == ["1²2", "1²3"]      # a digit that is no number


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("first")
        assert not path.exists() and temporary.suffix == ".txt"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first" and os.listdir(path.parent) == ["file.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/x"), atomic_path(tmp_path / "file" / "x"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "\udc80"])
def test_damaged_json_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(path)


def test_json_and_digests(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "empty").write_bytes(b"")
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("error, status, words", [
    (UserError("mend this"), 2, "error: mend this\n"), (KeyboardInterrupt(), 130, "stopped\n"), (None, 0, ""),
    (KeyboardInterrupt(signal.SIGTERM), 143, "stopped\n")])
def test_how_a_command_ends(error, status, words, capsys):
    def main():
        if error:
            raise error

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == status and capsys.readouterr().err == words


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_tidies_up_first(number, status, capsys, heard):
    steps = []

    def main():
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            steps.append("tidied up")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == status and capsys.readouterr().err == "stopped\n" and steps == ["tidied up"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_of_several_ranks_only_the_first_says_that_it_was_stopped(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert stop.value.code == 130 and capsys.readouterr().err == ""


def test_a_signal_that_is_to_be_ignored_stays_so(heard):
    """As `nohup`, or `&` in a script, has it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert stop.value.code == 0 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_script_runs_the_module_that_it_is_named_after(tmp_path, monkeypatch, capsys, heard):
    text = "import sys\nprint(__name__, sys.argv[1:], __file__)\nsys.exit(3)\n"
    (tmp_path / "named_command.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/named_command", "--flag"])
    with pytest.raises(SystemExit) as stop:
        run_as_script()
    assert stop.value.code == 3
    assert capsys.readouterr().out == f"__main__ ['--flag'] {tmp_path / 'named_command.py'}\n"


def test_ctrl_c_while_a_script_is_loaded_is_one_line(tmp_path, monkeypatch, capsys, heard):
    (tmp_path / "interrupted_command.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["interrupted_command"])
    with pytest.raises(SystemExit) as stop:
        run_as_script()
    assert stop.value.code == 130 and capsys.readouterr().err == "stopped\n"


def test_a_limit_on_spinning_that_the_user_has_set_stays(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT")
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
