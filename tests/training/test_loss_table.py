"""`losses.csv`: rows by iteration, taken up again where a run goes on."""
import pytest

from pix2pixcc.training.loss_table import LossTable
from pix2pixcc.utils import UserError


def table(path, keep_until=0, columns=("loss_G", "val_cc")):
    return LossTable(path, columns, keep_until)


def test_a_report_and_the_scores_of_one_iteration_share_a_row(tmp_path):
    rows = table(tmp_path / "losses.csv")
    rows.add(2, 0.5, 2e-4, {"loss_G": 1.23456789})
    rows.add(4, 1.0, 2e-4, {"loss_G": 1.0})
    rows.add(4, 1.0, 2e-4, {"val_cc": 0.5})
    rows.add(6, 1.5, 1e-4, {"loss_G": float("nan"), "val_cc": float("inf")})
    assert rows.text() == ("iteration,epoch,lr,loss_G,val_cc\n2,0.5000,0.0002,1.23457,\n4,1.0000,0.0002,1,0.5\n6,1.5000,0.0001,,\n")
    assert list(rows.scores("val_cc")) == [(4, 0.5)] and list(rows.scores("other")) == []


def test_a_table_is_taken_up_until_an_iteration(tmp_path):
    path = tmp_path / "losses.csv"
    rows = table(path)
    for iteration in (2, 4, 6):
        rows.add(iteration, iteration / 4, 1e-4, {"loss_G": iteration})
    rows.write(rows.text())
    again = table(path, 4, ["loss_G"])
    again.add(6, 1.5, 1e-4, {"loss_G": 6})
    again.add(8, 2.0, 1e-4, {"loss_G": 8})
    assert again.text().splitlines() == [
        "iteration,epoch,lr,loss_G,val_cc", "2,0.5000,0.0001,2,", "4,1.0000,0.0001,4,", "6,1.5000,0.0001,6,", "8,2.0000,0.0001,8,"]
    assert table(path).text() == "iteration,epoch,lr,loss_G,val_cc\n"
    assert table(tmp_path / "none.csv", 4).text() == "iteration,epoch,lr,loss_G,val_cc\n"


def test_scores_that_are_no_numbers_are_passed_over(tmp_path):
    (tmp_path / "losses.csv").write_text("iteration,val_cc,notes\n2,high\n4,nan\n6,0.25,mine,more\n")
    rows = table(tmp_path / "losses.csv", 9)
    assert list(rows.scores("val_cc")) == [(6, 0.25)] and rows.columns == ["iteration", "epoch", "lr", "loss_G", "val_cc", "notes"]
    assert rows.text().splitlines()[3] == "6,,,,0.25,mine"


@pytest.mark.parametrize("content", [b"", b"{}", b"a,b\n1,2\n", b"iteration\nx\n", b"iteration\n\n-\n", b"\xff\xfe",
                                     b"iteration\n" + b"9" * 5000, b"iteration,a\n2," + b"x" * 200000])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "losses.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*losses.csv: it is damaged.*Move it away"):
        table(tmp_path / "losses.csv", 9)


def test_a_folder_in_its_place_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        table(tmp_path, 9)
