"""How well a generated magnetogram agrees with the true one: correlation, error, flux, structure, texture.

Pure functions of arrays in gauss `(H, W)` and a boolean mask of the pixels that count. Pixels that are not finite in
either image never count.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

BINNING = 8                     # pixels, as in Jeong et al. (2022)
ACTIVE_THRESHOLD = 50.0         # gauss: between quiet network (10 to 20 G at 2 arcsec/pixel) and plage (above 100 G)
ACTIVE_SMOOTHING = 8            # pixels
POLARITY_THRESHOLD = 30.0       # gauss: five times the noise of an HMI 720 s magnetogram (Liu et al. 2012)
SSIM_RANGE = 3000.0             # gauss: the +-1500 G of AISFM v3
VALID_SHARE = 0.5               # of a block's pixels; blocks with less do not count
LEAST_BINS = 20                 # of a binned correlation: two blocks always correlate to 1 or -1
REGIONS = ("full", "active", "quiet")                 # what is not active is quiet
FREQUENCY_EDGES = np.geomspace(1 / 512, 0.5, 33)      # cycles per pixel, the same for every image of a set


@dataclass(frozen=True)
class Moments:
    """First and second moments of pairs (generated, real); they add up, so that a set is pooled without keeping it."""

    count: int = 0
    mean_generated: float = 0.0
    mean_real: float = 0.0
    scatter_generated: float = 0.0      # sum of squared deviations from the mean
    scatter_real: float = 0.0
    scatter_both: float = 0.0

    @classmethod
    def of(cls, generated: np.ndarray, real: np.ndarray) -> Moments:
        """Return the moments of all pairs where both values are finite."""
        generated = np.asarray(generated, dtype=np.float64).ravel()
        real = np.asarray(real, dtype=np.float64).ravel()
        both = np.isfinite(generated) & np.isfinite(real)
        if not both.all():
            generated, real = generated[both], real[both]
        if not generated.size:
            return cls()
        mean_generated, mean_real = float(generated.mean()), float(real.mean())
        generated, real = generated - mean_generated, real - mean_real
        return cls(generated.size, mean_generated, mean_real,
                   float(generated @ generated), float(real @ real), float(generated @ real))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both samples together (Chan et al. 1979)."""
        count = self.count + other.count
        if not count:
            return self
        step_generated, step_real = other.mean_generated - self.mean_generated, other.mean_real - self.mean_real
        share, weight = other.count / count, self.count * other.count / count
        return Moments(count, self.mean_generated + share * step_generated, self.mean_real + share * step_real,
                       self.scatter_generated + other.scatter_generated + weight * step_generated ** 2,
                       self.scatter_real + other.scatter_real + weight * step_real ** 2,
                       self.scatter_both + other.scatter_both + weight * step_generated * step_real)

    @property
    def pearson(self) -> float:
        """Return Pearson's correlation coefficient; NaN for fewer than two pairs or a constant image."""
        scale = math.sqrt(self.scatter_generated) * math.sqrt(self.scatter_real)
        return self.scatter_both / scale if self.count > 1 and scale > 0 else math.nan

    @property
    def concordance(self) -> float:
        """Return the concordance correlation coefficient (Lin 1989), with the n - 1 forms as in training."""
        if self.count < 2:
            return math.nan
        bottom = self.scatter_generated + self.scatter_real + (self.count - 1) * self.bias ** 2
        return 2 * self.scatter_both / bottom if bottom > 0 else math.nan

    @property
    def bias(self) -> float:
        """Return the mean of generated - real, gauss."""
        return self.mean_generated - self.mean_real if self.count else math.nan

    @property
    def squared_error(self) -> float:
        """Return the sum of (generated - real)^2."""
        scatter = max(self.scatter_generated + self.scatter_real - 2 * self.scatter_both, 0.0)
        return scatter + self.count * self.bias ** 2

    @property
    def rmse(self) -> float:
        """Return the root of the mean of (generated - real)^2, gauss."""
        return math.sqrt(self.squared_error / self.count) if self.count else math.nan

    @property
    def r_squared(self) -> float:
        """Return the coefficient of determination, below 0 where a constant would predict the real values better."""
        return 1 - self.squared_error / self.scatter_real if self.count > 1 and self.scatter_real > 0 else math.nan

    @property
    def slope(self) -> float:
        """Return the slope of the least-squares line generated = slope * real + intercept."""
        return self.scatter_both / self.scatter_real if self.count > 1 and self.scatter_real > 0 else math.nan


