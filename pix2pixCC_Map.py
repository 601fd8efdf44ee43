"""Maps of the whole Sun at one moment: HMI in front, AI magnetograms behind, and what was known before.

    python pix2pixCC_Map.py --frontside HMI_FOLDER --farside checkpoints/NAME/Image/Test/400000 --history HMI_FOLDER \\
        --out maps --pfss
    python pix2pixCC_Map.py --frontside HMI_FOLDER --farside EUVI_FOLDER --dataset_name NAME \\
        --history hmi.synoptic_mr_720s.2107.synopMr.fits --out maps
    python pix2pixCC_Map.py --verify maps/synchronic_*[0-9].fits --frontside HMI_FOLDER --farside FOLDER

For each time it writes synchronic_<time>.fits, the radial field in gauss, and a picture; with --pfss also the corona,
synchronic_<time>_pfss.fits and .json. Repeat a stopped command to go on.
"""
from __future__ import annotations

import argparse
from datetime import UTC, datetime

from pix2pixcc.options import COUNT, POSITIVE, at_least, command_parser, share
from pix2pixcc.utils import UserError, leave_when_asked, limit_spinning, run_command


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = command_parser("pix2pixCC_Map.py", "Maps of the whole Sun's radial magnetic field at one moment, from "
                            "observed and AI-generated magnetograms, and the potential field of the corona above.")
    add = parser.add_argument_group("files").add_argument
    add("--frontside", nargs="+", default=[], metavar="PATH",
        help="observed line-of-sight magnetograms of now, raw or prepared, of any observers: files, or folders in "
        "any nesting")
    add("--farside", nargs="+", default=[], metavar="PATH",
        help="generated magnetograms, as pix2pixCC_Test.py writes them; with --dataset_name raw EUVI files or cubes")
    add("--history", nargs="+", default=[], metavar="PATH",
        help="HMI magnetograms of the 27 days before, of which a chart is made; or a synoptic map of HMI, GONG, MDI or "
        "ADAPT")
    add("--out", default=None, metavar="DIR", help="where the maps go")
    add("--time", nargs="+", default=[], type=_time, metavar="TIME",
        help="times of the maps, UTC: 2011-03-05T12:00 (default: those of the frontside magnetograms nearest to the "
        "farside's)")
    add("--overwrite", action="store_true", help="make again what is there as it would be made")
    add("--n_workers", type=COUNT, default=1, help="maps made at a time (up to 1 GB of memory each)")
    add = parser.add_argument_group("generated on the way").add_argument
    add("--dataset_name", default=None, metavar="NAME", help="the run in ./checkpoints whose model makes the farside")
    add("--iteration", default="best", help="its checkpoint: a number, or best")
    add("--average", action="store_true", help="its moving average of the weights")
    add("--gpu_ids", default="0", metavar="NUMBER",
        help="the GPU to use; -1 for the CPU, also taken where there is none")
    add = parser.add_argument_group("map").add_argument
    add("--shape", type=at_least(16), nargs=2, default=(360, 180), metavar=("COLUMNS", "ROWS"),
        help="cells in longitude and in sine of latitude (default: 360 180)")
    add("--frame", choices=("carrington", "stonyhurst"), default="carrington",
        help="longitudes: carrington from 0, or stonyhurst with the Earth in the middle")
    add("--rotation", choices=("howard", "snodgrass", "allen", "rigid"), default="howard",
        help="law by which magnetograms are turned to the map's time; howard is of magnetic features")
    add("--tolerance", type=POSITIVE, default=6.0,
        help="hours that a magnetogram may lie off the map's time: regions change over a day")
    add("--mu_limit", type=share, default=0.1,
        help="least cosine of the heliocentric angle: nearer to the limb the noise of the radial field is more than "
        "ten times that of the line of sight's")
    add("--mu_power", type=POSITIVE, default=2.0,
        help="power of it by which magnetograms are weighed: 2 goes with the noise of the radial field, 4 is HipFT's")
    add("--fading", type=at_least(0.1, float), default=4.0,
        help="days after which a magnetogram of the history weighs 1/e: the latest view of a place counts most")
    add("--history_cadence", type=at_least(1, float), default=24.0,
        help="hours between the magnetograms of the history that are taken")
    add("--merge", choices=("scales", "naive", "history"), default="scales",
        help="scales: generated where it is strong and fine, the history's weak field and net flux; naive: generated "
        "alone; history: no generated magnetogram")
    add("--trust", type=POSITIVE, default=0.02, help="weight of a generated beside an observed view of the same place")
    add("--net_degrees", type=at_least(2, float), default=20.0,
        help="over such widths the generated net flux is made the history's, which no EUV image shows")
    add("--strong", type=POSITIVE, default=20.0,
        help="gauss of smoothed |B| above which the large scales are the generated ones too")
    add("--split_degrees", type=at_least(2, float), default=4.0, help="between large and fine scales")
    add("--fine_share", type=POSITIVE, default=0.6, help="share of the generated field in fine scales, 0 to 1")
    add("--balance", choices=("weighted", "multiplicative", "additive", "none"), default="weighted",
        help="how net flux is taken off: weighted blames what was not seen now; multiplicative every cell in "
        "proportion to its field; additive every cell alike")
    add = parser.add_argument_group("what else is written").add_argument
    add("--pfss", action="store_true", help="the potential field of the corona (needs sunkit-magex)")
    add("--source_surface", type=at_least(1.1, float), default=2.5, help="of the corona, solar radii")
    add("--shells", type=at_least(5), default=35, help="of the corona, below the source surface")
    add("--export", nargs="+", choices=("gong", "hipft"), default=[],
        help="also as solar-wind models read it: GONG's FITS (WSA, EUHFORIA), HipFT's HDF5")
    add("--no_figures", action="store_true", help="draw no pictures")
    add("--verify", nargs="+", default=[], metavar="FILE",
        help="check maps instead: checksums, and the inputs where --frontside, --farside and --history tell")
    return parser


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2011-03-05T12:00") from error


