"""Train the demo with 16 and with 32 bits, several seeds each, and compare the final correlation.

    python pix2pixCC_Simulate.py --out datasets/demo --pairs 150 --test_suns 20 --size 128 --passbands 171
    python benchmarks/sixteen_bits.py --data datasets/demo --seeds 0 1 2

The flags are those of `make demo`. Runs go to checkpoints/sixteen_bits_<bits>_<seed>/ under --work and go on where they
were stopped. The score is the correlation of 8 x 8 binned pixels on the disk of the unseen farsides. Writes
benchmarks/sixteen_bits.json.
"""
from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"val_cc_binned": "generator", "ema_cc_binned": "its average"}      # columns of losses.csv


def score(work: Path, data: Path, bits: int, seed: int, iterations: int, gpu_ids: str) -> dict[str, float]:
    """Train and validate once; return the last binned correlations of losses.csv."""
    name = f"sixteen_bits_{bits}_{seed}"
    subprocess.run([sys.executable, str(ROOT / "pix2pixCC_Train.py"), "--dataset_name", name, "--resume",
                    "--gpu_ids", gpu_ids, "--data_format_input", "fits", "--data_format_target", "fits",
                    "--input_dir_train", str(data / "Train/Input"), "--target_dir_train", str(data / "Train/Target"),
                    "--input_dir_val", str(data / "Test/Input"), "--target_dir_val", str(data / "Test/Target"),
                    "--val_during_train", "--n_gf", "16", "--n_df", "16", "--n_downsample", "3", "--n_residual", "6",
                    "--padding_size", "8", "--lr", "5e-4", "--n_epochs", "16", "--epoch_decay", "8", "--ema", "0.995",
                    "--n_workers", "0", "--n_iterations", str(iterations), "--save_freq", str(iterations),
                    "--display_freq", str(iterations), "--seed", str(seed), "--data_type", str(bits)],
                   check=True, cwd=work)
    with open(work / "checkpoints" / name / "losses.csv", newline="") as file:
        last = [row for row in csv.DictReader(file) if row.get("val_cc_binned")][-1]
    return {column: float(last[column]) for column in NETWORKS}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare training with 16 and with 32 bits.")
    parser.add_argument("--data", type=Path, default=Path("datasets/demo"), help="of pix2pixCC_Simulate.py")
    parser.add_argument("--work", type=Path, default=Path(), help="where checkpoints/ is made")
    parser.add_argument("--iterations", type=int, default=2400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--gpu_ids", default="-1")
    opt = parser.parse_args()
    opt.work.mkdir(parents=True, exist_ok=True)
    runs = {bits: [score(opt.work, opt.data.resolve(), bits, seed, opt.iterations, opt.gpu_ids) for seed in opt.seeds]
            for bits in (32, 16)}
    results: dict[str, object] = {"iterations": opt.iterations, "seeds": opt.seeds}
    print(f"correlation of 8 x 8 binned pixels after {opt.iterations} iterations, seeds {opt.seeds}")
    for column, network in NETWORKS.items():
        scores = {bits: [run[column] for run in runs[bits]] for bits in runs}
        means = {bits: statistics.mean(values) for bits, values in scores.items()}
        results[column] = {**scores, "16 - 32": means[16] - means[32]}
        for bits, values in scores.items():
            each = ", ".join(f"{value:.4f}" for value in values)
            print(f"{network}, {bits} bits: {each}; mean {means[bits]:.4f}")
        print(f"{network}, 16 - 32: {means[16] - means[32]:+.4f}")
    (ROOT / "benchmarks" / "sixteen_bits.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
