"""What every test module relies on: the root on the path, no window system, one thread."""
import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
