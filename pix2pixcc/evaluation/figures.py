"""One page that shows how well a set of generated magnetograms agrees with the true ones."""
from __future__ import annotations

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from pix2pixcc.evaluation.metrics import FREQUENCY_EDGES
from pix2pixcc.evaluation.scores import DISTANCE_EDGES, FIELD_EDGES, Pool
from pix2pixcc.solar.geometry import Disk
from pix2pixcc.utils import atomic_path

TRUE, GENERATED, ACCENT = "0.35", "#b5331e", "#1f5f8b"
_TICKS = (-1000, -100, 0, 100, 1000)


def _map(figure: Figure, axes: Axes, field: np.ndarray, disk: Disk, title: str, colours: str, *, disk_radius: float,
         limit: float) -> None:
    """Draw a magnetogram within the disk, with the limb; the axes are in solar radii."""
    shown = np.where(disk.mask(disk_radius), field, np.nan)
    x, y = disk.centre
    rows, columns = field.shape
    edges = np.array([-0.5 - x, columns - 0.5 - x, -0.5 - y, rows - 0.5 - y]) / disk.radius
    axes.set_facecolor("0.93")
    picture = axes.imshow(shown, cmap=colours, vmin=-limit, vmax=limit, origin="lower", extent=tuple(edges),
                          interpolation="nearest")
    axes.add_patch(Circle((0, 0), 1, fill=False, lw=0.6, color="0.2"))
    axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), xticks=[], yticks=[])
    axes.set_title(title, fontsize=11)
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.02, extend="both")
    bar.set_label("$B_{\\rm los}$ [G]", labelpad=0)


def _density(figure: Figure, axes: Axes, counts: np.ndarray, title: str, caption: str) -> None:
    """Draw the 2-D histogram of true and generated field on axes that are linear at zero, with the 1:1 line."""
    end = np.arcsinh(FIELD_EDGES[-1] / 30)
    picture = axes.imshow(np.where(counts.T > 0, counts.T, np.nan), origin="lower", extent=(-end, end, -end, end),
                          cmap="magma_r", norm=LogNorm(1, max(counts.max(), 10)), interpolation="nearest")
    axes.axline((0, 0), slope=1, color=ACCENT, lw=1, label="1:1")
    places = np.arcsinh(np.array(_TICKS) / 30)
    names = [f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in _TICKS]
    axes.set(xticks=places, xticklabels=names, yticks=places, yticklabels=names, title=title,
             xlabel="true $B_{\\rm los}$ [G]", ylabel="generated $B_{\\rm los}$ [G]")
    axes.text(0.04, 0.96, caption, transform=axes.transAxes, va="top", fontsize=8)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.02, label="count")


def _flux_scatter(axes: Axes, generated: np.ndarray, real: np.ndarray, *, title: str, agreement: dict[str, float],
                  signed: bool) -> None:
    """Draw the flux of every image, true against generated, with the 1:1 and the fitted line."""
    power = int(np.floor(np.log10(max(np.abs(real).max(), np.abs(generated).max(), 1.0))))
    generated, real = generated / 10.0 ** power, real / 10.0 ** power
    low, high = min(generated.min(), real.min()), max(generated.max(), real.max())
    margin = 0.08 * (max(high - low, 0.2 * max(abs(high), abs(low))) or 1.0)
    axes.axline((0, 0), slope=1, color="0.6", lw=1, label="1:1")
    if np.isfinite(agreement["slope"]):
        axes.axline((real.mean(), generated.mean()), slope=agreement["slope"], color=ACCENT, lw=1, ls="--",
                    label=f"slope {agreement['slope']:.2f}")
    axes.plot(real, generated, "o", ms=4, color=GENERATED, alpha=0.7, mec="none")
    if signed:
        axes.axhline(0, color="0.85", lw=0.6, zorder=0)
        axes.axvline(0, color="0.85", lw=0.6, zorder=0)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal", title=title,
             xlabel=f"true [$10^{{{power}}}$ Mx]", ylabel=f"generated [$10^{{{power}}}$ Mx]")
    figures = (("CC", "cc", ".2f"), ("error", "relative_error", ".1%"), ("bias", "relative_bias", "+.1%"))
    lines = [f"{word} {agreement[name]:{form}}" for word, name, form in figures if np.isfinite(agreement[name])]
    axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8)
    axes.legend(loc="lower right", fontsize=8, frameon=False)


def _error_by_distance(axes: Axes, curves: dict[str, list[float]], disk_radius: float) -> None:
    """Draw error and true field strength against distance from the disk's centre."""
    axes.stairs(curves["rms_real"], DISTANCE_EDGES, baseline=None, color=TRUE, lw=1, label="true field, rms")
    axes.stairs(curves["rmse"], DISTANCE_EDGES, baseline=None, color=GENERATED, lw=1.4, label="error, rms")
    axes.stairs(curves["bias"], DISTANCE_EDGES, baseline=None, color=ACCENT, lw=1, label="error, mean")
    axes.axhline(0, color="0.85", lw=0.6, zorder=0)
    axes.axvline(disk_radius, color="0.6", lw=0.8, ls=":")
    axes.set(xlim=(0, 1.02), xlabel="distance from disk centre [$R_\\odot$]", ylabel="[G]", box_aspect=1,
             title="Error across the disk")
    axes.legend(fontsize=8, frameon=False)