if __name__ == "__main__":
    leave_when_asked()
    make_parser().parse_args()              # --help and mistyped flags are answered before the rest is loaded
limit_spinning()

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from astropy.utils.exceptions import AstropyUserWarning
from tqdm import tqdm

from pix2pixcc.parallel.workers import in_parallel
from pix2pixcc.whole_sun.corona_files import read_corona, write_corona
from pix2pixcc.whole_sun.exports import GONG_SHAPE, export_gong, export_hipft, hdf5, write_hipft_index
from pix2pixcc.whole_sun.figures import whole_sun_page
from pix2pixcc.whole_sun.maps import LEFT_OUT, WholeSunMap, read_map, verify_map, write_map
from pix2pixcc.whole_sun.pfss import Corona, corona_of, solver
from pix2pixcc.whole_sun.planning import PRELOAD, Entry, Plan, find_entries, make_map, plan_of, times_of
from pix2pixcc.whole_sun.recipe import Recipe

KEY_CARD = "GENKEY"
CHOICES = ("frame", "rotation", "mu_limit", "mu_power", "tolerance", "fading", "history_cadence", "trust",
           "net_degrees", "strong", "split_degrees", "fine_share", "balance")


@dataclass(frozen=True)
class Task:
    """What is written for one plan."""

    plan: Plan
    recipe: Recipe
    out: Path
    overwrite: bool
    corona: tuple[float, int] | None     # radius of the source surface and number of shells
    exports: tuple[str, ...]
    figures: bool

    def file(self, suffix: str = ".fits") -> Path:
        """Return the map's file, or another one that goes with it."""
        return self.out / f"{self.plan.stem}{suffix}"


@dataclass(frozen=True)
class Outcome:
    """What became of a plan: 'made', 'kept' or 'skipped', why it was skipped, and what of the history was left out."""

    plan: Plan
    became: str
    problem: str = ""
    left_out: tuple[str, ...] = ()


