"""What the tests of the synthetic Sun share: a time, a disk, and how alike two images are on it."""
from datetime import datetime

import numpy as np

from pix2pixcc.solar.geometry import disk_mask

TIME = datetime(2011, 3, 1)
ON_DISK = disk_mask(128)


def correlation(one, other, where=ON_DISK):
    return float(np.corrcoef(one[where], other[where])[0, 1])
