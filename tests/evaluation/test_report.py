"""What an evaluation writes and says: rows, JSON, the table, notes."""
import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from suns import SIZE, magnetogram

from pix2pixcc.evaluation.frames import ASSUMED
from pix2pixcc.evaluation.report import (
    counted,
    is_comparable,
    lone_rows,
    notes,
    pair_row,
    table,
    write_scores,
    write_summary,
)
from pix2pixcc.evaluation.scores import evaluate_image, pool, summary_of
from pix2pixcc.images.files import Image
from pix2pixcc.solar.geometry import registered_disk

PAIR = Path("a_AI.fits"), Path("a.fits")


def evaluation(seed=0, scale=1.0, missing=0):
    real = scale * magnetogram(seed)
    generated = 0.9 * real + np.random.default_rng(seed).normal(scale=10 * scale, size=real.shape)
    generated[32, 32:32 + missing] = np.nan
    return evaluate_image(generated, real, registered_disk(real.shape), disk_radius=0.98)


def test_rows_of_pairs_and_of_lonely_files_stand_in_one_csv(tmp_path):
    scored = evaluation()
    strange = Path(os.fsdecode(b"\xff_AI.fits"))
    write_scores(tmp_path / "scores.csv", [pair_row(PAIR, scored, "real header"), pair_row(PAIR, None, "damaged"),
                                           *lone_rows([strange], [Path("b.fits.gz")])])
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "a", "\\udcff_AI", "b"]
    assert [row["status"] for row in rows] == ["scored", "skipped", "skipped", "skipped"]
    assert [row["reason"] for row in rows] == [
        "", "damaged", "no true image of this name or time", "no generated image of this name or time"]
    assert (rows[0]["generated"], rows[0]["real"], rows[0]["geometry"]) == ("a_AI.fits", "a.fits", "real header")
    assert float(rows[0]["full_cc"]) == pytest.approx(scored.scores["full_cc"], rel=5e-8)     # eight digits are written
    assert rows[1]["full_cc"] == ""


def test_what_is_not_a_number_is_null_in_the_summary(tmp_path):
    write_summary(tmp_path / "summary.json", {"a": {"b": [math.nan, 1.0, math.inf]}, "c": "nan"})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": {"b": [None, 1.0, None]}, "c": "nan"}


def test_the_table_gives_mean_and_scatter_by_region_and_a_dash_where_nothing_is_defined():
    summary = summary_of(pool([evaluation(0), evaluation(1)]))
    lines = {line[:28].strip(): line[28:] for line in table(summary, 8).splitlines()}
    cc = summary["metrics"]["full_cc"]
    pooled = summary["pooled"]
    assert lines["CC"][:24].strip() == f"{cc['mean']:.3f} ± {cc['std']:.3f} ({pooled['full_cc']:.3f})"
    assert lines["images"].split() == ["2", "2", "2"]
    assert lines["bins"].split() == [f"{pooled[f'{region}_bins']:.0f}" for region in ("full", "active", "quiet")]
    assert lines["images of 20 bins"].split()[0] == "2"
    ppe10 = summary["metrics"]["quiet_ppe10"]
    assert lines["PPE10 [%]"][48:].strip() == f"{100 * ppe10['mean']:.1f} ± {100 * ppe10['std']:.1f}"
    flux = summary["flux"]["unsigned"]
    assert lines["total unsigned flux"].split() == [
        "CC", f"{flux['cc']:.3f}", "slope", f"{flux['slope']:.3f}",
        "error", f"{flux['relative_error']:.1%}", "bias", f"{flux['relative_bias']:+.1%}"]
    assert {len(line) for line in table(summary, 8).splitlines()[:11]} == {100}
    quiet = np.clip(magnetogram(0), -20, 20)
    alone = evaluate_image(quiet, quiet, registered_disk((SIZE, SIZE)), disk_radius=0.98)
    lines = {line[:28].strip(): line[28:] for line in table(summary_of(pool([alone])), 8).splitlines()}
    assert lines["CC"].split() == ["1.000", "(1.000)", "-", "1.000", "(1.000)"]      # one image has no scatter
    assert lines["net flux"].split()[:2] == ["CC", "-"]


def test_notes_tell_of_missing_pixels_assumed_disks_and_values_that_are_hardly_gauss():
    def told(scored, pair=PAIR, geometry="real header", limits=None):
        return notes([pair_row(pair, scored, geometry), pair_row(PAIR, None, ASSUMED)], pool([scored]), limits)

    assert told(evaluation()) == []
    assert told(evaluation(), geometry=ASSUMED)[0].startswith("note: 1 without a helioprojective header")
    holed = evaluation(missing=3)
    assert f"{3 / (3 + holed.scores['pixels']):.2%} of the pixels" in told(holed)[0]
    weak = evaluation(scale=1e-3)
    assert "1 true images can hardly be in gauss" in told(weak)[0]
    assert told(weak, limits=(-100, 100)) == []
    assert "can hardly be in gauss" in told(evaluation(), pair=(Path("a.png"), Path("a.PNG")))[0]


def test_the_papers_figures_stand_beside_fits_images_of_the_real_sun_of_their_size_and_bins_alone():
    def pair(side=1024, generated=(), real=()):
        data = np.zeros((1, side, side), np.float32)
        return [Image(data, None if cards is None else fits.Header(cards), None, False) for cards in (generated, real)]

    assert is_comparable(pair(), 8)
    assert not is_comparable(pair(), 4) and not is_comparable(pair(side=128), 8)
    for seeded in ({"real": [("SUNSEED", 3)]}, {"generated": [("SUNSEED", 3)]}, {"real": None}, {"generated": None}):
        assert not is_comparable(pair(**seeded), 8)


def test_one_is_singular():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
