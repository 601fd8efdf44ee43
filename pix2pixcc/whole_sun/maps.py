"""A whole-Sun map: what it is made of and how, what it is in SunPy, and its file."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from matplotlib.colors import Normalize
from sunpy.map import GenericMap

from pix2pixcc.images.checksums import Finding, check_checksums
from pix2pixcc.images.fits import refuse_damage
from pix2pixcc.solar.headers import sunpy_meta
from pix2pixcc.utils import VERSION, UserError, atomic_path, file_sha256
from pix2pixcc.visuals.sheets import MAGNETOGRAM_RANGE
from pix2pixcc.whole_sun.grid import Grid, sphere_header
from pix2pixcc.whole_sun.magnetograms import Place
from pix2pixcc.whole_sun.merging import Merged, merged
from pix2pixcc.whole_sun.projection import Layers, Strip, place
from pix2pixcc.whole_sun.recipe import Recipe

CONTENT = "whole-Sun map of the radial magnetic field"
LAYERS = {"WEIGHT": ("", "mu ** MUPOWER, times trust or fading"),
          "MU": ("", "cosine of the heliocentric angle, mean"),
          "SOURCE": ("", "number k of the card SRC<k>"),
          "AGE": ("h", "mean; -1 in the polar fill"),
          "SIGMA": ("G", "uncertainty of what a model made; NaN elsewhere")}
NET_FLUX = 1e-6                      # of the unsigned, at most, of a balanced map
LEFT_OUT = "left out"                # role of a file of the history that could not be used
FILL, HISTORY = 0, 1                 # numbers of sources; observers follow


@dataclass(frozen=True)
class Input:
    """One file of a map: its role ('frontside', 'farside', 'history', or `LEFT_OUT`), name, observer, time, SHA-256."""

    role: str
    name: str
    observer: str = ""
    time: str = ""
    sha256: str = ""


def card_name(path: str | os.PathLike) -> str:
    """Return a file's name in ASCII, as headers want it: any other letter by its number."""
    return os.path.basename(path).encode("unicode_escape").decode("ascii")


class WholeSunMap(GenericMap):
    """A map of the whole Sun's radial magnetic field at one moment, float32 (rows, columns) in gauss.

    It is a `sunpy.map.GenericMap` in cylindrical equal-area projection, which `sunkit_magex.pfss.Input` takes as it is.

    Attributes
    ----------
    layers : dict of str to ndarray (rows, columns)
        'WEIGHT', 'MU', 'SOURCE' (the number k of the card SRC<k>), 'AGE' (hours) and, where a model's magnetogram has
        an uncertainty, 'SIGMA' (gauss).
    inputs : tuple of Input
        The files that it is made of.
    """

    def __init__(self, data: np.ndarray, header: Any, **kwargs: Any):
        super().__init__(data, header, **kwargs)
        self.layers: dict[str, np.ndarray] = {}
        self.inputs: tuple[Input, ...] = ()
        limit = MAGNETOGRAM_RANGE["gray"]
        self.plot_settings |= {"cmap": "gray", "norm": Normalize(-limit, limit)}

    @property
    def unit(self) -> u.Unit:
        """Gauss."""
        return u.G

    @classmethod
    def is_datasource_for(cls, data: np.ndarray, header: Any, **kwargs: Any) -> bool:
        """Return whether a header is a whole-Sun map's."""
        return header.get("content") == CONTENT and "extname" not in header

    @property
    def sources(self) -> list[str]:
        """Return what the numbers of the layer SOURCE stand for."""
        return [str(self.meta[f"src{k}"]) for k in range(len(self.meta)) if f"src{k}" in self.meta]


def synchronic(frontside: Sequence[Strip], farside: Sequence[Strip], history: Layers, time: datetime, recipe: Recipe,
               inputs: Sequence[Input] = ()) -> WholeSunMap:
    """Return the map of the whole Sun at `time`.

    Parameters
    ----------
    frontside, farside
        Magnetograms of about that time, observed and generated.
    history : Layers
        The chart of what was known before, in the cells of the map; empty if nothing was.
    inputs
        What HISTORY names.

    Raises
    ------
    UserError
        There is no observed magnetogram; two are of one observer; one is of another time; or nobody saw some of the
        Sun.
    """
    grid = recipe.grid(time)
    _check(frontside, farside, time, recipe.tolerance)
    views = [*frontside, *farside]
    placed = [place(strip, grid) for strip in views]
    observed = _total([layers for strip, layers in zip(views, placed, strict=True) if not strip.place.generated], grid)
    generated = _total([layers for strip, layers in zip(views, placed, strict=True) if strip.place.generated], grid)
    result = merged(observed, generated, history, grid, recipe.merge)
    header = _header(grid, recipe, [strip.place for strip in views], inputs, result)
    trust = 0.0 if recipe.merge.method == "history" else recipe.merge.trust
    weighed = [layers * (trust if strip.place.generated else 1.0) for strip, layers in zip(views, placed, strict=True)]
    layers = _layers(weighed, generated.mean("variance"), history, result)
    return _as_map(result.field, header, layers, inputs)


