"""Are sixteen bits good enough? Train the demo with 16 and 32 bits, several seeds each, and compare the final correlation.

    python synthetic_sun.py --out datasets/demo --pairs 150 --test_suns 20 --size 128 --passbands 171
    python benchmarks/sixteen_bits.py --data datasets/demo --iterations 3000 --seeds 0 1 2

Runs go to checkpoints/sixteen_bits_<bits>_<seed>/ under --work; the score is the correlation of 8 x 8 binned pixels on the disk.
"""
from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def score(work: Path, data: Path, bits: int, seed: int, iterations: int, gpu_ids: str) -> float:
    """Train and validate once; the last binned correlation of losses.csv."""
    name = f"sixteen_bits_{bits}_{seed}"
    subprocess.run([sys.executable, str(ROOT / "pix2pixCC_Train.py"), "--dataset_name", name, "--resume", "--gpu_ids", gpu_ids,
                    "--data_format_input", "fits", "--data_format_target", "fits", "--input_dir_train", str(data / "Train/Input"),
                    "--target_dir_train", str(data / "Train/Target"), "--input_dir_val", str(data / "Test/Input"),
                    "--target_dir_val", str(data / "Test/Target"), "--val_during_train", "--n_gf", "16", "--n_df", "16",
                    "--n_downsample", "3", "--n_residual", "6", "--n_iterations", str(iterations), "--save_freq", str(iterations),
                    "--display_freq", str(iterations), "--seed", str(seed), "--data_type", str(bits)], check=True, cwd=work)
    with open(work / "checkpoints" / name / "losses.csv", newline="") as file:
        scores = [row["val_cc_binned"] for row in csv.DictReader(file) if row.get("val_cc_binned")]
    return float(scores[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare training with 16 and with 32 bits.")
    parser.add_argument("--data", type=Path, default=Path("datasets/demo"), help="of synthetic_sun.py")
    parser.add_argument("--work", type=Path, default=Path(), help="where checkpoints/ is made")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--gpu_ids", default="-1")
    opt = parser.parse_args()
    opt.work.mkdir(parents=True, exist_ok=True)
    scores = {bits: [score(opt.work, opt.data.resolve(), bits, seed, opt.iterations, opt.gpu_ids) for seed in opt.seeds]
              for bits in (32, 16)}
    print(f"binned correlation after {opt.iterations} iterations")
    for bits, values in scores.items():
        print(f"{bits} bits: " + ", ".join(f"{value:.3f}" for value in values) + f"; mean {statistics.mean(values):.3f}")
    print(f"16 - 32: {statistics.mean(scores[16]) - statistics.mean(scores[32]):+.3f}")


if __name__ == "__main__":
    main()