def ppe10(generated: np.ndarray, real: np.ndarray) -> float:
    """Return the share (0..1) of pixels with an error of at most 10% of the truth (Galvez et al. 2019, ApJS 242 7)."""
    valid = np.isfinite(generated) & np.isfinite(real)
    if not valid.any():
        return math.nan
    real = np.asarray(real, dtype=np.float64)[valid]
    return float(np.mean(np.abs(np.asarray(generated)[valid] - real) <= 0.1 * np.abs(real)))


def binned(image: np.ndarray, n: int, mask: np.ndarray | None = None, *, valid_share: float = 0.0) -> np.ndarray:
    """Average an image over n x n blocks, each the mean of its finite pixels in `mask`.

    The last blocks of sides that n does not divide are smaller. Blocks where a smaller share of the n x n pixels than
    `valid_share` counts are NaN, as are blocks where no pixel counts.
    """
    valid = np.isfinite(image) if mask is None else np.isfinite(image) & mask
    height, width = image.shape
    edges = ((0, -height % n), (0, -width % n))
    blocks = (-(-height // n), n, -(-width // n), n)
    total = np.pad(np.where(valid, image, 0.0).astype(np.float64), edges).reshape(blocks).sum(axis=(1, 3))
    count = np.pad(valid, edges).reshape(blocks).sum(axis=(1, 3))
    enough = (count > 0) & (count >= valid_share * n * n)
    return np.where(enough, total / np.maximum(count, 1), np.nan)


def active_region(real: np.ndarray, mask: np.ndarray, *, threshold: float = ACTIVE_THRESHOLD,
                  smoothing: int = ACTIVE_SMOOTHING) -> np.ndarray:
    """Return where |B_true|, averaged over `smoothing` x `smoothing` pixels of `mask`, exceeds `threshold` gauss."""
    valid = mask & np.isfinite(real)
    strength = ndimage.uniform_filter(np.where(valid, np.abs(real), 0.0).astype(np.float64), smoothing, mode="constant")
    share = ndimage.uniform_filter(valid.astype(np.float64), smoothing, mode="constant")
    return valid & (strength > threshold * share)


def polarity_agreement(generated: np.ndarray, real: np.ndarray, *, threshold: float = POLARITY_THRESHOLD) -> float:
    """Return the share (0..1) of pixels with |B_true| above `threshold` gauss that have the true sign."""
    strong = np.isfinite(generated) & np.isfinite(real) & (np.abs(real) > threshold)
    return float(np.mean(np.sign(generated[strong]) == np.sign(real[strong]))) if strong.any() else math.nan


def ssim(generated: np.ndarray, real: np.ndarray, mask: np.ndarray, *, data_range: float = SSIM_RANGE) -> float:
    """Return the mean structural similarity (Wang et al. 2004) over the 7 x 7 windows that lie wholly within `mask`.

    `data_range` is in gauss: (0.01 `data_range`)^2 and (0.03 `data_range`)^2 stabilise the quotient.
    """
    from skimage.metrics import structural_similarity  # slow to import, and not needed while training
    window = 7
    valid = mask & np.isfinite(generated) & np.isfinite(real)
    inner = ndimage.binary_erosion(valid, np.ones((window, window)))
    if not inner.any():
        return math.nan
    filled = (np.where(valid, image, 0.0).astype(np.float64) for image in (real, generated))
    _, similarity = structural_similarity(*filled, win_size=window, data_range=data_range, full=True)
    return float(similarity[inner].mean())


def flux(image: np.ndarray, mask: np.ndarray, pixel_area: np.ndarray | float) -> tuple[float, float]:
    """Return total unsigned and net flux in Mx of the valid pixels of `image` (gauss); `pixel_area` is in cm^2."""
    valid = mask & np.isfinite(image)
    elements = np.asarray(image, dtype=np.float64)[valid] * np.broadcast_to(pixel_area, image.shape)[valid]
    return float(np.abs(elements).sum()), float(elements.sum())


def regional_scores(generated: np.ndarray, real: np.ndarray, valid: np.ndarray, active: np.ndarray, *,
                    binning: int = BINNING) -> tuple[dict[str, float], dict[str, Moments]]:
    """Score the full disk, the active and the quiet regions, and return the moments that pool them over a set.

    `valid` and `active` are the pixels that count, and those of them in active regions. For each region R there are the
    scores that `score` names, the number of blocks `R_bins`, and the moments `R` of the pixels and `R_binned` of the
    blocks.
    """
    scores: dict[str, float] = {}
    moments: dict[str, Moments] = {}
    for name, region in zip(REGIONS, (valid, active, valid & ~active), strict=True):
        inside = generated[region], real[region]
        pixels = moments[name] = Moments.of(*inside)
        blocks = moments[f"{name}_binned"] = Moments.of(
            *(binned(image, binning, region, valid_share=VALID_SHARE) for image in (generated, real)))
        scores |= {f"{name}_cc": pixels.pearson, f"{name}_ccc": pixels.concordance,
                   **binned_scores(name, blocks),
                   f"{name}_rmse": pixels.rmse, f"{name}_r2": pixels.r_squared, f"{name}_ppe10": ppe10(*inside)}
    return scores, moments


def binned_scores(region: str, blocks: Moments) -> dict[str, float]:
    """Return correlation and concordance of a region's blocks, NaN from fewer than 20 blocks, and their number."""
    enough = blocks.count >= LEAST_BINS
    return {f"{region}_cc_binned": blocks.pearson if enough else math.nan,
            f"{region}_ccc_binned": blocks.concordance if enough else math.nan, f"{region}_bins": float(blocks.count)}


def score(generated: np.ndarray, real: np.ndarray, mask: np.ndarray, *, binning: int = BINNING,
          active_threshold: float = ACTIVE_THRESHOLD, active_smoothing: int = ACTIVE_SMOOTHING,
          polarity_threshold: float = POLARITY_THRESHOLD) -> dict[str, float]:
    """Return the main metrics of one image, cheap enough for every checkpoint; `mask` is the disk.

    For each region R of `full`, `active`, `quiet` these are `R_cc`, `R_ccc` (Pearson and concordance), `R_cc_binned`,
    `R_ccc_binned`, `R_bins`, `R_rmse` (gauss), `R_r2`, `R_ppe10`; then `polarity_agreement` and `flux_ratio` (total
    unsigned flux, generated / real). NaN where a metric is not defined, as in a region without pixels, or with fewer
    than 20 blocks for its binned scores.
    """
    valid = mask & np.isfinite(generated) & np.isfinite(real)
    active = active_region(real, valid, threshold=active_threshold, smoothing=active_smoothing)
    scores, _ = regional_scores(generated, real, valid, active, binning=binning)
    scores["polarity_agreement"] = polarity_agreement(generated[valid], real[valid], threshold=polarity_threshold)
    true_flux = flux(real, valid, 1.0)[0]
    scores["flux_ratio"] = flux(generated, valid, 1.0)[0] / true_flux if true_flux > 0 else math.nan
    return scores


def _modes(images: Sequence[np.ndarray], valid: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return frequency (cycles per pixel) and power of Fourier modes, of images tapered over a tenth of the radius."""
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    box = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    depth = ndimage.distance_transform_edt(np.pad(valid[box], 1))[1:-1, 1:-1]
    window = np.sin(np.pi / 2 * np.clip(depth / (0.1 * math.sqrt(valid.sum() / np.pi)), 0, 1)) ** 2
    powers = []
    for image in images:
        field = np.where(valid[box], image[box], 0.0).astype(np.float64)
        field = (field - (field * window).sum() / window.sum()) * window
        powers.append(np.abs(fft.rfft2(field)) ** 2 / (window ** 2).sum())
    return np.hypot(fft.fftfreq(window.shape[0])[:, None], fft.rfftfreq(window.shape[1])[None, :]), powers


def power_spectra(generated: np.ndarray, real: np.ndarray, mask: np.ndarray, *,
                  split: int = BINNING) -> tuple[np.ndarray, tuple[float, float]]:
    """Return radially averaged power spectra of the valid pixels, and ratios of power, generated / true.

    Returns
    -------
    spectra : float64 ndarray (2, 32)
        Of the generated and of the true image: mean power in gauss^2 (white noise of standard deviation s has s^2
        everywhere) between the frequencies `FREQUENCY_EDGES`; NaN where an image of this size has no mode.
    coarse, fine : float
        Ratio of the power at scales above and below `split` pixels. A field that is too smooth has a fine ratio well
        below 1, whatever its correlation.
    """
    valid = mask & np.isfinite(generated) & np.isfinite(real)
    if not valid.any():
        return np.full((2, len(FREQUENCY_EDGES) - 1), np.nan), (math.nan, math.nan)
    frequency, powers = _modes((generated, real), valid)
    place = np.searchsorted(FREQUENCY_EDGES, frequency.ravel(), side="right")
    bins = len(FREQUENCY_EDGES) + 1
    count = np.bincount(place, minlength=bins)[1:-1]
    sums = np.array([np.bincount(place, power.ravel(), minlength=bins)[1:-1] for power in powers])
    ratios = []
    for band in ((frequency > 0) & (frequency < 1 / split), (frequency >= 1 / split) & (frequency <= 0.5)):
        true_power = powers[1][band].sum()
        ratios.append(float(powers[0][band].sum() / true_power) if true_power > 0 else math.nan)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan), (ratios[0], ratios[1])
