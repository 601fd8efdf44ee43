"""Score generated against true magnetograms with the papers' metrics.

    python pix2pixCC_Evaluate.py --generated checkpoints/pix2pixCC/Image/Test/760000 --real datasets/Test/Target
    python pix2pixCC_Evaluate.py --generated DIR --real DIR --out DIR --foreshortening --disk_radius 0.9

writes `scores.csv` (a row an image), `summary.json` (the set) and `figures.png` (one page), and prints a table. Metrics are
defined in `metrics.py`, the geometry of the disk in `disk.py`.
"""
from __future__ import annotations

import argparse

from pix2pixcc.options import COUNT, POSITIVE, command_parser
from pix2pixcc.utils import FORMATS


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser("pix2pixCC_Evaluate.py", description="Score generated against true magnetograms with the papers' metrics: "
                                                                 "a CSV, a JSON summary, a table and a page of figures.")
    add = parser.add_argument_group("files").add_argument
    add("--generated", required=True, metavar="DIR", help="folder of generated magnetograms")
    add("--real", required=True, metavar="DIR", help="folder of true magnetograms, paired by name or by the time in it")
    add("--out", default=None, metavar="DIR", help="where the results go (default: the folder evaluation in --generated)")
    for side in ("generated", "real"):
        add(f"--data_format_{side}", choices=FORMATS, default=None, type=lambda text: text.lower().lstrip("."), metavar="FORMAT",
            help="extension of the files (default: FITS if there are any, else what there is)")
    add("--gauss_limits", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"),
        help="the files are not in gauss: 0..255 of 8-bit images, -1..1 of others, stand for LOW..HIGH gauss (default: gauss)")
    add("--strict", action="store_true", help="leave with status 2 if any image had to be skipped")
    add("--n_workers", type=COUNT, default=1, help="images scored at a time")
    add("--no_figures", action="store_true", help="draw no page of figures")

    add = parser.add_argument_group("what counts").add_argument
    add("--disk_radius", type=POSITIVE, default=0.98,
        help="pixels up to here count, in solar radii from the disk's centre; geometry from the header")
    add("--binning", type=COUNT, default=8, help="pixels on a side of a bin")
    add("--active_threshold", type=POSITIVE, default=50.0, help="active regions: where the smoothed true |B| is above this, gauss")
    add("--active_smoothing", type=COUNT, default=8, help="pixels on a side over which |B| is smoothed for that")
    add("--polarity_threshold", type=POSITIVE, default=30.0, help="polarities are compared where the true |B| is above this, gauss")
    add("--ssim_range", type=POSITIVE, default=3000.0, help="the range of field strengths in SSIM, gauss")
    add("--foreshortening", action="store_true", help="flux through the solar surface, 1 / cos(theta) larger than across the line of sight")
    add("--display_range", type=POSITIVE, default=100.0, help="+- gauss at which the page of figures shows magnetograms")
    return parser


if __name__ == "__main__":
    make_parser().parse_args()              # --help and mistyped flags are answered before the rest is loaded

import csv
import functools
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.fits import VerifyError
from tqdm import tqdm

from pix2pixcc.evaluation.figures import evaluation_page
from pix2pixcc.evaluation.scores import ASSUMED, Evaluation, Pool, common_disk, evaluate_image, pool, summary_of
from pix2pixcc.images.files import Image, list_images, read_image
from pix2pixcc.images.pairs import pair_files
from pix2pixcc.solar.geometry import Disk
from pix2pixcc.utils import (
    FITS_FORMATS,
    VERSION,
    UserError,
    atomic_path,
    format_of,
    run_command,
    stem_of,
    time_in_name,
    write_json,
)

PAPER = "AISFM v3 on real data (Jeong et al. 2022), CC of 8 x 8 bins: 0.88 full disk, 0.91 active, 0.70 quiet"