def _total(layers: Sequence[Layers], grid: Grid) -> Layers:
    return sum(layers, Layers.empty(grid.shape))


def _check(frontside: Sequence[Strip], farside: Sequence[Strip], time: datetime, tolerance: float) -> None:
    if not any(not strip.place.generated for strip in frontside):
        raise UserError(f"{time:%Y-%m-%dT%H:%M}: there is no observed magnetogram within {tolerance:g} hours: give one "
                        "as --frontside")
    first: dict[str, Strip] = {}
    for strip in (*frontside, *farside):
        other = first.setdefault(strip.place.name, strip)
        if other is not strip:
            raise UserError(f"{other.source} and {strip.source} are both magnetograms of {strip.place.name} at "
                            f"{time:%Y-%m-%dT%H:%M}: give one of them")
        if abs(strip.place.time - time) > timedelta(hours=tolerance):
            raise UserError(f"{strip.source} is of {strip.place.time:%Y-%m-%dT%H:%M}, more than {tolerance:g} hours "
                            f"off the map's time {time:%Y-%m-%dT%H:%M}: give one nearer, or a greater --tolerance")


def _layers(weighed: Sequence[Layers], variance: np.ndarray, history: Layers,
            result: Merged) -> dict[str, np.ndarray]:
    """Return weight, mean mu, source and age of each cell, and its uncertainty where a model gives one.

    `weighed` are the views, of which a generated one has its trust; `variance` is that of what a model made, gauss^2.
    """
    now, unseen = sum(weighed[1:], weighed[0]), result.unseen > 0
    nearest = np.stack([layers.weight for layers in weighed]).argmax(0) + HISTORY + 1
    source = np.where(result.filled, FILL, np.where(unseen, HISTORY, nearest))
    layers = {"WEIGHT": np.where(unseen, history.weight, now.weight),
              "MU": np.where(unseen, history.mean("mu"), now.mean("mu")), "SOURCE": source.astype(np.int16),
              "AGE": np.where(result.filled, -1, np.where(unseen, history.mean("age"), now.mean("age")))}
    if variance.any():
        layers["SIGMA"] = np.where((variance > 0) & (result.generated > 0), np.sqrt(variance), np.nan)
    return {name: values if name == "SOURCE" else values.astype(np.float32) for name, values in layers.items()}


def _header(grid: Grid, recipe: Recipe, places: Sequence[Place], inputs: Sequence[Input],
            result: Merged) -> fits.Header:
    header, merge = grid.header(), recipe.merge
    header["BUNIT"] = ("G", "gauss")
    header["CONTENT"] = (CONTENT, "positive: outwards")
    header["INSTRUME"] = ("pix2pixCC", "of several observers")
    header["DETECTOR"] = ("pix2pixCC synchronic map", "title in SunPy")
    header["SRC0"], header["SRC1"] = ("polar fill", "0 in SOURCE"), ("history", "1 in SOURCE")
    for k, observer in enumerate(places, HISTORY + 1):
        header[f"SRC{k}"] = (observer.label, f"{k} in SOURCE")
        header[f"SRCLN{k}"] = (observer.carrington, "[deg] Carrington longitude of the observer")
        header[f"SRCLT{k}"] = (observer.latitude, "[deg] latitude of the observer")
        header[f"SRCRD{k}"] = (observer.distance, "[solar radius] distance of the observer")
        header[f"SRCTM{k}"] = (f"{observer.time:%Y-%m-%dT%H:%M:%S}", "[UTC] time of the magnetogram")
    for keyword, value, comment in (
            ("MULIMIT", recipe.mu_limit, "least cosine of the heliocentric angle"),
            ("MUPOWER", recipe.mu_power, "weight of mu"), ("ROTATION", recipe.rotation, "law of the Sun's rotation"),
            ("FADING", recipe.fading, "[d] age at which history weighs 1/e"),
            ("MERGE", merge.method, "of generated fields and history"),
            ("TRUST", merge.trust, "weight of generated beside observed fields"),
            ("NETDEG", merge.net_degrees, "[deg] net flux of history over these"),
            ("STRONG", merge.strong, "[G] above, large scales are generated"),
            ("SPLITDEG", merge.split_degrees, "[deg] between large and fine scales"),
            ("FINESHR", merge.fine_share, "share of the generated in fine scales"),
            ("BALANCE", merge.balance, "how net flux was taken off"),
            ("NETFLUX", result.net * grid.cell_area, "[Mx] before that"),
            ("UNSFLUX", float(np.abs(result.field).sum(dtype=np.float64)) * grid.cell_area,
             "[Mx] unsigned, of the map"),
            ("CREATOR", "pix2pixCC", "software"), ("VERS_SW", VERSION, "software version")):
        header[keyword] = (value, comment)
    for given in inputs:
        header.add_history(f"{given.role}: {given.name}")
    return header


