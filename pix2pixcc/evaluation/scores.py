"""Score one pair of magnetograms, and pool the scores of a set. No files: those are `pix2pixCC_Evaluate.py`'s."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pix2pixcc.evaluation import metrics
from pix2pixcc.evaluation.metrics import FREQUENCY_EDGES, Moments
from pix2pixcc.images.files import Image
from pix2pixcc.solar.geometry import Disk, disk_of_header, is_helioprojective
from pix2pixcc.utils import UserError

# Bins of field strength that are 4 G wide at zero and widen beyond 30 G, so that quiet Sun and sunspots share one histogram.
FIELD_EDGES = 30 * np.sinh(np.linspace(-np.arcsinh(100), np.arcsinh(100), 81))
DISTANCE_EDGES = np.linspace(0, 1, 26)        # solar radii
ASSUMED = "assumed registered"


@dataclass(frozen=True)
class Evaluation:
    """What one image contributes: its row of scores, and the sums that make the set's figures.

    Attributes
    ----------
    scores : dict
        Column of the CSV -> number.
    moments : dict
        Moments of the pixels (`full`, `active`, `quiet`) and of the blocks (`full_binned` ...).
    histogram, histogram_binned : ndarray (80, 80)
        Counts over `FIELD_EDGES`, real along the first axis, of pixels and of blocks.
    profile : ndarray (4, 25)
        By distance from the disk's centre (`DISTANCE_EDGES`): pixels, sum of the error, of its square, of the true field's square.
    spectra : ndarray (2, 32)
        Power spectra of the generated and of the true image over `metrics.FREQUENCY_EDGES`.
    pixel_size : float
        Megametres at the disk's centre.
    """

    scores: dict[str, float]
    moments: dict[str, Moments]
    histogram: np.ndarray
    histogram_binned: np.ndarray
    profile: np.ndarray
    spectra: np.ndarray
    pixel_size: float


def common_disk(generated: Image, real: Image) -> tuple[Disk, str]:
    """Return the disk of a pair, and which header places it; without any header that does, the registered disk, and `ASSUMED`.

    Raises
    ------
    UserError
        The images differ in size, or by their headers the disks do by more than a pixel.
    """
    shape, other = real.data.shape[-2:], generated.data.shape[-2:]
    if shape != other:
        raise UserError("unequal sizes: generated {} x {}, true {} x {}".format(*other, *shape))
    placed = {name: disk_of_header(image.header, shape) for name, image in (("real", real), ("generated", generated))
              if is_helioprojective(image.header)}
    if len(placed) == 2:
        first, second = placed["real"], placed["generated"]
        off = max(math.dist(first.centre, second.centre), abs(first.radius - second.radius))
        if not off <= 1:
            raise UserError(f"by their headers the two disks differ by {off:.1f} pixels: register both the same way "
                            "(pix2pixCC_Prepare.py)")
    if not placed:
        return disk_of_header(None, shape), ASSUMED
    name, disk = next(iter(placed.items()))
    return disk, f"{name} header"


def _histogram(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Counts of (real, generated) over `FIELD_EDGES`; what lies beyond counts in the outermost bin."""
    finite = np.isfinite(generated) & np.isfinite(real)
    end = FIELD_EDGES[-1]
    return np.histogram2d(np.clip(real[finite], -end, end), np.clip(generated[finite], -end, end), (FIELD_EDGES, FIELD_EDGES))[0]