def _images(folder: str, data_format: str | None, flag: str) -> list[Path]:
    """The images of a folder: of `data_format`, else FITS if there are any, else of whatever format there is."""
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"--{flag} {folder}: there is no such folder")
    present = {format_of(each) for each in path.iterdir()}
    choice = data_format or next((each for each in (*FITS_FORMATS, "npy", *FORMATS) if each in present), None)
    if choice is None or choice not in present:
        wanted = f".{data_format} files" if data_format else f"images ({', '.join(FORMATS)})"
        raise UserError(f"--{flag} {folder} holds no {wanted}; choose another folder or --data_format_{flag}")
    return list_images(folder, choice)


def _without_partner(paths: Sequence[Path], others: Sequence[Path]) -> set[Path]:
    def keys(path: Path) -> set[str]:
        return {stem_of(path), str(time_in_name(stem_of(path)) or stem_of(path))}
    present = set().union(*map(keys, others))
    return {path for path in paths if not keys(path) & present}


def _pair(generated: Sequence[Path], real: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path], list[Path]]:
    """Pairs (generated, real) as training pairs its files, an `_AI` at a name's end aside; and the files without a partner."""
    plain = {path.with_name(path.name.replace(stem_of(path), stem_of(path).removesuffix("_AI"), 1)): path for path in generated}
    if len(plain) < len(generated):
        plain = {path: path for path in generated}
    lone_generated: set[Path] = set()
    lone_real: set[Path] = set()
    try:
        pairs = pair_files(list(plain), real)
    except UserError as error:
        lone_generated, lone_real = _without_partner(list(plain), real), _without_partner(real, list(plain))
        if len(lone_generated) == len(plain) or not lone_generated | lone_real:
            raise UserError(f"cannot pair --generated (the inputs) with --real (the targets): {error}") from error
        pairs = pair_files([path for path in plain if path not in lone_generated], [path for path in real if path not in lone_real])
    return ([(plain[first], second) for first, second in pairs],
            [path for name, path in plain.items() if name in lone_generated], [path for path in real if path in lone_real])


def _gauss(image: Image, limits: Sequence[float] | None) -> np.ndarray:
    """The image `(H, W)` in gauss: as it is, or 0..255 (8-bit) or -1..1 (others) stretched to `limits`."""
    field = image.data[0].astype(np.float64)
    if limits is None:
        return field
    lowest, highest = (0.0, 255.0) if image.is_8bit else (-1.0, 1.0)
    return limits[0] + (field - lowest) / (highest - lowest) * (limits[1] - limits[0])


def _read_pair(generated: Path, real: Path, limits: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray, Disk, str]:
    """Both magnetograms in gauss, their disk, and where its geometry comes from."""
    images = read_image(generated, 1, side="target"), read_image(real, 1, side="target")
    disk, source = common_disk(*images)
    return _gauss(images[0], limits), _gauss(images[1], limits), disk, source


