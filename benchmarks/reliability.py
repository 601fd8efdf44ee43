"""Measure what cannot be promised: kills survived, resumes compared, damaged files fuzzed, memory taken by them.

    .venv/bin/python benchmarks/reliability.py                 # writes benchmarks/reliability.md; three minutes on two quiet cores
    .venv/bin/python benchmarks/reliability.py --kills 6 --files 40 --out /tmp/short.md

The tests of the same names run the same code in a shorter form.
"""
from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

WATCHED = ["--save_freq", 20, "--report_freq", 5, "--display_freq", 20, "--padding_size", 4, "--max_rotation_angle", 20,
           "--epoch_decay", 2, "--n_epochs", 8, "--n_workers", 2, "--ema", 0.9]


def train(folder: Path, ranks: int, *flags: object) -> None:
    """A training to its end, on one process or several."""
    from running import RUN, finish, start, start_ranks

    flags = (*WATCHED, *flags)
    processes = [start(folder, "Train", *RUN, *flags)] if ranks == 1 else start_ranks(folder, ranks, *flags)
    if any([finish(process, 600) for process in processes]):
        raise SystemExit("".join(log.read_text() for log in folder.glob("log*")))


def resumes(folder: Path) -> list[str]:
    """Rows of a table: 40 iterations against 17 and the rest, in how many tensors, rows and pictures they differ."""
    import torch
    from running import differences, read_state, write_pairs

    write_pairs(folder)
    os.chdir(folder)
    rows = []
    for ranks in (1, 2):
        for bits in (32, 16):
            whole, parts = f"whole{ranks}{bits}", f"parts{ranks}{bits}"
            train(folder, ranks, "--data_type", bits, "--dataset_name", whole, "--n_iterations", 40)
            train(folder, ranks, "--data_type", bits, "--dataset_name", parts, "--n_iterations", 17)
            train(folder, ranks, "--data_type", bits, "--dataset_name", parts, "--n_iterations", 40, "--resume")
            state = differences(read_state(whole, 40), read_state(parts, 40))
            weights = [name for name in ("G", "D", "G_ema") if differences(*(
                torch.load(f"checkpoints/{run}/Model/40_{name}.pt", weights_only=True) for run in (whole, parts)))]
            files = [name for name in ("losses.csv", *(f"Image/Train/40_{kind}.png" for kind in ("real", "fake", "sheet")))
                     if Path(f"checkpoints/{whole}/{name}").read_bytes() != Path(f"checkpoints/{parts}/{name}").read_bytes()]
            rows.append(f"| {ranks} | {bits} | {len(state)} | {len(weights)} | {len(files)} |")
            print(rows[-1], flush=True)
    return rows


def kills(folder: Path, number: int, seed: int) -> list[str]:
    """Rows of a table: what became of a training that was killed `number` times."""
    from running import write_pairs
    from survival import survive

    write_pairs(folder)
    outcome = survive(folder, number, iterations=48, seed=seed)
    print(outcome, flush=True)
    return [f"| kills by SIGKILL | {outcome.kills} |", f"| of these, with a file half-written at that moment | {outcome.mid_save} |",
            f"| of these, before the first training state was there | {outcome.first_save} |",
            f"| files read after the kills (checkpoints, pictures, tables, pages, records) | {outcome.checked} |",
            f"| runs that came to their end and were compared with one that nobody killed | {outcome.completed} |",
            f"| unreadable files, failed resumes, differences | {len(outcome.problems)} |", *(f"| {text} | |" for text in outcome.problems)]


def fuzzed(folder: Path, files: int, seed: int) -> list[str]:
    """Rows of a table: every command over damaged files of every format."""
    from fuzzing import CASES, fuzz

    rows, total, refused, megabytes, problems = [], 0, 0, 0.0, 0
    for command, data_format in CASES:
        place = folder / f"{command}_{data_format}"
        place.mkdir()
        outcome = fuzz(place, command, data_format, number=files, seed=seed)
        rows.append(f"| {command} | {data_format} | {outcome.files} | {outcome.refused} | {outcome.status} | {outcome.seconds:.1f} | "
                    f"{outcome.megabytes:.0f} | {len(outcome.problems)} |")
        print(rows[-1], *outcome.problems, flush=True)
        total, refused, problems = total + outcome.files, refused + outcome.refused, problems + len(outcome.problems)
        megabytes = max(megabytes, outcome.megabytes)
        shutil.rmtree(place, ignore_errors=True)
    return [*rows, f"| all | | {total} | {refused} | | | {megabytes:.0f} | {problems} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--files", type=int, default=60, help="damaged files for each command and format")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "reliability.md")
    opt = parser.parse_args()
    out = opt.out.resolve()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        places = [Path(scratch) / name for name in ("resumes", "kills", "fuzzed")]
        for place in places:
            place.mkdir()
        lines = ["# Reliability, as measured", "",
                 "Written by `benchmarks/reliability.py`; the tests `test_resume.py`, `test_ranks.py`, `test_killed.py` and "
                 "`test_hostile.py` run the same code in a shorter form.", "",
                 f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, PyTorch {torch.__version__}, {os.cpu_count()} cores, "
                 f"seed {opt.seed}.", "", "## Exact resume", "",
                 "40 iterations against 17 and the rest, with shuffling, padding and rotation, two loader processes, a decaying rate and a "
                 "moving average. The numbers are differences, bit for bit: entries of the training state (weights, both optimizers, "
                 "average, sums), weight files, and `losses.csv` with the three pictures.", "",
                 "| ranks | bits | state | weights | losses and pictures |", "|---|---|---|---|---|", *resumes(places[0]), "",
                 "## Killed at any moment", "",
                 "Half of the kills come at random moments, half as soon as a file is being written, 0 to 3 ms later.", "",
                 "| | |", "|---|---|", *kills(places[1], opt.kills, opt.seed), "", "## Damaged files", "",
                 "Cut off, with flipped bits in headers and pixels, of other types, sizes declared from 0 to 10^18 pixels, all NaN or "
                 "infinite, with more axes, of other formats, pickles, links to nowhere and in circles, folders, pipes; under names with "
                 "blanks, line feeds, quotes, other scripts and bytes that are no UTF-8. Good files lie among them and must be done. Those "
                 "that are not refused are still images: a flipped bit in a pixel is another pixel.", "",
                 "| command | format | files | refused | status | s | MB beyond the start | problems |",
                 "|---|---|---|---|---|---|---|---|", *fuzzed(places[2], opt.files, opt.seed), "",
                 "A problem would be a traceback, a pickle that was run, a good file not done, a file neither done nor counted, or another "
                 "exit status than expected (Test and Train 2; Evaluate and Prepare 0, with the skipped files in their tables).", ""]
        os.chdir(ROOT)
    lines.append(f"The whole took {(time.monotonic() - begun) / 60:.0f} minutes.\n")
    out.write_text("\n".join(lines))
    print(f"written {out}")


if __name__ == "__main__":
    main()
