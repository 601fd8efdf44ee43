"""The results of an evaluation: rows of a CSV, JSON, a table for the screen, and notes on the images."""
from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pixcc.evaluation.frames import ASSUMED
from pix2pixcc.evaluation.metrics import LEAST_BINS, REGIONS
from pix2pixcc.evaluation.scores import Evaluation, Pool
from pix2pixcc.images.files import Image
from pix2pixcc.utils import atomic_path, format_of, stem_of, write_json

PAPER = "AISFM v3 on real data (Jeong et al. 2022), CC of 8 x 8 bins: 0.88 full disk, 0.91 active, 0.70 quiet"
PAPER_SIDE, PAPER_BINNING = 1024, 8       # pixels, of the images and bins of that paper


def pair_row(pair: tuple[Path, Path], evaluation: Evaluation | None, remark: str) -> dict[str, Any]:
    """Return the CSV row of a pair; `remark` says where the geometry comes from, or why there are no scores."""
    generated, real = pair
    if evaluation is None:
        return _skipped(stem_of(real), generated.name, real.name, remark)
    return {"name": stem_of(real), "status": "scored", "reason": "", "generated": generated.name, "real": real.name,
            "geometry": remark, **evaluation.scores}


def lone_rows(generated: Sequence[Path], real: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the CSV rows of files without a partner."""
    return ([_skipped(stem_of(path), path.name, "", "no true image of this name or time") for path in generated]
            + [_skipped(stem_of(path), "", path.name, "no generated image of this name or time") for path in real])


def _skipped(name: str, generated: str, real: str, reason: str) -> dict[str, Any]:
    return {"name": name, "status": "skipped", "reason": reason, "generated": generated, "real": real, "geometry": ""}


def write_scores(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV, numbers with eight digits; columns that a row lacks stay empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    # Names of files need not be UTF-8.
    with (atomic_path(path) as temporary,
          open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({name: f"{value:.8g}" if isinstance(value, float) else value for name, value in row.items()}
                         for row in rows)


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary of a set as JSON, which has no NaN: null instead."""
    write_json(path, json.loads(json.dumps(summary), parse_constant=lambda _: None))


def is_comparable(pair: Sequence[Image], binning: int) -> bool:
    """Return whether a pair's scores are of what `PAPER` gives: FITS images of the real Sun, of its size and bins."""
    headers = [image.header for image in pair]
    return (binning == PAPER_BINNING and pair[0].data.shape[-1] == PAPER_SIDE
            and all(header is not None and "SUNSEED" not in header for header in headers))


def table(summary: Mapping[str, Any], binning: int) -> str:
    """Return a set on one screen by region of the disk, then the fluxes.

    A cell is mean and scatter over the images, and in brackets the value of all their pixels or bins together.
    """
    metrics, bins, pooled = summary["metrics"], f"{binning} x {binning}", summary["pooled"]
    lines = [_line("mean ± std (all together)", "full disk", "active", "quiet")]
    for title, metric, scale, digits in (
            ("CC", "cc", 1, 3), (f"CC, {bins}", "cc_binned", 1, 3), ("concordance CC", "ccc", 1, 3),
            (f"concordance CC, {bins}", "ccc_binned", 1, 3), ("RMSE [G]", "rmse", 1, 1), ("R^2", "r2", 1, 3),
            ("PPE10 [%]", "ppe10", 100, 1)):
        lines.append(_line(title, *(
            _mean_and_scatter(metrics[f"{region}_{metric}"], scale, digits)
            + _together(pooled.get(f"{region}_{metric}", math.nan), scale, digits) for region in REGIONS)))
        if metric in ("cc", "cc_binned"):
            counts = (metrics[f"{region}_{metric}"]["images"] for region in REGIONS)
            of = "" if metric == "cc" else f" of {LEAST_BINS} bins"
            lines.append(_line(f"  images{of}", *map(str, counts)))
        if metric == "cc_binned":
            lines.append(_line("  bins", *(f"{pooled[f'{region}_bins']:.0f}" for region in REGIONS)))
    for title, metric in (("SSIM", "ssim"), ("polarity agreement", "polarity_agreement"),
                          (f"power ratio above {binning} pixels", "power_ratio_coarse"),
                          (f"power ratio below {binning} pixels", "power_ratio_fine")):
        lines.append(_line(title, _mean_and_scatter(metrics[metric], 1, 3)))
    for title, kind in (("total unsigned flux", "unsigned"), ("net flux", "net")):
        flux = summary["flux"][kind]
        cells = (("CC", "cc", ".3f"), ("slope", "slope", ".3f"), ("error", "relative_error", ".1%"),
                 ("bias", "relative_bias", "+.1%"))
        lines.append(_line(title, *(f"{word} {'-' if math.isnan(flux[name]) else format(flux[name], form)}"
                                    for word, name, form in cells)))
    return "\n".join(lines)


def _line(title: str, *cells: str) -> str:
    return f"{title:28}" + "".join(f"{cell:>24}" for cell in cells)


def _together(value: float, scale: float, digits: int) -> str:
    return "" if math.isnan(value) else f" ({scale * value:.{digits}f})"


def _mean_and_scatter(statistics: Mapping[str, float], scale: float, digits: int) -> str:
    if not statistics["images"]:
        return "-"
    mean, scatter = (f"{scale * statistics[name]:.{digits}f}" for name in ("mean", "std"))
    return mean if math.isnan(statistics["std"]) else f"{mean} ± {scatter}"


def notes(rows: Sequence[Mapping[str, Any]], pooled: Pool, gauss_limits: Sequence[float] | None) -> list[str]:
    """Return notes on images without geometry in a header, on missing pixels, and on values that are hardly gauss."""
    found = []
    scored = [row for row in rows if row["status"] == "scored"]
    assumed = sum(row["geometry"] == ASSUMED for row in scored)
    if assumed:
        found.append(f"note: {assumed} without a helioprojective header, taken as registered "
                     "(centred, radius 450/1024 of the side)")
    missing, pixels = (int(pooled.scores[name].sum()) for name in ("missing_pixels", "pixels"))
    if missing:
        found.append(f"note: {missing / (missing + pixels):.2%} of the pixels on the disk are not finite in one image "
                     "or the other and do not count (missing_pixels in the CSV)")
    eight_bit = sum(format_of(row["real"]) in ("png", "jpg", "jpeg") for row in scored)
    one_gauss = pooled.scores["pixels"] * (1e8 * pooled.pixel_sizes) ** 2       # the flux of 1 G everywhere, Mx
    weak = int((pooled.scores["unsigned_flux_real_mx"] < one_gauss).sum())
    if gauss_limits is None and (eight_bit or weak):
        found.append(f"note: {max(eight_bit, weak)} true images can hardly be in gauss (8-bit, or below 1 G on "
                     "average): if they are scaled, give --gauss_limits LOW HIGH")
    return found


def counted(number: int, noun: str) -> str:
    """Return '1 image' or '2 images'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