def _evaluate_pair(pair: tuple[Path, Path], *, gauss_limits: Sequence[float] | None, **settings: Any) -> tuple[Evaluation | None, str]:
    """The evaluation and where its geometry comes from; or None and why the pair cannot be scored."""
    try:
        generated, real, disk, source = _read_pair(*pair, gauss_limits)
        return evaluate_image(generated, real, disk, **settings), source
    except (UserError, ValueError, VerifyError) as error:
        return None, str(error)


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (atomic_path(path) as temporary,
          open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file):       # names need not be UTF-8
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({name: f"{value:.8g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows)


def _without_nan(content: Any) -> Any:
    """JSON knows no NaN: null instead."""
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _table(summary: dict[str, Any], binning: int) -> str:
    """The set on one screen: mean and scatter over the images."""
    def cell(name: str, scale: float = 1.0, digits: int = 3) -> str:
        values = summary["metrics"][name]
        if not values["images"]:
            return "-".rjust(20)
        scatter = "" if math.isnan(values["std"]) else f" ± {scale * values['std']:.{digits}f}"
        return f"{scale * values['mean']:.{digits}f}{scatter}".rjust(20)

    def number(value: float, form: str) -> str:
        return "-" if math.isnan(value) else format(value, form)

    bins = f"{binning} x {binning}"
    regional = (("CC", "cc", 1, 3), (f"CC, {bins}", "cc_binned", 1, 3), ("concordance CC", "ccc", 1, 3),
                (f"concordance CC, {bins}", "ccc_binned", 1, 3), ("RMSE [G]", "rmse", 1, 1), ("R^2", "r2", 1, 3),
                ("PPE10 [%]", "ppe10", 100, 1))
    whole = (("SSIM", "ssim"), ("polarity agreement", "polarity_agreement"),
             (f"power ratio above {binning} pixels", "power_ratio_coarse"), (f"power ratio below {binning} pixels", "power_ratio_fine"))
    lines = [f"{'mean ± std over the images':28}{'full disk':>20}{'active':>20}{'quiet':>20}"]
    for title, metric, scale, digits in regional:
        lines.append(f"{title:28}" + "".join(cell(f"{region}_{metric}", scale, digits) for region in ("full", "active", "quiet")))
    for title, metric in whole:
        lines.append(f"{title:28}{cell(metric)}")
    for title, kind in (("total unsigned flux", "unsigned"), ("net flux", "net")):
        flux = summary["flux"][kind]
        lines.append(f"{title:28}{'CC ' + number(flux['cc'], '.3f'):>20}{'slope ' + number(flux['slope'], '.3f'):>20}"
                     f"{'error ' + number(flux['relative_error'], '.1%'):>20}{'bias ' + number(flux['relative_bias'], '+.1%'):>20}")
    return "\n".join(lines)


def _notes(scored: Sequence[tuple[tuple[Path, Path], Evaluation, str]], gauss_limits: Sequence[float] | None) -> list[str]:
    """What a reader must know of the images: a geometry that no header gives, values that can hardly be gauss."""
    notes = []
    assumed = sum(source == ASSUMED for _, _, source in scored)
    if assumed:
        notes.append(f"note: {assumed} without a helioprojective header, taken as registered (centred, radius 450/1024 of the side)")
    missing = sum(evaluation.scores["missing_pixels"] for _, evaluation, _ in scored)
    if missing:
        share = missing / (missing + sum(evaluation.scores["pixels"] for _, evaluation, _ in scored))
        notes.append(f"note: {share:.2%} of the pixels on the disk are not finite in one image or the other and do not count "
                     "(missing_pixels in the CSV)")
    counts = sum(format_of(real) in ("png", "jpg", "jpeg") for (_, real), _, _ in scored)
    scaled = sum(evaluation.scores["unsigned_flux_real_mx"] < evaluation.scores["pixels"] * (1e8 * evaluation.pixel_size) ** 2
                 for _, evaluation, _ in scored)
    if gauss_limits is None and (counts or scaled):
        notes.append(f"note: {max(counts, scaled)} true images can hardly be in gauss (8-bit, or below 1 G on average): "
                     "if they are scaled, give --gauss_limits LOW HIGH")
    return notes


def _progress(function: Callable, items: Sequence, workers: int) -> list:
    """Map in threads (NumPy and SciPy leave the interpreter free), with a progress bar where someone watches."""
    with ThreadPoolExecutor(max(workers, 1)) as executor:
        return list(tqdm(executor.map(function, items), total=len(items), unit="image", disable=None, leave=False))


def _report(out: Path, rows: Sequence[dict[str, Any]], pooled: Pool, pairs: Sequence[tuple[Path, Path]], *, about: dict[str, Any],
            gauss_limits: Sequence[float] | None, display_range: float | None) -> dict[str, Any]:
    """Write the CSV, the summary and, within +- `display_range` gauss, the page of figures of the scored `pairs`."""
    settings = about["settings"]
    summary = about | summary_of(pooled)
    _write_csv(out / "scores.csv", rows)
    write_json(out / "summary.json", _without_nan(summary))
    if display_range is None:
        return summary
    generated, real, disk, _ = _read_pair(*pairs[pooled.typical], gauss_limits)
    evaluation_page(out / "figures.png", pooled, summary, generated=generated, real=real, disk=disk,
                    name=stem_of(pairs[pooled.typical][1]), disk_radius=settings["disk_radius"], binning=settings["binning"],
                    display_limit=display_range, title=f"Generated against true magnetograms: {len(pairs)} image{'s' * (len(pairs) > 1)}")
    return summary


def _row(name: str, generated: str, real: str, evaluation: Evaluation | None, remark: str) -> dict[str, Any]:
    """One row of the CSV; `remark` says where the geometry comes from, or why there are no scores."""
    skipped = evaluation is None
    return {"name": name, "status": "skipped" if skipped else "scored", "reason": remark if skipped else "", "generated": generated,
            "real": real, "geometry": "" if skipped else remark, **({} if evaluation is None else evaluation.scores)}


def main(argv: list[str] | None = None) -> int:
    """Score the pairs of two folders; 2 if nothing can be scored, or with `--strict` if anything was left out."""
    opt = make_parser().parse_args(argv)
    if opt.foreshortening and opt.disk_radius >= 1:
        raise UserError(f"--foreshortening needs --disk_radius below 1, not {opt.disk_radius:g}: at the limb the surface is seen edge-on")
    pairs, lone_generated, lone_real = _pair(_images(opt.generated, opt.data_format_generated, "generated"),
                                             _images(opt.real, opt.data_format_real, "real"))
    settings = {name: getattr(opt, name) for name in ("disk_radius", "binning", "active_threshold", "active_smoothing",
                                                      "polarity_threshold", "ssim_range", "foreshortening")}
    results = _progress(functools.partial(_evaluate_pair, gauss_limits=opt.gauss_limits, **settings), pairs, opt.n_workers)
    scored = [(pair, evaluation, source) for pair, (evaluation, source) in zip(pairs, results, strict=True) if evaluation is not None]

    rows = [_row(stem_of(pair[1]), pair[0].name, pair[1].name, *result) for pair, result in zip(pairs, results, strict=True)]
    rows += [_row(stem_of(path), path.name, "", None, "no true image of this name or time") for path in lone_generated]
    rows += [_row(stem_of(path), "", path.name, None, "no generated image of this name or time") for path in lone_real]
    skipped = [row for row in rows if row["status"] == "skipped"]
    for row in skipped:
        print(f"skipped {row['name']}: {row['reason']}", file=sys.stderr)
    out = Path(opt.out or Path(opt.generated) / "evaluation")
    if not scored:
        _write_csv(out / "scores.csv", rows)
        raise UserError(f"none of the {len(rows)} images can be scored; the reasons are above and in {out / 'scores.csv'}")

    about = {"version": VERSION, "generated": str(opt.generated), "real": str(opt.real), "images": len(scored),
             "skipped": [{"name": row["name"], "reason": row["reason"]} for row in skipped], "settings": settings}
    summary = _report(out, rows, pool([each for _, each, _ in scored]), [pair for pair, _, _ in scored], about=about,
                      gauss_limits=opt.gauss_limits, display_range=None if opt.no_figures else opt.display_range)
    print(f"{len(scored)} image{'s' * (len(scored) > 1)} scored within {opt.disk_radius:g} solar radii"
          + (f", {len(skipped)} skipped" if skipped else "")
          + f"; active: |B| over {opt.active_smoothing} x {opt.active_smoothing} pixels above {opt.active_threshold:g} G\n")
    print(_table(summary, opt.binning))
    print("\n".join(["", *_notes(scored, opt.gauss_limits), PAPER,
                     f"{out / 'scores.csv'}, summary.json" + ("" if opt.no_figures else ", figures.png")]))
    if opt.strict and skipped:
        raise UserError(f"--strict: {len(skipped)} of {len(rows)} images were skipped; the reasons are above and in {out / 'scores.csv'}")
    return 0


if __name__ == "__main__":
    run_command(main)
