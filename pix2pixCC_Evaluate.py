"""Score generated against true magnetograms with the papers' metrics.

    python pix2pixCC_Evaluate.py --generated checkpoints/pix2pixCC/Image/Test/760000 --real datasets/Test/Target
    python pix2pixCC_Evaluate.py --generated DIR --real DIR --out DIR --foreshortening --disk_radius 0.9

writes `scores.csv` (one row per image), `summary.json` (the set) and `figures.png` (one page), and prints a table.
"""
from __future__ import annotations

import argparse

from pix2pixcc.options import COUNT, POSITIVE, command_parser
from pix2pixcc.utils import FORMATS, leave_when_asked, limit_spinning


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's flags."""
    parser = command_parser("pix2pixCC_Evaluate.py", "Score generated against true magnetograms with the papers' "
                            "metrics: a CSV, a JSON summary, a table and a page of figures.")
    add = parser.add_argument_group("files").add_argument
    add("--generated", required=True, metavar="DIR", help="folder of generated magnetograms")
    add("--real", required=True, metavar="DIR", help="folder of true magnetograms, paired by name or by the time in it")
    add("--out", default=None, metavar="DIR",
        help="where the results go (default: the folder evaluation in --generated)")
    for side in ("generated", "real"):
        add(f"--data_format_{side}", choices=FORMATS, default=None, type=lambda text: text.lower().lstrip("."),
            metavar="FORMAT", help="extension of the files (default: FITS if there are any, else what there is)")
    add("--gauss_limits", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"),
        help="the files are not in gauss: 0..255 of 8-bit images, -1..1 of others, stand for LOW..HIGH gauss "
             "(default: gauss)")
    add("--strict", action="store_true", help="leave with status 2 if any image had to be skipped")
    add("--n_workers", type=COUNT, default=1, help="images scored at a time")
    add("--no_figures", action="store_true", help="draw no page of figures")

    what_counts = parser.add_argument_group("what counts")
    add = what_counts.add_argument
    add("--disk_radius", type=POSITIVE, default=0.98,
        help="pixels up to here count, in solar radii from the disk's centre; geometry from the header")
    add_one = what_counts.add_mutually_exclusive_group().add_argument
    add_one("--binning", type=COUNT, default=8, help="pixels on a side of a bin")
    add_one("--binning_radii", type=POSITIVE, default=None, metavar="SHARE",
            help="side of a bin in solar radii instead, rounded to whole pixels: 0.0178 are the papers' 8 pixels of "
                 "1024, and 1 pixel of 128")
    add("--active_threshold", type=POSITIVE, default=50.0,
        help="active regions: where the smoothed true |B| is above this, gauss")
    add("--active_smoothing", type=COUNT, default=8, help="pixels on a side over which |B| is smoothed for that")
    add("--polarity_threshold", type=POSITIVE, default=30.0,
        help="polarities are compared where the true |B| is above this, gauss")
    add("--ssim_range", type=POSITIVE, default=3000.0, help="the range of field strengths in SSIM, gauss")
    add("--foreshortening", action="store_true",
        help="flux through the solar surface, 1 / cos(theta) larger than across the line of sight")
    add("--display_range", type=POSITIVE, default=100.0,
        help="+- gauss at which the page of figures shows magnetograms")
    return parser


if __name__ == "__main__":
    leave_when_asked()
    make_parser().parse_args()              # --help and mistyped flags are answered before the rest is loaded
limit_spinning()

import functools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from astropy.io.fits import VerifyError
from tqdm import tqdm

from pix2pixcc.evaluation.figures import evaluation_page
from pix2pixcc.evaluation.pairs import in_gauss, list_magnetograms, match_products, read_pair
from pix2pixcc.evaluation.report import (
    PAPER,
    counted,
    is_comparable,
    lone_rows,
    notes,
    pair_row,
    table,
    write_scores,
    write_summary,
)
from pix2pixcc.evaluation.scores import Evaluation, Pool, evaluate_image, summary_of
from pix2pixcc.utils import VERSION, UserError, run_command, stem_of

SETTINGS = ("disk_radius", "binning", "binning_radii", "active_threshold", "active_smoothing", "polarity_threshold",
            "ssim_range", "foreshortening")