def _as_map(data: np.ndarray, header: fits.Header, layers: Mapping[str, np.ndarray],
            inputs: Sequence[Input]) -> WholeSunMap:
    result = WholeSunMap(data, sunpy_meta(header))
    result.layers, result.inputs = dict(layers), tuple(inputs)
    return result


def write_map(path: str | os.PathLike, whole: WholeSunMap, extra: Mapping[str, tuple[Any, str]] | None = None) -> None:
    """Write a map with its layers as image extensions and its inputs as a table, with checksums, atomically.

    `extra` are further cards, `keyword: (value, comment)`. A `UserError` says that the file cannot be written.
    """
    header = whole.fits_header
    for keyword, value in (extra or {}).items():
        header[keyword] = value
    header["DATE"] = (f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", "[UTC] file written")
    hdus = [fits.PrimaryHDU(np.asarray(whole.data, np.float32), header)]
    for name, values in whole.layers.items():
        hdu = fits.ImageHDU(values, sphere_header(whole), name=name)
        unit, meaning = LAYERS[name]
        if unit:
            hdu.header["BUNIT"] = unit
        hdu.header["CONTENT"] = (name.lower(), meaning)
        hdus.append(hdu)
    columns = [fits.Column(name.upper(), f"A{max([len(getattr(given, name)) for given in whole.inputs] + [1])}",
                           array=[getattr(given, name) for given in whole.inputs])
               for name in ("role", "name", "observer", "time", "sha256")]
    hdus.append(fits.BinTableHDU.from_columns(columns, name="INPUTS"))
    with atomic_path(path) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True, checksum=True)


def read_map(path: str | os.PathLike) -> WholeSunMap:
    """Read a map that `write_map` wrote, with its layers and inputs; a `UserError` says what is wrong with the file."""
    with refuse_damage(path, "a whole-Sun map"), fits.open(path, memmap=False) as hdus:
        if hdus[0].header.get("CONTENT") != CONTENT:
            raise UserError(f"{path} is no whole-Sun map of pix2pixCC")
        layers = {name: np.array(hdus[name].data) for name in LAYERS if name in hdus}
        inputs = [Input(*(str(row[name]).strip() for name in ("ROLE", "NAME", "OBSERVER", "TIME", "SHA256")))
                  for row in hdus["INPUTS"].data]
        return _as_map(np.array(hdus[0].data), hdus[0].header, layers, inputs)


def verify_map(path: str | os.PathLike, places: Sequence[str]) -> list[Finding]:
    """Check the checksums of a map, its balance, and its inputs where they are among `places`, files or folders."""
    try:
        checksums, _ = check_checksums(path)
        whole = read_map(path)
    except UserError as error:
        return [Finding(False, str(error))]
    findings = [checksums]
    if not np.isfinite(whole.data).all():
        findings.append(Finding(False, "the map has pixels without a value"))
    net, unsigned = (np.nansum(values, dtype=np.float64) for values in (whole.data, np.abs(whole.data)))
    if whole.meta.get("balance") != "none" and abs(net) > NET_FLUX * unsigned:
        findings.append(Finding(False, f"its net flux is {abs(net) / unsigned:.1e} of the unsigned, not balanced"))
    there = _files_by_name(places)
    for given in whole.inputs:
        files = there.get(given.name, [])
        if not given.sha256:
            findings.append(Finding(None, f"{given.role} {given.name} was not given as a file"))
        elif not files:
            findings.append(Finding(None, f"{given.role} {given.name} "
                                    + ("is not where it was looked for" if places else "was not looked for")))
        else:
            same = any(file_sha256(file) == given.sha256 for file in files)
            findings.append(Finding(same, f"{given.role} {files[0]} is {'' if same else 'NOT '}what it was (SHA-256)"))
    return findings


def _files_by_name(places: Sequence[str]) -> dict[str, list[str]]:
    """Return the paths of all files in some places, by name."""
    found: dict[str, list[str]] = {}
    for given in places:
        paths = [given] if os.path.isfile(given) else [os.path.join(here, name) for here, _, names in
                                                       os.walk(given, followlinks=True) for name in names]
        for path in paths:
            found.setdefault(card_name(path), []).append(path)
    return found
