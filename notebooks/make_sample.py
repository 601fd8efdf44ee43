"""Make the sample product that the notebooks open, from nothing, with the project's own commands.

    python notebooks/make_sample.py                        # under an hour on a few cores, minutes on a GPU
    python notebooks/make_sample.py --work DIR             # go on in the folder of a stopped run

A seven-channel model learns from many synthetic Suns as SDO sees them. Another Sun, which it never saw, is then
observed by STEREO-B at 2011-03-05T12:04 (raw EUVI files, and the AIA and HMI files of its frontside reference),
prepared, and turned into a magnetogram.

`sample/aisfm_demo_stereo_b_20110305_120403.fits` is the product; beside it, `..._input.fits` holds the model's input,
tile-compressed in steps of a third of its noise. Both say in their headers that they are synthetic.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from astropy.io import fits

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path(__file__).resolve().parent / "sample"
NAME = "aisfm_demo_stereo_b_20110305_120403"
SUN = 20110305                                   # the seed of the observed Sun; those of the training set begin at 0
NOMINAL_TIME = "2011-03-05T12:02:26"             # EUVI takes its passbands minutes apart; their mean is 12:04:03
PASSBANDS = ("304", "193", "171")
SIZE, PAIRS, EPOCHS = 256, 120, 12
TRAINING = {"n_gf": 16, "n_df": 16, "n_downsample": 3, "n_residual": 6, "ch_balance": 1.5,
            "padding_size": 16, "lr": 5e-4, "ema": 0.995}
NOTES = ("SYNTHETIC DEMO: no instrument took the images behind this file.",
         "They show a computed Sun; notebooks/make_sample.py made them.")


def run(command: str, *words: object, folder: Path, **flags: object) -> None:
    """Run a command of the project in `folder`; `flags` are given as `--name value`."""
    named = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, str(ROOT / command), *map(str, words), *named], cwd=folder, check=True)


def train(work: Path, gpu_ids: str) -> None:
    """Write the training pairs, unless they are there, and train on them, from where a stopped run left off."""
    if not (work / "pairs" / "Test" / "Target").is_dir():
        run("pix2pixCC_Simulate.py", "--frontside_reference", "--passbands", *PASSBANDS, folder=work,
            out="pairs", pairs=PAIRS, test_suns=2, size=SIZE)
    run("pix2pixCC_Train.py", "--resume", folder=work, dataset_name="aisfm_demo", gpu_ids=gpu_ids,
        data_format_input="fits", data_format_target="fits", input_ch=7,
        input_dir_train="pairs/Train/Input", target_dir_train="pairs/Train/Target",
        n_epochs=EPOCHS, epoch_decay=EPOCHS // 2, save_freq=PAIRS * EPOCHS // 4, display_freq=PAIRS * EPOCHS // 4,
        **TRAINING)


def observe(work: Path) -> Path:
    """Let STEREO-B observe the Sun, prepare what it saw, and return the model's input."""
    run("pix2pixCC_Simulate.py", "--raw", "--frontside_reference", "--spacecraft", "STEREO-B",
        "--passbands", *PASSBANDS, folder=work, out="raw", size=2 * SIZE, seed=SUN, start=NOMINAL_TIME, days=0.1)
    run("pix2pixCC_Prepare.py", "farside", "--frontside_reference", folder=work, raw="raw", out="farside", size=SIZE)
    return next((work / "farside").glob("*.fits"))


def generate(work: Path, gpu_ids: str) -> Path:
    """Generate with the last checkpoint and return the product."""
    last = PAIRS * EPOCHS
    run("pix2pixCC_Test.py", "--average", "--overwrite", folder=work, dataset_name="aisfm_demo", gpu_ids=gpu_ids,
        iteration=last, input_dir_test="farside")
    return next((work / "checkpoints" / "aisfm_demo" / "Image" / "Test" / f"{last}_ema").glob("*_AI.fits"))


def mark(header: fits.Header) -> None:
    """Say in a header that the Sun is a synthetic one, and which."""
    header["OBJECT"] = ("SYNTHETIC DEMO SUN", "not an observation")
    header["SUNSEED"] = (SUN, "SyntheticSun(seed) of pix2pixcc/synthetic_sun")
    header["DATE"] = (f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written")
    for note in NOTES:
        header.add_comment(note)


def main() -> None:
    """Make the sample product and its input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path,
                        help="folder for the training set and the model (default: a temporary one)")
    parser.add_argument("--gpu_ids", default="-1", help="as in pix2pixCC_Train.py; -1: the CPU")
    opt = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = opt.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        train(work, opt.gpu_ids)
        cube = observe(work)
        product = generate(work, opt.gpu_ids)
        SAMPLE.mkdir(exist_ok=True)
        with fits.open(product) as hdus:
            mark(hdus[0].header)
            hdus.writeto(SAMPLE / f"{NAME}.fits", overwrite=True, checksum=True)
        data, header = fits.getdata(cube, header=True)
        mark(header)
        compressed = fits.CompImageHDU(data, header, compression_type="RICE_1", quantize_level=3, quantize_method=2,
                                       dither_seed=1, tile_shape=(1, 16, SIZE))
        compressed.writeto(SAMPLE / f"{NAME}_input.fits", overwrite=True, checksum=True)


if __name__ == "__main__":
    main()
