"""The command: folders of magnetograms in; CSV, summary, table and figures out, whatever state the files are in."""
import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image as PillowImage
from scipy import stats
from suns import SIZE, magnetogram, sun_header

from pix2pixcc.evaluation import metrics
from pix2pixcc.solar.geometry import disk_of_header, registered_disk
from pix2pixcc.utils import UserError
from pix2pixCC_Evaluate import main, make_parser

TIMES = ["20110305_000000", "20110305_120000", "20110306_000000", "20110306_120000"]


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Four true magnetograms (zero off the disk), and products of them with noise (NaN off the disk)."""
    generated, real = tmp_path / "generated", tmp_path / "real"
    generated.mkdir()
    real.mkdir()
    header = sun_header()
    mask = disk_of_header(header, (SIZE, SIZE)).mask(0.98)
    for seed, time in enumerate(TIMES):
        field = magnetogram(seed)
        noise = np.random.default_rng(50 + seed).normal(scale=10, size=field.shape)
        fits.writeto(real / f"hmi_{time}.fits", np.where(mask, field, 0)[None].astype(np.float32), header)
        product = np.where(mask, 0.9 * field + noise, np.nan).astype(np.float32)
        fits.writeto(generated / f"hmi_{time}_AI.fits", product, header)
    return generated, real


def run(folders, *flags, figures: bool = False) -> tuple[int, Path]:
    generated, real = folders
    flags = flags if figures else (*flags, "--no_figures")
    return main(["--generated", str(generated), "--real", str(real), *flags]), generated / "evaluation"


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_products_are_scored_against_the_true_magnetograms_of_their_name(folders, capsys):
    status, out = run(folders)
    assert status == 0
    rows = table(out)
    assert [row["name"] for row in rows] == [f"hmi_{time}" for time in TIMES]
    assert {row["status"] for row in rows} == {"scored"} and {row["geometry"] for row in rows} == {"real header"}
    mask = disk_of_header(sun_header(), (SIZE, SIZE)).mask(0.98)
    for row in rows:
        generated, real = fits.getdata(folders[0] / row["generated"]), fits.getdata(folders[1] / row["real"])[0]
        assert float(row["full_cc"]) == pytest.approx(stats.pearsonr(generated[mask], real[mask]).statistic, rel=1e-6)
        rmse = np.sqrt(np.mean((generated[mask] - real[mask]) ** 2, dtype=float))
        assert float(row["full_rmse"]) == pytest.approx(rmse, rel=1e-5)
        assert float(row["pixels"]) == mask.sum() and float(row["missing_pixels"]) == 0
    screen = capsys.readouterr().out
    assert "4 images scored within 0.98 solar radii" in screen and "active: |B| over 8 x 8 pixels above 50 G" in screen
    assert "full disk" in screen and "CC, 8 x 8" in screen and "total unsigned flux" in screen


def test_the_summary_holds_the_set_in_numbers(folders):
    _, out = run(folders)
    summary = json.loads((out / "summary.json").read_text())
    rows = table(out)
    values = [float(row["full_cc_binned"]) for row in rows]
    statistics = summary["metrics"]["full_cc_binned"]
    assert statistics["mean"] == pytest.approx(np.mean(values))
    assert statistics["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert statistics["images"] == summary["images"] == 4 and summary["skipped"] == []
    true = np.array([float(row["unsigned_flux_real_mx"]) for row in rows])
    made = np.array([float(row["unsigned_flux_generated_mx"]) for row in rows])
    flux = summary["flux"]["unsigned"]
    line = stats.linregress(true / 1e22, made / 1e22)
    assert (flux["cc"], flux["slope"]) == pytest.approx((line.rvalue, line.slope), rel=1e-5)
    assert flux["relative_error"] == pytest.approx(np.mean(np.abs(made - true) / true), rel=1e-5)
    net = np.array([float(row["net_flux_generated_mx"]) - float(row["net_flux_real_mx"]) for row in rows])
    assert summary["flux"]["net"]["relative_bias"] == pytest.approx(np.mean(net / true), rel=1e-4)
    assert summary["settings"]["active_threshold"] == 50 and summary["settings"]["disk_radius"] == 0.98
    assert len(summary["power_spectrum"]["ratio"]) == len(summary["power_spectrum"]["frequency_per_pixel"])


def test_pooled_metrics_are_those_of_all_pixels_at_once(folders):
    _, out = run(folders)
    pooled = json.loads((out / "summary.json").read_text())["pooled"]
    mask = disk_of_header(sun_header(), (SIZE, SIZE)).mask(0.98)
    generated = np.concatenate([fits.getdata(path)[mask] for path in sorted(folders[0].glob("*.fits"))]).astype(float)
    real = np.concatenate([fits.getdata(path)[0][mask] for path in sorted(folders[1].glob("*.fits"))]).astype(float)
    assert pooled["full_cc"] == pytest.approx(stats.pearsonr(generated, real).statistic)
    assert pooled["full_rmse"] == pytest.approx(np.sqrt(np.mean((generated - real) ** 2)))


def test_the_figures_are_a_picture_of_some_size_with_ink_on_it(folders):
    _, out = run(folders, "--binning", "4", "--display_range", "50", figures=True)
    with PillowImage.open(out / "figures.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 1200
    panels = [panel for band in np.array_split(pixels, 3) for panel in np.array_split(band, 3, axis=1)]
    assert min(panel.std() for panel in panels) > 10


def test_a_bad_file_is_skipped_with_its_reason_and_the_others_are_scored(folders, capsys):
    generated, _ = folders
    (generated / f"hmi_{TIMES[0]}_AI.fits").write_bytes(b"SIMPLE  =  no, not at all")
    fits.writeto(generated / f"hmi_{TIMES[1]}_AI.fits", np.ones((32, 32), np.float32), overwrite=True)
    fits.writeto(generated / f"hmi_{TIMES[2]}_AI.fits", np.full((SIZE, SIZE), np.nan, np.float32), overwrite=True)
    status, out = run(folders)
    assert status == 0
    reasons = {row["name"]: row["reason"] for row in table(out) if row["status"] == "skipped"}
    assert len(reasons) == 3
    assert "cannot read" in reasons[f"hmi_{TIMES[0]}"]
    assert "generated 32 x 32, true 64 x 64" in reasons[f"hmi_{TIMES[1]}"]
    assert "no finite pixel" in reasons[f"hmi_{TIMES[2]}"]
    captured = capsys.readouterr()
    assert "1 image scored" in captured.out and "3 skipped" in captured.out
    assert captured.err.count("skipped hmi_") == 3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == 1 and len(summary["skipped"]) == 3
    assert summary["flux"]["unsigned"]["cc"] is None and summary["metrics"]["full_cc"]["std"] is None


def test_files_without_a_partner_are_named_and_the_pairs_scored(folders, capsys):
    generated, real = folders
    (generated / f"hmi_{TIMES[0]}_AI.fits").unlink()
    (real / f"hmi_{TIMES[3]}.fits").unlink()
    status, out = run(folders)
    assert status == 0
    rows = {row["name"]: row for row in table(out)}
    assert rows[f"hmi_{TIMES[0]}"]["reason"] == "no generated image of this name or time"
    assert rows[f"hmi_{TIMES[3]}_AI"]["reason"] == "no true image of this name or time"
    assert [rows[f"hmi_{time}"]["status"] for time in TIMES[1:3]] == ["scored", "scored"]
    with pytest.raises(UserError, match="--strict: 2 of 4 images were skipped"):
        run(folders, "--strict")


def test_names_that_differ_are_paired_by_the_time_in_them(folders):
    generated, _ = folders
    for time in TIMES:
        (generated / f"hmi_{time}_AI.fits").rename(generated / f"aia.cube.{time[:8]}T{time[9:]}_AI.fits")
    status, out = run(folders)
    assert status == 0 and [row["status"] for row in table(out)] == ["scored"] * 4


def test_nothing_to_score_is_one_message_that_says_why(folders, tmp_path):
    generated, real = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="--real .*empty holds no images"):
        main(["--generated", str(generated), "--real", str(empty)])
    with pytest.raises(UserError, match="--generated .*nowhere: there is no such folder"):
        main(["--generated", str(tmp_path / "nowhere"), "--real", str(real)])
    with pytest.raises(UserError, match="holds no .npy files"):
        main(["--generated", str(generated), "--real", str(real), "--data_format_real", "npy"])
    for path in generated.glob("*.fits"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 4 images can be scored"):
        main(["--generated", str(generated), "--real", str(real)])


def test_an_off_centre_disk_is_scored_where_its_header_puts_it(folders, tmp_path):
    """The same Sun, moved within a larger frame with rubbish around it, has the same scores and the same flux."""
    _, here = run(folders)
    moved = tmp_path / "moved_generated", tmp_path / "moved_real"
    for source, target in zip(folders, moved, strict=True):
        target.mkdir()
        for path in source.glob("*.fits"):
            frame = np.full((96, 96), 5000, np.float32)
            disk = disk_of_header(sun_header(), (SIZE, SIZE)).mask(0.98)
            frame[8:72, 24:88] = np.where(disk, np.squeeze(fits.getdata(path)), 5000)
            header = sun_header(96, centre=(31.5 + 24, 31.5 + 8), share=450 / 1024 * SIZE / 96)
            fits.writeto(target / path.name, frame, header)
    _, there = run(moved)
    for first, second in zip(table(here), table(there), strict=True):
        for name in ("pixels", "full_cc", "full_rmse", "full_cc_binned", "active_cc", "ssim", "unsigned_flux_real_mx",
                     "power_ratio_fine"):
            assert float(second[name]) == pytest.approx(float(first[name]), rel=1e-4), name


def test_disks_that_do_not_lie_on_each_other_are_not_compared(folders):
    generated, _ = folders
    fits.setval(generated / f"hmi_{TIMES[0]}_AI.fits", "CRPIX1", value=sun_header()["CRPIX1"] + 6)
    status, out = run(folders)
    reasons = {row["name"]: row["reason"] for row in table(out) if row["reason"]}
    assert status == 0 and list(reasons) == [f"hmi_{TIMES[0]}"]
    assert "the two disks differ by 6.0 pixels" in reasons[f"hmi_{TIMES[0]}"]


def test_images_without_a_header_have_the_registered_disk(tmp_path, capsys):
    generated, real = tmp_path / "generated", tmp_path / "real"
    generated.mkdir()
    real.mkdir()
    field = magnetogram(0)
    np.save(real / "a.npy", field)
    np.save(generated / "a_AI.npy", field[None] + 3)
    assert main(["--generated", str(generated), "--real", str(real), "--out", str(tmp_path / "out")]) == 0
    assert "note: 1 without a helioprojective header, taken as registered" in capsys.readouterr().out
    assert (tmp_path / "out" / "figures.png").is_file()
    row = table(tmp_path / "out")[0]
    mask = registered_disk(field.shape).mask(0.98)
    assert row["geometry"] == "assumed registered" and float(row["pixels"]) == mask.sum()
    assert float(row["full_rmse"]) == pytest.approx(3, rel=1e-5) and float(row["full_cc"]) == pytest.approx(1)
    area = (695.7e8 / (450 / 1024 * SIZE)) ** 2
    assert float(row["unsigned_flux_real_mx"]) == pytest.approx(np.abs(field[mask]).sum() * area, rel=1e-5)


def test_eight_bit_pictures_become_gauss_by_their_limits(tmp_path, capsys):
    generated, real = tmp_path / "generated", tmp_path / "real"
    for folder in (generated, real):
        folder.mkdir()
        counts = np.rint((np.clip(magnetogram(0), -1500, 1500) + 1500) / 3000 * 255).astype(np.uint8)
        PillowImage.fromarray(counts).save(folder / "a.png")
    run((generated, real))
    assert "can hardly be in gauss" in capsys.readouterr().out
    run((generated, real), "--gauss_limits", "-1500", "1500")
    assert "can hardly be in gauss" not in capsys.readouterr().out
    field = -1500 + np.asarray(PillowImage.open(real / "a.png")) / 255 * 3000
    mask = registered_disk(field.shape).mask(0.98)
    row = table(generated / "evaluation")[0]
    area = (695.7e8 / (450 / 1024 * SIZE)) ** 2
    assert float(row["net_flux_real_mx"]) == pytest.approx(field[mask].sum() * area, rel=1e-4)


def test_compressed_files_and_threads_give_the_same_scores(folders):
    _, out = run(folders)
    alone = table(out)
    for path in folders[1].glob("*.fits"):
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()
    _, out = run(folders, "--n_workers", "3")
    assert [{**row, "real": ""} for row in table(out)] == [{**row, "real": ""} for row in alone]


def test_foreshortening_enlarges_the_flux(folders):
    _, out = run(folders)
    plain = [float(row["unsigned_flux_real_mx"]) for row in table(out)]
    _, out = run(folders, "--foreshortening")
    surface = [float(row["unsigned_flux_real_mx"]) for row in table(out)]
    with pytest.raises(UserError, match="--foreshortening needs --disk_radius below 1"):
        run(folders, "--foreshortening", "--disk_radius", "1")
    assert all(1 < after / before < 3 for before, after in zip(plain, surface, strict=True))


def test_pixels_on_the_disk_that_are_not_finite_are_told(folders, capsys):
    path = folders[0] / f"hmi_{TIMES[0]}_AI.fits"
    field, header = fits.getdata(path, header=True)
    field[30:34, 30:35] = np.nan
    fits.writeto(path, field, header, overwrite=True)
    _, out = run(folders)
    row = table(out)[0]
    total = disk_of_header(sun_header(), (SIZE, SIZE)).mask(0.98).sum()
    assert (float(row["missing_pixels"]), float(row["pixels"])) == (20, total - 20)
    assert f"{20 / (4 * total):.2%} of the pixels on the disk are not finite" in capsys.readouterr().out


def test_names_and_times_that_have_nothing_in_common_are_refused(folders):
    for number, path in enumerate(sorted(folders[0].iterdir())):
        path.rename(path.with_name(f"something_{number}.fits"))
    with pytest.raises(UserError, match="cannot pair --generated .* with --real .*something_0.fits"):
        run(folders)


def test_the_parsers_defaults_are_those_of_the_metrics():
    opt = make_parser().parse_args(["--generated", "a", "--real", "b"])
    assert (opt.binning, opt.active_threshold, opt.active_smoothing, opt.polarity_threshold, opt.ssim_range) == (
        metrics.BINNING, metrics.ACTIVE_THRESHOLD, metrics.ACTIVE_SMOOTHING, metrics.POLARITY_THRESHOLD,
        metrics.SSIM_RANGE)


def test_bins_in_solar_radii_are_the_same_part_of_the_sun_at_any_size(folders, tmp_path, capsys):
    def bins(folders, *flags):
        _, out = run(folders, *flags)
        return next((float(row["bin_pixels"]), float(row["full_bins"])) for row in table(out))

    large = tmp_path / "large_generated", tmp_path / "large_real"
    for source, target in zip(folders, large, strict=True):
        target.mkdir()
        for path in source.glob("*.fits"):
            data = np.kron(np.squeeze(fits.getdata(path)), np.ones((2, 2), np.float32))
            fits.writeto(target / path.name, data, sun_header(2 * SIZE))
    share = str(4 / (450 / 1024 * SIZE))
    small, twice = bins(folders, "--binning_radii", share), bins(large, "--binning_radii", share)
    assert (small[0], twice[0]) == (4, 8) and small == bins(folders, "--binning", "4")
    assert twice[1] == pytest.approx(small[1], rel=0.1)      # the disk's edge cuts other pixels
    assert "AISFM" not in capsys.readouterr().out            # 64 pixels are not what the papers scored
    with pytest.raises(SystemExit):
        run(folders, "--binning_radii", share, "--binning", "4")


def test_a_wrong_flag_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--generated", "a", "--real", "b", "--binning", "0"])
    assert stop.value.code == 2 and "--binning: 0 is below 1" in capsys.readouterr().err