def main(argv: list[str] | None = None) -> int:
    """Plan the maps, make them, and say what became of every time."""
    opt = make_parser().parse_args(argv)
    if opt.verify:
        return verify(opt)
    if not opt.frontside or not opt.out:
        raise UserError("--frontside and --out are needed: where the observed magnetograms are, and where the maps go")
    recipe = Recipe.of(opt.shape, opt.merge, **{name: getattr(opt, name) for name in CHOICES})
    if opt.pfss:
        solver()                            # says now what is not installed, not after the first map
    _check_exports(opt)
    out = Path(opt.out)
    farside_paths, failed = (opt.farside, 0) if opt.dataset_name is None else generate(opt, out / "farside")
    frontside, farside, history = (find_entries(paths, opt.n_workers, exclude=opt.out) if paths else []
                                   for paths in (opt.frontside, farside_paths, opt.history))
    failed += say_problems({entry.path: entry for entry in (*frontside, *farside, *history)})
    times = sorted(set(opt.time)) or times_of(frontside, farside, opt.tolerance)
    if not times:
        raise UserError(f"{', '.join(opt.frontside)}: no line-of-sight magnetogram lies there")
    first = {f"{time:%Y%m%d%H%M}": time for time in reversed(times)}      # files are named by the minute
    plans = [plan_of(time, frontside, farside, history, recipe) for time in reversed(first.values())]
    corona = (opt.source_surface, opt.shells) if opt.pfss else None
    tasks = [Task(plan, recipe, out, opt.overwrite, corona, tuple(opt.export), not opt.no_figures) for plan in plans]
    became = work(tasks, opt.n_workers)
    failed += became["left out"]
    if "hipft" in opt.export:
        write_hipft_index(out / "hipft.csv", [(plan.time, f"{plan.stem}.h5") for plan in plans
                                              if (out / f"{plan.stem}.h5").is_file()])
    print(f"{became['made']} maps made, {became['kept']} already there, {became['skipped']} skipped: {out}")
    return 2 if failed or became["skipped"] else 0


def _check_exports(opt: argparse.Namespace) -> None:
    """Say now what an export lacks, not after the first map."""
    if "hipft" in opt.export:
        hdf5()
    if opt.export and opt.frame != "carrington":
        raise UserError("--export: models want maps that begin at Carrington longitude 0; leave --frame stonyhurst out")
    if "gong" in opt.export and any(side % own for side, own in zip(opt.shape, GONG_SHAPE[::-1], strict=True)):
        raise UserError(f"--export gong: {opt.shape[0]} x {opt.shape[1]} cells cannot become GONG's 360 x 180; give "
                        "--shape 360 180 or a multiple of it")


def generate(opt: argparse.Namespace, out: Path) -> tuple[list[str], int]:
    """Generate the farside with a trained model; return the products' paths, and how many inputs were bad."""
    from pix2pixcc.generation.output import Output  # these import torch, which maps alone do not need
    from pix2pixcc.generation.sources import Loaded, Unreadable, find_sources, load_source
    from pix2pixcc.model import FarsideModel
    from pix2pixcc.parallel.ranks import join_ranks
    from pix2pixcc.preparation.settings import TOLERANCE_MINUTES
    from pix2pixcc.training.folder import RunFolder

    if not opt.farside or not all(Path(folder).is_dir() for folder in opt.farside):
        raise UserError("--dataset_name generates the farside from --farside: give the folders of EUVI images there")
    with join_ranks(opt.gpu_ids) as ranks:
        model = FarsideModel.of_run(RunFolder(opt.dataset_name).path, opt.iteration, average=opt.average,
                                    device=ranks.device)
    description = model.description
    output = Output(out, "fits", description.target_scaling, description.unit, 1.0, None, model.provenance,
                    description.settings)
    products, failed = [], 0
    for folder in opt.farside:
        sources, missing = find_sources(folder, "fits", description.network["input_ch"],
                                        described=description.channels, size=description.size, data_size=None,
                                        tolerance=TOLERANCE_MINUTES["farside"], n_workers=opt.n_workers,
                                        index_path=out.parent / "headers.jsonl")
        for line in missing:
            print(line, file=sys.stderr)
        load = partial(load_source, scaled=description.scaled, multiple=model.generator.multiple,
                       is_finished=None if opt.overwrite else output.is_finished)
        for loaded in map(load, tqdm(sources, "farside", unit="img", disable=None)):
            if isinstance(loaded, Unreadable):
                print(f"skipped {loaded.source.where}: {loaded.problem}", file=sys.stderr)
                failed += 1
                continue
            if isinstance(loaded, Loaded):
                output.write(loaded, model.generate(loaded.tensor[None])[0][loaded.crop])
            products.append(str(output.path(loaded.source)))
    if not products:
        raise UserError(f"{', '.join(opt.farside)}: no image there could be made a farside magnetogram")
    return products, failed


def say_problems(entries: Mapping[str, Entry]) -> int:
    """Name the files that cannot be used, count those that are images of other kinds; return how many are bad."""
    bad = [entry for entry in entries.values() if entry.problem]
    for entry in bad:
        print(f"skipped {entry.path}: {entry.problem}", file=sys.stderr)
    if others := sum(entry.is_other for entry in entries.values()):
        print(f"{others} files are EUV images, which maps are not made of")
    return len(bad)