def evaluate_pair(pair: tuple[Path, Path], *, gauss_limits: Sequence[float] | None, binning: int,
                  binning_radii: float | None, **settings: Any) -> tuple[Evaluation | None, str, bool]:
    """Return the evaluation, which header gives the geometry, and whether the papers' figures are of the same kind.

    A pair that cannot be scored gives None and the reason.
    """
    try:
        generated, real, disk, source = read_pair(pair)
        bins = binning if binning_radii is None else max(1, round(binning_radii * disk.radius))
        evaluation = evaluate_image(in_gauss(generated, gauss_limits), in_gauss(real, gauss_limits), disk,
                                    binning=bins, **settings)
        return evaluation, source, is_comparable((generated, real), bins)
    except (UserError, ValueError, VerifyError) as error:
        return None, str(error), False


def main(argv: list[str] | None = None) -> int:
    """Score the pairs of two folders; refuse if nothing can be scored, or with `--strict` if anything was left out."""
    opt = make_parser().parse_args(argv)
    if opt.foreshortening and opt.disk_radius >= 1:
        raise UserError(f"--foreshortening needs --disk_radius below 1, not {opt.disk_radius:g}: "
                        "at the limb the surface is seen edge-on")
    pairs, lone_generated, lone_real = match_products(
        list_magnetograms(Path(opt.generated), opt.data_format_generated, "generated"),
        list_magnetograms(Path(opt.real), opt.data_format_real, "real"))

    # Score the pairs, in threads: NumPy and SciPy leave the interpreter free.
    settings = {name: getattr(opt, name) for name in SETTINGS}
    evaluate = functools.partial(evaluate_pair, gauss_limits=opt.gauss_limits, **settings)
    rows, scored, pooled, comparable = [], [], Pool(), True
    with ThreadPoolExecutor(opt.n_workers) as executor:
        results = tqdm(executor.map(evaluate, pairs), total=len(pairs), unit="image", disable=None, leave=False)
        for pair, (evaluation, remark, is_like_the_papers) in zip(pairs, results, strict=True):
            rows.append(pair_row(pair, evaluation, remark))
            if evaluation is not None:
                scored.append(pair)
                pooled.add(evaluation)
                comparable &= is_like_the_papers

    # Name what is left out, and write the results.
    rows += lone_rows(lone_generated, lone_real)
    skipped = [{"name": row["name"], "reason": row["reason"]} for row in rows if row["status"] == "skipped"]
    for row in skipped:
        print(f"skipped {row['name']}: {row['reason']}", file=sys.stderr)
    out = Path(opt.out or Path(opt.generated) / "evaluation")
    write_scores(out / "scores.csv", rows)
    reasons = f"the reasons are above and in {out / 'scores.csv'}"
    if not scored:
        raise UserError(f"none of the {len(rows)} images can be scored; {reasons}")
    images = counted(len(scored), "image")
    summary = {"version": VERSION, "generated": opt.generated, "real": opt.real, "images": len(scored),
               "skipped": skipped, "settings": settings} | summary_of(pooled)
    write_summary(out / "summary.json", summary)
    binning = int(pooled.scores["bin_pixels"][pooled.typical])
    if not opt.no_figures:
        shown = scored[pooled.typical]
        generated, real, disk, _ = read_pair(shown)
        evaluation_page(out / "figures.png", pooled, summary, generated=in_gauss(generated, opt.gauss_limits),
                        real=in_gauss(real, opt.gauss_limits), disk=disk, name=stem_of(shown[1]),
                        title=f"Generated against true magnetograms: {images}",
                        disk_radius=opt.disk_radius, binning=binning, display_limit=opt.display_range)

    # Say how the set did.
    left_out = f", {len(skipped)} skipped" if skipped else ""
    print(f"{images} scored within {opt.disk_radius:g} solar radii{left_out}; active: |B| over "
          f"{opt.active_smoothing} x {opt.active_smoothing} pixels above {opt.active_threshold:g} G\n")
    print(table(summary, binning))
    written = "scores.csv, summary.json" if opt.no_figures else "scores.csv, summary.json, figures.png"
    paper = [PAPER] if comparable else []
    print("\n".join(["", *notes(rows, pooled, opt.gauss_limits), *paper, f"{out / written}"]))
    if opt.strict and skipped:
        raise UserError(f"--strict: {len(skipped)} of {len(rows)} images were skipped; {reasons}")
    return 0


if __name__ == "__main__":
    run_command(main)