def _profile(generated: np.ndarray, real: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Sums by distance from the disk's centre: pixels, error, squared error, squared true field."""
    error = generated - real
    ring = np.clip(np.searchsorted(DISTANCE_EDGES, distance, side="right") - 1, 0, len(DISTANCE_EDGES) - 2)
    return np.array([np.bincount(ring, weights, minlength=len(DISTANCE_EDGES) - 1)
                     for weights in (np.ones_like(error), error, error ** 2, real ** 2)])


def evaluate_image(generated: np.ndarray, real: np.ndarray, disk: Disk, *, disk_radius: float, binning: int = metrics.BINNING,
                   active_threshold: float = metrics.ACTIVE_THRESHOLD, active_smoothing: int = metrics.ACTIVE_SMOOTHING,
                   polarity_threshold: float = metrics.POLARITY_THRESHOLD, ssim_range: float = metrics.SSIM_RANGE,
                   foreshortening: bool = False) -> Evaluation:
    """Every metric of a generated against a true magnetogram.

    Parameters
    ----------
    generated, real : ndarray (H, W)
        Gauss.
    disk : Disk
        The geometry of both.
    disk_radius : float
        Pixels count up to this many solar radii from the disk's centre.
    foreshortening : bool
        Whether the flux is that through the solar surface seen by a pixel, A / cos(theta), not through A across the line of sight.

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
        "pixels": float(valid.sum()), "missing_pixels": float((mask & ~valid).sum()), "active_share": float(active.sum() / valid.sum()),
        **regional,
        "polarity_agreement": metrics.polarity_agreement(generated[valid], real[valid], threshold=polarity_threshold),
        "ssim": metrics.ssim(generated, real, valid, data_range=ssim_range),
        "power_ratio_coarse": coarse, "power_ratio_fine": fine,
        "unsigned_flux_generated_mx": unsigned_generated, "unsigned_flux_real_mx": unsigned_real,
        "net_flux_generated_mx": net_generated, "net_flux_real_mx": net_real}
    return Evaluation(
        scores, moments, _histogram(generated[valid], real[valid]),
        _histogram(*(metrics.binned(image, binning, valid, valid_share=0.5) for image in (generated, real))),
        _profile(generated[valid], real[valid], disk.distance[valid]),
        spectra, math.sqrt(disk.pixel_area) / 1e8)


@dataclass(frozen=True)
class Pool:
    """A set of evaluations added up; the attributes are those of `Evaluation`, `scores` one array over the images a column."""

    scores: dict[str, np.ndarray]
    moments: dict[str, Moments]
    histogram: np.ndarray
    histogram_binned: np.ndarray
    profile: np.ndarray
    spectra: np.ndarray
    pixel_size: float

    @property
    def typical(self) -> int:
        """Which image has the median binned correlation of the full disk."""
        values = self.scores["full_cc_binned"]
        order = np.argsort(values, kind="stable")          # NaN comes last
        return int(order[max(np.isfinite(values).sum() - 1, 0) // 2])


def pool(evaluations: Sequence[Evaluation]) -> Pool:
    """Add up the evaluations of a set of at least one image; spectra are averaged over the images that have them."""
    moments = {name: sum((each.moments[name] for each in evaluations), Moments()) for name in evaluations[0].moments}
    spectra = np.array([each.spectra for each in evaluations])
    counts = np.isfinite(spectra).sum(axis=0)
    mean_spectra = np.where(counts > 0, np.nansum(spectra, axis=0) / np.maximum(counts, 1), np.nan)
    return Pool({name: np.array([each.scores[name] for each in evaluations]) for name in evaluations[0].scores}, moments,
                np.sum([each.histogram for each in evaluations], axis=0),
                np.sum([each.histogram_binned for each in evaluations], axis=0),
                np.sum([each.profile for each in evaluations], axis=0), mean_spectra,
                float(np.mean([each.pixel_size for each in evaluations])))


def _statistics(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation (n - 1), median and extremes of the images where a metric is defined."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": math.nan, "std": math.nan, "median": math.nan, "min": math.nan, "max": math.nan, "images": 0}
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if values.size > 1 else math.nan,
            "median": float(np.median(values)), "min": float(values.min()), "max": float(values.max()), "images": values.size}


def _flux_agreement(generated: np.ndarray, real: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """CC and slope of generated against real flux over the set, and the mean of error and |error| as shares of `scale`."""
    over_set = Moments.of(generated, real)
    error = (generated - real)[scale > 0] / scale[scale > 0]
    return {"cc": over_set.pearson, "slope": over_set.slope,
            "relative_bias": float(error.mean()) if error.size else math.nan,
            "relative_error": float(np.abs(error).mean()) if error.size else math.nan}


def summary_of(pooled: Pool) -> dict[str, dict]:
    """The set in numbers.

    Returns
    -------
    dict
        `metrics`: statistics over the images of every column; `pooled`: the same metrics of all pixels of the set at once;
        `flux`: `unsigned` and `net`, errors of both relative to the true unsigned flux (net flux itself may be nought);
        `power_spectrum` and `error_by_distance`: the curves of the figures.
    """
    scores = pooled.scores
    unsigned = scores["unsigned_flux_real_mx"]
    together = {f"{region}_{metric}{suffix}": getattr(pooled.moments[region + suffix], attribute)
                for region in metrics.REGIONS
                for metric, attribute, suffix in (("cc", "pearson", ""), ("ccc", "concordance", ""), ("cc", "pearson", "_binned"),
                                                  ("ccc", "concordance", "_binned"), ("rmse", "rmse", ""), ("r2", "r_squared", ""))}
    count, error, squared, field = pooled.profile
    with np.errstate(divide="ignore", invalid="ignore"):
        by_distance = {"rmse": np.sqrt(squared / count), "bias": error / count, "rms_real": np.sqrt(field / count)}
        ratio = pooled.spectra[0] / pooled.spectra[1]
    return {"metrics": {name: _statistics(values) for name, values in scores.items()},
            "pooled": together,
            "flux": {"unsigned": _flux_agreement(scores["unsigned_flux_generated_mx"], unsigned, unsigned),
                     "net": _flux_agreement(scores["net_flux_generated_mx"], scores["net_flux_real_mx"], unsigned)},
            "power_spectrum": {"frequency_per_pixel": np.sqrt(FREQUENCY_EDGES[1:] * FREQUENCY_EDGES[:-1]).tolist(),
                               "generated": pooled.spectra[0].tolist(), "real": pooled.spectra[1].tolist(), "ratio": ratio.tolist()},
            "error_by_distance": {"distance_rsun": ((DISTANCE_EDGES[1:] + DISTANCE_EDGES[:-1]) / 2).tolist(),
                                  **{name: values.tolist() for name, values in by_distance.items()}}}