def work(tasks: list[Task], n_workers: int) -> Counter[str]:
    """Do the tasks, and count what became of them."""
    became: Counter[str] = Counter()
    said: set[str] = set()                  # a file of the history goes into many maps
    with closing(in_parallel(do, tasks, n_workers, preload=PRELOAD)) as outcomes:
        for outcome in tqdm(outcomes, "maps", len(tasks), unit="map", disable=None):
            became[outcome.became] += 1
            if outcome.problem:
                tqdm.write(f"skipped {outcome.plan.stem}: {outcome.problem}", file=sys.stderr)
            for line in outcome.left_out:
                if line not in said:
                    tqdm.write(f"skipped {line}", file=sys.stderr)
                said.add(line)
    return became + Counter({"left out": len(said)})


def do(task: Task) -> Outcome:
    """Make a map and what goes with it, unless all is there as it would be made."""
    plan = task.plan
    if plan.problem:
        return Outcome(plan, "skipped", plan.problem)
    try:
        key = plan.key(task.recipe)
        there = None if task.overwrite else _map_there(task, key)
        if there is not None:
            whole = there
            left_out = [f"{given.name}: could not be used when {plan.stem} was made; --overwrite says why"
                        for given in whole.inputs if given.role == LEFT_OUT]
        else:
            whole, left_out = make_map(plan, task.recipe)
            write_map(task.file(), whole, {KEY_CARD: (key, "of inputs and settings")})
        all_there = _finish(task, whole, fresh=there is None)
        return Outcome(plan, "kept" if there is not None and all_there else "made", left_out=tuple(left_out))
    except UserError as error:
        return Outcome(plan, "skipped", str(error))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:              # headers can be wrong in any way, and SunPy and wcslib raise anything
        return Outcome(plan, "skipped", f"{type(error).__name__}: {error}")


def _map_there(task: Task, key: str) -> WholeSunMap | None:
    """Return the map that is there; None if it is not, is damaged, or of another key, and must be made again."""
    with contextlib.suppress(UserError), warnings.catch_warnings(action="ignore", category=AstropyUserWarning):
        whole = read_map(task.file())
        return whole if whole.meta.get(KEY_CARD) == key else None
    return None


def _finish(task: Task, whole: WholeSunMap, *, fresh: bool) -> bool:
    """Write the corona, the exports and the picture of a map; return whether all of them were there."""
    is_there = True

    def lacks(suffix: str, after: str = ".fits") -> bool:
        """Return whether another file of the map is missing, or older than the one that it is made of."""
        nonlocal is_there
        path, source = task.file(suffix), task.file(after)
        there = not fresh and path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
        is_there &= there
        return not there

    corona, drawn_of = None, ".fits"
    if task.corona is not None:
        drawn_of = "_pfss.json"
        lacking = lacks("_pfss.fits") or lacks("_pfss.json", "_pfss.fits")
        corona = None if lacking else _corona_there(task)
        if corona is None:
            is_there = False
            corona = corona_of(whole, source_surface=task.corona[0], shells=task.corona[1])
            write_corona(task.file(""), corona, whole)
    if "gong" in task.exports and lacks("_gong.fits"):
        export_gong(task.file("_gong.fits"), whole)
    if "hipft" in task.exports and lacks(".h5"):
        export_hipft(task.file(".h5"), whole, whole.layers)
    if task.figures and lacks(".png", drawn_of):
        whole_sun_page(task.file(".png"), whole, whole.layers, corona)
    return is_there


def _corona_there(task: Task) -> Corona | None:
    """Return the corona that is there; None if it is damaged, or of another source surface or other shells."""
    with contextlib.suppress(UserError), warnings.catch_warnings(action="ignore", category=AstropyUserWarning):
        corona = read_corona(task.file(""))
        return corona if (corona.source_radius, corona.shells) == task.corona else None
    return None


def verify(opt: argparse.Namespace) -> int:
    """Check maps and say what holds, what does not and what was not checked; return 2 if anything does not."""
    folders = [*opt.frontside, *opt.farside, *opt.history]
    sound = True
    for file in opt.verify:
        for finding in verify_map(file, folders):
            print(f"{finding.answer:3} {file}: {finding.text}")
            sound &= finding.holds is not False
    return 0 if sound else 2


if __name__ == "__main__":
    run_command(main)
