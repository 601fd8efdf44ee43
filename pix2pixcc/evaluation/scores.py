"""Score one pair of magnetograms, and pool the scores of a set."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pix2pixcc.evaluation import metrics
from pix2pixcc.evaluation.metrics import FREQUENCY_EDGES, Moments
from pix2pixcc.solar.geometry import Disk
from pix2pixcc.utils import UserError

# 4 G wide at zero and wider beyond 30 G, so that quiet Sun and sunspots share one histogram.
FIELD_EDGES = 30 * np.sinh(np.linspace(-np.arcsinh(100), np.arcsinh(100), 81))
DISTANCE_EDGES = np.linspace(0, 1, 26)        # solar radii


@dataclass(frozen=True)
class Evaluation:
    """What one image contributes: its row of scores, and the sums that make the set's figures."""

    scores: dict[str, float]         # by column of the CSV
    moments: dict[str, Moments]      # of the pixels (`full`, `active`, `quiet`) and of the blocks (`full_binned` ...)
    histogram: np.ndarray            # (80, 80): pixels over `FIELD_EDGES`, the true field along the first axis
    histogram_binned: np.ndarray     # the same of the blocks
    profile: np.ndarray              # (4, 25): over `DISTANCE_EDGES`, as `_profile` returns it
    spectra: np.ndarray              # (2, 32): power, gauss^2, of the generated and true image over `FREQUENCY_EDGES`
    pixel_size: float                # at the disk's centre, megametres


def evaluate_image(generated: np.ndarray, real: np.ndarray, disk: Disk, *, disk_radius: float,
                   binning: int = metrics.BINNING, active_threshold: float = metrics.ACTIVE_THRESHOLD,
                   active_smoothing: int = metrics.ACTIVE_SMOOTHING,
                   polarity_threshold: float = metrics.POLARITY_THRESHOLD, ssim_range: float = metrics.SSIM_RANGE,
                   foreshortening: bool = False) -> Evaluation:
    """Score a generated against a true magnetogram by every metric.

    Parameters
    ----------
    generated, real : ndarray (H, W)
        Gauss.
    disk : Disk
        The geometry of both.
    disk_radius : float
        Pixels count up to this many solar radii from the disk's centre.
    binning, active_threshold, active_smoothing, polarity_threshold, ssim_range : int or float
        As the constants of these names in `metrics`, in pixels, gauss, pixels, gauss and gauss.
    foreshortening : bool
        Whether the flux is that through the solar surface seen by a pixel, A / cos(theta), instead of that through the
        area A across the line of sight.

    Raises
    ------
    UserError
        No pixel on the disk is finite in both images.
    """
    mask = disk.mask(disk_radius)
    valid = mask & np.isfinite(generated) & np.isfinite(real)
    if not valid.any():
        raise UserError(f"no pixel within {disk_radius:g} solar radii has a value in both images")
    generated, real = generated.astype(np.float64), real.astype(np.float64)
    active = metrics.active_region(real, valid, threshold=active_threshold, smoothing=active_smoothing)
    regional, moments = metrics.regional_scores(generated, real, valid, active, binning=binning)
    area = disk.surface_area() if foreshortening else disk.pixel_area
    unsigned_generated, net_generated = metrics.flux(generated, valid, area)
    unsigned_real, net_real = metrics.flux(real, valid, area)
    spectra, (coarse, fine) = metrics.power_spectra(generated, real, valid, split=binning)
    scores = {
        "pixels": float(valid.sum()), "bin_pixels": float(binning), "missing_pixels": float((mask & ~valid).sum()),
        "active_share": float(active.sum() / valid.sum()), **regional,
        "polarity_agreement": metrics.polarity_agreement(generated[valid], real[valid], threshold=polarity_threshold),
        "ssim": metrics.ssim(generated, real, valid, data_range=ssim_range),
        "power_ratio_coarse": coarse, "power_ratio_fine": fine,
        "unsigned_flux_generated_mx": unsigned_generated, "unsigned_flux_real_mx": unsigned_real,
        "net_flux_generated_mx": net_generated, "net_flux_real_mx": net_real}
    blocks = (metrics.binned(image, binning, valid, valid_share=metrics.VALID_SHARE) for image in (generated, real))
    profile = _profile(generated[valid], real[valid], disk.distance[valid])
    return Evaluation(scores, moments, _histogram(generated[valid], real[valid]), _histogram(*blocks), profile, spectra,
                      math.sqrt(disk.pixel_area) / 1e8)


