"""Training and generation need nothing of /dev/shm: a container has 64 MB of it, and others fill it."""
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pix2pixcc.images.files import write_image

ROOT = Path(__file__).resolve().parents[2]
FULL = "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/full && ! echo 1 > /dev/shm/more"
RUN = ["--dataset_name", "run", "--gpu_ids", "-1", "--n_workers", "2"]


def in_full(*command, folder):
    """Run a command where nothing more can lie in /dev/shm, in a mount namespace of its own."""
    return subprocess.run(["unshare", "-rm", "sh", "-c", f'({FULL}) 2>/dev/null || exit 99; exec "$@"', "sh", *command],
                          cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("unshare"), reason="needs Linux's namespaces")
def test_a_full_shared_memory_hinders_neither_the_check_nor_training_nor_generation(tmp_path):
    if in_full("true", folder=tmp_path).returncode:
        pytest.skip("no /dev/shm of one's own can be mounted here")
    for side in ("Input", "Target"):
        for k in range(6):
            write_image(tmp_path / side / f"{k}.npy", np.random.default_rng(k).normal(0, 0.3, (1, 32, 32)))
    flags = ("--input_dir_train Input --target_dir_train Target --data_format_input npy --data_format_target npy "
             "--n_gf 4 --n_df 4 --n_D 1 --n_downsample 2 --n_residual 1 --n_iterations 4")
    trained = in_full(sys.executable, ROOT / "pix2pixCC_Train.py", *RUN, *flags.split(), folder=tmp_path)
    assert trained.returncode == 0 and "12/12" in trained.stderr, trained.stderr
    made = in_full(sys.executable, ROOT / "pix2pixCC_Test.py", *RUN, "--input_dir_test", "Input", "--no_preview",
                   folder=tmp_path)
    assert made.returncode == 0, made.stderr
    written = (tmp_path / "checkpoints/run/Image/Test/4").glob("[!.]*")
    assert sorted(path.name for path in written) == [f"{k}_AI.npy" for k in range(6)]
