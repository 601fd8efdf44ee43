"""The command that writes data sets of synthetic Suns."""
import pytest

from pix2pixcc.utils import UserError
from pix2pixCC_Simulate import main


def test_the_command_writes_a_data_set(tmp_path, capsys):
    main(["--out", str(tmp_path), "--pairs", "1", "--test_suns", "1", "--size", "32", "--n_workers", "1"])
    assert "1 training pairs and 1 unseen farsides" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.fits"))) == 4
    with pytest.raises(UserError, match="holds 4 images of another data set"):
        main(["--out", str(tmp_path), "--seed", "1", "--pairs", "1", "--size", "32"])
    main(["--out", str(tmp_path / "raw"), "--raw", "--size", "64", "--days", "0.5", "--spacecraft", "SDO",
                        "--n_workers", "1"])
    assert "2 raw files" in capsys.readouterr().out


def test_flags_that_make_no_sense_are_refused_in_one_line(tmp_path, capsys):
    for flags, message in ((["--passbands", "1600"], "1600"), (["--pairs", "0"], "0 is below 1"),
                           (["--start", "soon"], "no date")):
        with pytest.raises(SystemExit) as stop:
            main(["--out", str(tmp_path), *flags])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="--passbands 94: STEREO-A takes only 304, 195, 171, 284"):
        main(["--out", str(tmp_path), "--raw", "--passbands", "171", "94"])
