"""Smoothing on the sphere: fields on a grid of equal areas, convolved with a round bell of any width."""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ive

_LEAST = 1e-5      # of the bell's spectrum; finer waves along a row are left out
_REACH = 5.0       # standard deviations, beyond which a row gives nothing


@lru_cache(maxsize=16)
def _kernel(rows: int, columns: int, degrees: float) -> np.ndarray:
    """Return for each wave along the rows, `(waves, rows, rows)`, how much each row gives to each.

    The bell is exp((cos d - 1) / s^2) at the angular distance d (von Mises and Fisher), whose Fourier series along
    longitude has modified Bessel functions as coefficients.
    """
    width = np.radians(degrees)
    sharpness = 1 / width ** 2
    sine = (np.arange(rows) + 0.5) * 2 / rows - 1
    latitude, cosine = np.arcsin(sine), np.sqrt(1 - sine ** 2)
    waves = min(columns // 2, int(np.sqrt(-2 * np.log(_LEAST)) / width) + 1)
    to, given = np.nonzero(np.abs(latitude[:, None] - latitude) < _REACH * width)
    crossing = cosine[to] * cosine[given]
    kernel = np.zeros((waves + 1, rows, rows), np.float32)
    kernel[:, to, given] = (ive(np.arange(waves + 1)[:, None], sharpness * crossing)
                            * np.exp(sharpness * (sine[to] * sine[given] + crossing - 1)))
    return kernel / kernel[0].sum(1)[None, :, None]


def smoothed(field: np.ndarray, degrees: float) -> np.ndarray:
    """Return a field on equal-area cells of the whole Sun `(rows, columns)`, smoothed by a bell on the sphere.

    `degrees` is its standard deviation, of at least a cell's height at the equator; the mean over the Sun is kept but
    for the error of the grid.
    """
    rows, columns = field.shape
    kernel = _kernel(rows, columns, float(degrees))
    spectrum = np.fft.rfft(field, axis=1)[:, :len(kernel)]
    mixed = np.einsum("mij,jm->im", kernel, spectrum)
    full = np.zeros((rows, columns // 2 + 1), complex)
    full[:, :mixed.shape[1]] = mixed
    return np.fft.irfft(full, columns, axis=1).astype(np.float32)
