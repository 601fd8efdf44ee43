"""Loss curves: which column stands on which panel, how long curves are smoothed, and what is marked."""
import csv

import numpy as np
import pytest
from PIL import Image

from pix2pixcc.utils import UserError
from pix2pixcc.visuals.curves import MOST_POINTS, loss_curves

COLUMNS = ["iteration", "epoch", "lr", "loss_G", "loss_D", "GAN_G", "FM", "CC",
           "val_cc_binned", "ema_cc_binned", "val_rmse"]
BEST_BY = ("val_cc_binned", "ema_cc_binned")


def write_losses(path, count, every=100):
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for k in range(1, count + 1):
            scores = [0.1 + 0.8 * k / count, 0.9 - 0.5 * k / count, 40 - k / count] if k % every == 0 else ["", "", ""]
            table.writerow([k * 10, k / 100, 2e-4, 5 + 1 / k, 0.5, 1.0, "nan" if k == 3 else 2.0, 0.5, *scores])
    return path


def drawn_panels(figure):
    """What stands on a page of curves: {panel: {label: (x, y)}}."""
    return {axes.get_title(loc="left"): {line.get_label(): line.get_xydata() for line in axes.lines
                                         if not line.get_label().startswith("_")} for axes in figure.axes}


def test_losses_scores_and_learning_rate_stand_on_one_page(drawn, tmp_path):
    loss_curves(tmp_path / "losses.png", write_losses(tmp_path / "losses.csv", 1000), BEST_BY)
    curves = drawn_panels(drawn[0])
    assert {name: list(lines) for name, lines in curves.items()} == {
        "losses": ["loss_G", "loss_D"], "terms": ["GAN_G", "FM", "CC"],
        "validation": ["cc_binned", "cc_binned (ema)", "best: 0.900 at 10000"],
        "validation, data units": ["rmse"], "learning rate": ["lr"]}
    assert len(curves["validation"]["cc_binned"]) == 10
    assert Image.open(tmp_path / "losses.png").size[0] > 1000


def test_long_noisy_curves_are_smoothed_about_their_mean(drawn, tmp_path):
    path = tmp_path / "losses.csv"
    noise = np.random.default_rng(0).normal(3.0, 1.0, 2000)
    path.write_text("iteration,loss_G\n" + "\n".join(f"{k},{value}" for k, value in enumerate(noise)))
    loss_curves(tmp_path / "losses.png", path, BEST_BY)
    smooth = drawn_panels(drawn[0])["losses"]["loss_G"]
    assert smooth[:, 1].std() < 0.25
    assert smooth[:, 1].mean() == pytest.approx(3.0, abs=0.05)
    assert smooth[0, 0] == pytest.approx(20, abs=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [None, "", "100,0.1,0.0002,5.0\n", "100,0.1,0.0002,\n200,,,\n"])
def test_a_run_that_has_hardly_begun_has_curves_too(tmp_path, rows):
    (tmp_path / "losses.csv").write_text("" if rows is None else f"iteration,epoch,lr,loss_G\n{rows}")
    loss_curves(tmp_path / "losses.png", tmp_path / "losses.csv", BEST_BY)
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.csv"):
        loss_curves(tmp_path / "losses.png", tmp_path / "missing.csv", BEST_BY)


def test_a_table_without_iterations_is_refused(tmp_path):
    (tmp_path / "losses.csv").write_text("loss_G\n1.0\n")
    with pytest.raises(UserError, match=r"losses\.csv: it has no column `iteration`"):
        loss_curves(tmp_path / "losses.png", tmp_path / "losses.csv", BEST_BY)


def test_the_curves_of_a_long_run_are_thinned_and_keep_every_score(drawn, tmp_path):
    loss_curves(tmp_path / "losses.png", write_losses(tmp_path / "losses.csv", 50000, every=500), BEST_BY)
    curves = drawn_panels(drawn[0])
    assert MOST_POINTS / 2 < len(curves["losses"]["loss_G"]) <= MOST_POINTS
    assert len(curves["validation"]["cc_binned"]) == 100