def _spectra(axes: Axes, spectra: np.ndarray, pixel_size: float, binning: int) -> None:
    """Draw power spectra, and below them generated / true, against spatial scale."""
    frequency = np.sqrt(FREQUENCY_EDGES[1:] * FREQUENCY_EDGES[:-1])
    present = np.isfinite(spectra).all(axis=0) & (spectra > 0).all(axis=0)
    scale = pixel_size / frequency[present]
    ratio = axes.inset_axes((0, 0, 1, 0.36))
    upper = axes.inset_axes((0, 0.42, 1, 0.58), sharex=ratio)
    axes.set_axis_off()
    axes.set_box_aspect(1)
    upper.loglog(scale, spectra[1][present], color=TRUE, lw=1.2, label="true")
    upper.loglog(scale, spectra[0][present], color=GENERATED, lw=1.2, label="generated")
    upper.set(title="Power spectrum", ylabel="power [G$^2$]")
    upper.tick_params(labelbottom=False, which="both")
    upper.legend(fontsize=8, frameon=False)
    ratio.axhline(1, color="0.6", lw=1)
    quotient = spectra[0][present] / spectra[1][present]
    ratio.loglog(scale, quotient, color=GENERATED, lw=1.2)
    ratio.set(xlabel="spatial scale [Mm]", ylabel="generated / true")
    ratio.set_ylim(max(0.7 * quotient.min(initial=0.5), 1e-3), min(1.4 * quotient.max(initial=2.0), 1e3))
    for each in (upper, ratio):
        each.axvline(binning * pixel_size, color="0.6", lw=0.8, ls=":")
    ratio.text(binning * pixel_size, 0.06, f" {binning} pixels", transform=ratio.get_xaxis_transform(), fontsize=7,
               color="0.4")
    if present.any():
        ratio.set_xlim(scale.max() * 1.05, scale.min() / 1.05)      # large scales on the left, as frequency grows


def evaluation_page(path: str | os.PathLike, pooled: Pool, summary: dict[str, dict], *, generated: np.ndarray,
                    real: np.ndarray, disk: Disk, name: str, title: str, disk_radius: float, binning: int,
                    display_limit: float) -> None:
    """Draw the page of figures of a set as a PNG; `summary` is what `summary_of(pooled)` returns.

    The maps show one pair, `generated` and `real` `(H, W)` in gauss, with its `disk` and its `name`, and saturate at
    plus and minus `display_limit` gauss. `disk_radius` and `binning` are what the set was scored with.
    """
    figure = Figure(figsize=(13, 12), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14)
    figure.supxlabel(f"Pixels within {disk_radius:g} $R_\\odot$ of the disk centre count. "
                     f"The maps show the image of median {binning} x {binning} CC.", fontsize=8, color="0.4")
    axes = figure.subplots(3, 3)
    scores = pooled.scores
    cc, cc_binned, rmse = (scores[metric][pooled.typical] for metric in ("full_cc", "full_cc_binned", "full_rmse"))
    of_bins = f", {binning} x {binning} {cc_binned:.2f}" if np.isfinite(cc_binned) else ""
    maps = ((real, f"True   {name}", "gray"), (generated, f"Generated   CC {cc:.2f}{of_bins}", "gray"),
            (generated - real, f"Generated $-$ true   rms {rmse:.1f} G", "RdBu_r"))
    for place, (field, heading, colours) in zip(axes[0], maps, strict=True):
        _map(figure, place, field, disk, heading, colours, disk_radius=disk_radius, limit=display_limit)
    every = summary["pooled"]
    _density(figure, axes[1, 0], pooled.histogram, "Every pixel",
             f"CC {every['full_cc']:.3f}\nCCC {every['full_ccc']:.3f}\nrms {every['full_rmse']:.1f} G")
    _density(figure, axes[1, 1], pooled.histogram_binned, f"{binning} x {binning} pixels",
             f"CC {every['full_cc_binned']:.3f}\nCCC {every['full_ccc_binned']:.3f}")
    _spectra(axes[1, 2], pooled.spectra, float(pooled.pixel_sizes.mean()), binning)
    for place, kind, heading in ((axes[2, 0], "unsigned", "Total unsigned flux"), (axes[2, 1], "net", "Net flux")):
        _flux_scatter(place, scores[f"{kind}_flux_generated_mx"], scores[f"{kind}_flux_real_mx"], title=heading,
                      agreement=summary["flux"][kind], signed=kind == "net")
    _error_by_distance(axes[2, 2], summary["error_by_distance"], disk_radius)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
