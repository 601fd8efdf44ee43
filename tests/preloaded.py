"""What the processes of `tiny.start` are forked from has imported before."""
import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import pix2pixCC_Train  # noqa: F401  (this is what it is for)

torch.set_num_threads(1)
