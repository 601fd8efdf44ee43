"""The page of figures can be drawn whatever the images are."""
import math

import numpy as np
import pytest
from suns import SIZE, magnetogram

from pix2pixcc.evaluation.figures import evaluation_page
from pix2pixcc.evaluation.scores import evaluate_image, pool, summary_of
from pix2pixcc.solar.geometry import registered_disk


@pytest.mark.filterwarnings("error")
def test_a_generator_that_has_collapsed_to_nought_still_has_its_page(tmp_path):
    disk, zero = registered_disk((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    for real in (magnetogram(0), zero):
        pooled = pool([evaluate_image(zero, real, disk, disk_radius=0.98)])
        summary = summary_of(pooled)
        assert math.isnan(summary["pooled"]["full_cc"])
        evaluation_page(tmp_path / "page.png", pooled, summary, generated=zero, real=real, disk=disk, name="a",
                        title="a", disk_radius=0.98, binning=8, display_limit=100.0)
        assert (tmp_path / "page.png").stat().st_size > 50_000
