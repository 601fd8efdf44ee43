"""What the processes of `running.start` are forked from has imported: the commands, and what they draw with."""
import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib.figure
import sunpy.coordinates
import sunpy.visualization.colormaps
import torch

import pix2pixCC_Evaluate
import pix2pixCC_Prepare
import pix2pixCC_Test
import pix2pixCC_Train

torch.set_num_threads(1)
figure = matplotlib.figure.Figure()
figure.add_subplot().set_title("finds the fonts")
figure.savefig(os.devnull, format="png")
PRELOADED = (pix2pixCC_Evaluate, pix2pixCC_Prepare, pix2pixCC_Test, pix2pixCC_Train, sunpy.coordinates,
             sunpy.visualization.colormaps)
