"""Measure speed and memory, print a table, write `benchmarks/results.json`.

    python benchmarks/bench.py                               # all: make bench
    python benchmarks/bench.py --only "step, 16, n_D 2"      # some, by name; --list shows the names

Each case runs in a process of its own, so that its peak memory is its own. Work is timed in turn with the machine's
matrix-product peak in the same precision: the share of the peak is what can be compared between machines.
"""
from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main(argv: list[str] | None = None) -> int:
    opt = parse(argv)
    import torch
    from cases import CASES, GPU_CASES, TINY, V3

    from pix2pixcc.parallel.ranks import keep_freed_memory

    size = TINY if opt.tiny else V3
    if opt.repeats:
        size = replace(size, repeats=opt.repeats)
    places = [("cpu", CASES)] + ([("cuda", GPU_CASES)] if torch.cuda.is_available() else [])
    if opt.list:
        print("\n".join(f"{place}: {name}" for place, cases in places for name in cases))
        return 0
    if opt.in_process:
        keep_freed_memory()                                    # as the commands do
        place, name = opt.in_process
        rows = dict(places)[place][name](size, torch.device(place))
        print(json.dumps(rows))
        return 0
    rows = []
    print(HEAD)
    for place, cases in places:
        for name in cases:
            if opt.only and name not in opt.only:
                continue
            rows += run(place, name, [*(["--tiny"] if opt.tiny else []), *(["--repeats", str(opt.repeats)] if opt.repeats else [])])
            for row in [row for row in rows if row["case"] == name and row["device"] == place]:
                print(line(row), flush=True)
    record = {"machine": machine(), "configuration": vars(size), "rows": rows}
    if opt.out:
        Path(opt.out).write_text(json.dumps(record, indent=1) + "\n")
    return int(any("error" in row for row in rows))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="names of cases")
    parser.add_argument("--list", action="store_true", help="show the names")
    parser.add_argument("--tiny", action="store_true", help="a small configuration, to try the benchmarks themselves")
    parser.add_argument("--repeats", type=int, default=None, help="of each measurement (default: 3)")
    parser.add_argument("--out", default=str(HERE / "results.json"), metavar="FILE", help="the figures as JSON; empty: none")
    parser.add_argument("--in_process", nargs=2, metavar=("DEVICE", "CASE"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def run(place: str, name: str, flags: list[str]) -> list[dict]:
    """The rows of one case, from a process of its own."""
    command = [sys.executable, __file__, *flags, "--in_process", place, name]
    done = subprocess.run(command, capture_output=True, text=True)
    common = {"device": place, "case": name}
    if done.returncode:
        return [common | {"error": (done.stderr.strip().splitlines() or ["died"])[-1]}]
    return [common | row for row in json.loads(done.stdout.splitlines()[-1])]


HEAD = (f"{'':5}{'case':32}{'time':>10}{'rate':>14}{'Tflop':>8}{'peak':>8}{'share':>7}{'by cpu':>7}{'memory':>9}  what\n"
        f"{'':37}{'s':>10}{'':>14}{'':>8}{'Gflop/s':>8}{'':>7}{'':>7}{'GB':>9}")


def line(row: dict) -> str:
    """One row of the table."""
    if "error" in row:
        return f"{row['device']:5}{row['case']:32}  {row['error']}"

    def shown(key: str, text: str, width: int) -> str:
        return f"{format(row[key], text) if row.get(key) is not None else '':>{width}}"

    what = row.get("what", "")
    if "floor_seconds" in row:
        what += f"; to read its {row['megabytes']:.0f} MB alone takes {row['floor_seconds']:.4f} s"
    return (f"{row['device']:5}{row['case']:32}{row['seconds']:10.4f}{1 / max(row['seconds'], 1e-9):8.2f} {row['unit'] + '/s':>5.7}"
            f"{shown('tflop', '.3f', 8)}{shown('peak_gflops', '.0f', 8)}{shown('share', '.0%', 7)}{shown('share_cpu', '.0%', 7)}"
            f"{shown('memory_gb', '.2f', 9)}  {what}")


def machine() -> dict:
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        cards = dict(part.split(":", 1) for part in info.read_text().split("\n\n")[0].splitlines() if ":" in part)
        fields = {key.strip(): value.strip() for key, value in cards.items()}
        cpu = f"{fields.get('model name', cpu)} (family {fields.get('cpu family')}, model {fields.get('model')})"
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


if __name__ == "__main__":
    sys.exit(main())