def _histogram(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Count (real, generated) over `FIELD_EDGES`; what lies beyond counts in the outermost bin."""
    finite = np.isfinite(generated) & np.isfinite(real)
    real, generated = (np.clip(field[finite], FIELD_EDGES[0], FIELD_EDGES[-1]) for field in (real, generated))
    return np.histogram2d(real, generated, (FIELD_EDGES, FIELD_EDGES))[0]


def _profile(generated: np.ndarray, real: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return sums by distance from the disk's centre: pixels, error, squared error, squared true field."""
    error = generated - real
    ring = np.clip(np.searchsorted(DISTANCE_EDGES, distance, side="right") - 1, 0, len(DISTANCE_EDGES) - 2)
    return np.array([np.bincount(ring, weights, minlength=len(DISTANCE_EDGES) - 1)
                     for weights in (np.ones_like(error), error, error ** 2, real ** 2)])


class Pool:
    """A set of evaluations, added up as they come: of each image only its scores are kept."""

    def __init__(self) -> None:
        self.moments: dict[str, Moments] = {}                # these four as in `Evaluation`, of all images together
        self.histogram = self.histogram_binned = self.profile = np.zeros(())
        self._scores: list[dict[str, float]] = []
        self._pixel_sizes: list[float] = []
        self._spectra = self._spectra_counts = np.zeros(())

    def add(self, evaluation: Evaluation) -> None:
        """Add the evaluation of one image."""
        self._scores.append(evaluation.scores)
        self._pixel_sizes.append(evaluation.pixel_size)
        for name, moments in evaluation.moments.items():
            self.moments[name] = self.moments.get(name, Moments()) + moments
        self.histogram = self.histogram + evaluation.histogram
        self.histogram_binned = self.histogram_binned + evaluation.histogram_binned
        self.profile = self.profile + evaluation.profile
        present = np.isfinite(evaluation.spectra)
        self._spectra = self._spectra + np.where(present, evaluation.spectra, 0.0)
        self._spectra_counts = self._spectra_counts + present

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """Return the scores of every image, one array over the images per column."""
        return {name: np.array([scores[name] for scores in self._scores]) for name in self._scores[0]}

    @property
    def spectra(self) -> np.ndarray:
        """Return the mean power spectra `(2, 32)`, each frequency over the images that have it."""
        counts = self._spectra_counts
        return np.where(counts > 0, self._spectra / np.maximum(counts, 1), np.nan)

    @property
    def pixel_sizes(self) -> np.ndarray:
        """Return the size of a pixel at the disk's centre for every image, megametres."""
        return np.array(self._pixel_sizes)

    @property
    def typical(self) -> int:
        """Return which image has the median binned correlation of the full disk."""
        values = self.scores["full_cc_binned"]
        order = np.argsort(values, kind="stable")          # NaN comes last
        return int(order[max(np.isfinite(values).sum() - 1, 0) // 2])


def pool(evaluations: Iterable[Evaluation]) -> Pool:
    """Add up the evaluations of a set of at least one image."""
    pooled = Pool()
    for evaluation in evaluations:
        pooled.add(evaluation)
    return pooled


def _statistics(values: np.ndarray) -> dict[str, float]:
    """Return mean, standard deviation (n - 1), median and extremes of the images where a metric is defined."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": math.nan, "std": math.nan, "median": math.nan, "min": math.nan, "max": math.nan, "images": 0}
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if values.size > 1 else math.nan,
            "median": float(np.median(values)), "min": float(values.min()), "max": float(values.max()),
            "images": values.size}


def _flux_agreement(generated: np.ndarray, real: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Return CC and slope of generated against real flux, and the mean of error and |error| as shares of `scale`."""
    over_set = Moments.of(generated, real)
    error = (generated - real)[scale > 0] / scale[scale > 0]
    return {"cc": over_set.pearson, "slope": over_set.slope,
            "relative_bias": float(error.mean()) if error.size else math.nan,
            "relative_error": float(np.abs(error).mean()) if error.size else math.nan}


def summary_of(pooled: Pool) -> dict[str, dict]:
    """Return a set in numbers.

    `metrics` holds statistics over the images of every column; `pooled` the same metrics of all pixels of the set at
    once; `flux` has `unsigned` and `net`, the errors of both relative to the true unsigned flux (the net flux itself
    may be zero); `power_spectrum` and `error_by_distance` are the curves of the figures.
    """
    scores, spectra = pooled.scores, pooled.spectra
    unsigned = scores["unsigned_flux_real_mx"]
    together: dict[str, float] = {}
    for region in metrics.REGIONS:
        pixels, blocks = pooled.moments[region], pooled.moments[f"{region}_binned"]
        together |= {f"{region}_cc": pixels.pearson, f"{region}_ccc": pixels.concordance,
                     **metrics.binned_scores(region, blocks),
                     f"{region}_rmse": pixels.rmse, f"{region}_r2": pixels.r_squared}
    count, error, squared, field = pooled.profile
    with np.errstate(divide="ignore", invalid="ignore"):
        by_distance = {"rmse": np.sqrt(squared / count), "bias": error / count, "rms_real": np.sqrt(field / count)}
        ratio = spectra[0] / spectra[1]
    return {"metrics": {name: _statistics(values) for name, values in scores.items()},
            "pooled": together,
            "flux": {"unsigned": _flux_agreement(scores["unsigned_flux_generated_mx"], unsigned, unsigned),
                     "net": _flux_agreement(scores["net_flux_generated_mx"], scores["net_flux_real_mx"], unsigned)},
            "power_spectrum": {"frequency_per_pixel": np.sqrt(FREQUENCY_EDGES[1:] * FREQUENCY_EDGES[:-1]).tolist(),
                               "generated": spectra[0].tolist(), "real": spectra[1].tolist(), "ratio": ratio.tolist()},
            "error_by_distance": {"distance_rsun": ((DISTANCE_EDGES[1:] + DISTANCE_EDGES[:-1]) / 2).tolist(),
                                  **{name: values.tolist() for name, values in by_distance.items()}}}
