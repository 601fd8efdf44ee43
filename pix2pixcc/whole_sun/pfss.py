"""The corona of a whole-Sun map: its potential field up to a source surface, where it is open, and its field lines.

sunkit-magex solves and streamtracer follows the lines. Both are GPLv3 and in the extra `pfss`: they are imported only
here, when a corona is asked for.
"""
from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from pix2pixcc.solar.geometry import RSUN_METRES
from pix2pixcc.utils import UserError
from pix2pixcc.whole_sun.grid import carrington_grid

if TYPE_CHECKING:
    from sunpy.map import GenericMap

STEP = 0.5                       # of a shell; a quarter moves 0.06% of the open map, a whole shell 0.3%
MOST_STEPS = 400                 # only lines that creep along a null of the field need more
MOST_TRACED = 16_200             # lines of the open map, 180 x 90: those of 360 x 180 would take 8 s
AT_ONCE = 4096                   # lines: 40 MB of steps
LINE_POINTS = 100                # of a line for display
SEEDS = ((1.06, 160), (1.4, 140), (2.4, 240))      # radius and number of the starts of lines for display


@dataclass(frozen=True)
class FieldLine:
    """A line of force along the field, for display.

    Attributes
    ----------
    longitude, latitude : ndarray
        Carrington, degrees.
    radius : ndarray
        Solar radii.
    polarity : int
        Of an open line the sign of the radial field at its foot, 0 of a closed line.
    """

    longitude: np.ndarray
    latitude: np.ndarray
    radius: np.ndarray
    polarity: int


@dataclass(frozen=True)
class Corona:
    """The potential field between a whole-Sun map and its source surface (PFSS).

    Attributes
    ----------
    source_surface : ndarray (H, W)
        Radial field on the source surface on the cells of the map, gauss.
    open_field : ndarray (H, W)
        Polarity, int8, of the cells of the map whose field reaches the source surface; 0 where it is closed.
    traced : tuple of int
        Rows and columns of the starts from which `open_field` was traced: coarser than the map where that is large.
    source_radius : float
        Of the source surface, solar radii.
    shells : int
        Shells of the solution between the photosphere and the source surface, equal in the logarithm of the radius.
    harmonics : dict
        Coefficients g10, g11, h11 (dipole), g20, g21, h21, g22 and h22 (quadrupole) of the potential in gauss,
        Schmidt-normalised, in Carrington coordinates, as Altschuler & Newkirk (1969, Solar Physics 9, 131) write it:
        the radial field of the photosphere is the sum of (l + 1 + l R^-(2l+1)) P_lm (g_lm cos m phi + h_lm sin m phi),
        R the radius of the source surface.
    mean_field : float
        Mean of the map, gauss, which no potential field has: the solution leaves it out.
    lines : list of FieldLine
        Started evenly over spheres of several radii.
    """

    source_surface: np.ndarray
    open_field: np.ndarray
    traced: tuple[int, int]
    source_radius: float
    shells: int
    harmonics: dict[str, float]
    mean_field: float
    lines: list[FieldLine]

    @property
    def open_flux(self) -> float:
        """Return the unsigned flux through the source surface, maxwell."""
        area = 4 * math.pi * (100 * RSUN_METRES * self.source_radius) ** 2
        return float(np.abs(self.source_surface).mean() * area)

    @property
    def dipole(self) -> tuple[float, float, float]:
        """Return the dipole's strength (gauss) and the Carrington longitude and latitude (degrees) of its axis."""
        g10, g11, h11 = (self.harmonics[name] for name in ("g10", "g11", "h11"))
        across = math.hypot(g11, h11)
        return (math.hypot(g10, across), math.degrees(math.atan2(h11, g11)) % 360,
                math.degrees(math.atan2(g10, across)))

    @property
    def quadrupole(self) -> float:
        """Return the quadrupole's strength, the root of the sum of its squared coefficients, gauss."""
        return math.hypot(*(self.harmonics[name] for name in ("g20", "g21", "h21", "g22", "h22")))

    def neutral_lines(self) -> list[np.ndarray]:
        """Return the neutral lines of the source surface, each (N, 2): columns and rows of the map, counted from 0.

        They go on over the seam: columns reach from -1 to W.
        """
        from contourpy import LineType, contour_generator

        rows, columns = self.source_surface.shape
        padded = np.pad(self.source_surface, ((0, 0), (1, 1)), mode="wrap")
        generator = contour_generator(np.arange(-1, columns + 1), np.arange(rows), padded,
                                      line_type=LineType.Separate)
        return [np.asarray(line) for line in generator.lines(0.0)]

    def numbers(self) -> dict[str, Any]:
        """Return what the corona comes to in numbers, with their units in the names."""
        strength, longitude, latitude = self.dipole
        rows = self.source_surface.shape[0]
        crossed = np.concatenate([line[:, 1] for line in self.neutral_lines()] or [np.zeros(0)])
        sine = (crossed + 0.5) * 2 / rows - 1
        reach = np.degrees(np.arcsin([sine.min(), sine.max()])).tolist() if crossed.size else None
        return {
            "source_surface_radius_rsun": self.source_radius, "shells": self.shells,
            "open_flux_mx": self.open_flux,
            "mean_field_left_out_gauss": self.mean_field,
            "open_area_share": {"positive": float((self.open_field > 0).mean()),
                                "negative": float((self.open_field < 0).mean())},
            "open_area_traced_from": {"rows": self.traced[0], "columns": self.traced[1]},
            "neutral_line_latitudes_deg": reach,
            "dipole": {"strength_gauss": strength, "axis_carrington_longitude_deg": longitude,
                       "axis_latitude_deg": latitude, **self._degree(1)},
            "quadrupole": {"strength_gauss": self.quadrupole, **self._degree(2)},
        }

    def _degree(self, degree: int) -> dict[str, float]:
        return {f"{name}_gauss": value for name, value in self.harmonics.items() if name[1] == str(degree)}


def solver() -> Any:
    """Return sunkit-magex's module of potential fields; a `UserError` says what to install if it is not there."""
    try:
        for package in ("streamtracer", "sunkit_magex"):
            import_module(package)
        return import_module("sunkit_magex.pfss")
    except ImportError as error:
        raise UserError('the corona needs sunkit-magex: pip install "pix2pixcc[pfss]" or pip install sunkit-magex '
                        f"streamtracer ({error})") from error


def corona_of(map: GenericMap, *, source_surface: float = 2.5, shells: int = 35) -> Corona:
    """Return the potential field above a whole-Sun map.

    Parameters
    ----------
    map : `~sunpy.map.GenericMap` (H, W)
        Radial field in gauss of the whole Sun, without NaN, in cylindrical equal-area projection, in Carrington or
        Stonyhurst longitude from wherever it begins: it is solved in its own columns.
    source_surface : float
        Radius at which the field becomes radial, solar radii.
    shells : int
        Between the photosphere and the source surface. Source-surface fields of single harmonics of degree 1 to 5 lie
        within 1% (rms 1.6%) of their formula with 35.

    Raises
    ------
    UserError
        sunkit-magex is not installed; the map is not of that kind, or a number makes no sense.
    """
    if not source_surface > 1 or shells < 5:
        raise UserError(f"a source surface at {source_surface:g} solar radii with {shells} shells: "
                        "choose a radius above 1 (2.5 is usual) and 5 shells or more (35)")
    longitude, latitude = carrington_grid(map)
    field = np.asarray(map.data, dtype=np.float64)
    if not np.isfinite(field).all():
        raise UserError(f"{np.count_nonzero(~np.isfinite(field))} pixels of the map are NaN: fill them before a corona "
                        "is computed")
    solution = _solve(field, source_surface, shells)
    height = math.log(source_surface)
    open_field, traced = _open_field(solution, field.shape, height)
    left = longitude[0] - 180 / field.shape[1]
    return Corona(solution.source_surface, open_field, traced, source_surface, shells,
                  _harmonics(field, longitude, latitude, source_surface), float(field.mean()),
                  _display_lines(solution, height, left))


@dataclass(frozen=True)
class _Solution:
    """What sunkit-magex found, on its grid of longitude (radians), sine of latitude, logarithm of the radius."""

    source_surface: np.ndarray      # (H, W), gauss
    radial: np.ndarray              # (W + 1, H + 1) radial field at the corners of the photosphere's cells, gauss
    vectors: Any                    # streamtracer's grid
    shell: float                    # height of a shell, in the logarithm of the radius

    def trace(self, starts: np.ndarray, direction: int) -> list[np.ndarray]:
        """Return the lines (N, 3) from starts (L, 3), along the field (1), against it (-1) or both (0)."""
        from streamtracer import StreamTracer

        lines: list[np.ndarray] = []
        for k in range(0, len(starts), AT_ONCE):
            tracer = StreamTracer(MOST_STEPS, STEP * self.shell)
            tracer.trace(starts[k:k + AT_ONCE], self.vectors, direction=direction)
            lines.extend(tracer.xs)
        return lines


def _solve(field: np.ndarray, source_surface: float, shells: int) -> _Solution:
    """Solve for a map (H, W) in gauss whose left edge is called longitude 0."""
    pfss = solver()
    import sunpy.map
    from astropy import units as u
    from sunpy.coordinates import get_earth
    from sunpy.map.header_helper import make_heliographic_header

    # The horizontal field vanishes half a shell below the solver's outer boundary, which makes the fields of degrees
    # 1 to 5 1 to 8% too strong at 35 shells. With the boundary half a shell further out the errors are below 1%.
    outer = source_surface ** (shells / (shells - 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        time = "2000-01-01T00:00:00"          # any: the columns are counted from the left edge
        header = make_heliographic_header(time, get_earth(time), field.shape, frame="carrington",
                                          projection_code="CEA", map_center_longitude=180 * u.deg)
        header["bunit"] = "G"
        output = pfss.pfss(pfss.Input(sunpy.map.Map(field, header), shells, outer))
        vectors = pfss.tracing.PerformanceTracer.vector_grid(output)
    surface = output.bc[0][:, :, -1].to_value("G").T * (outer / source_surface) ** 2
    solution = _Solution(surface.copy(), output.bg[:, :, 0, 2].to_value("G").copy(), vectors, output.grid.dr)
    for kind in (type(output), type(output.grid)):         # whose cached properties keep up to 128 solutions alive
        for member in vars(kind).values():
            if clear := getattr(getattr(member, "fget", None), "cache_clear", None):
                clear()
    return solution


def _open_field(solution: _Solution, shape: tuple[int, int], height: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the open field (H, W) and the rows and columns of the starts; `height` is ln of the source radius."""
    block = math.ceil(math.sqrt(shape[0] * shape[1] / MOST_TRACED))
    rows, columns = (max(side // block, 1) for side in shape)
    sine, angle = np.meshgrid((np.arange(rows) + 0.5) * 2 / rows - 1, (np.arange(columns) + 0.5) * 2 * np.pi / columns,
                              indexing="ij")
    corners = np.array(solution.radial.shape) - 1
    radial = ndimage.map_coordinates(solution.radial, [angle / (2 * np.pi) * corners[0], (sine + 1) / 2 * corners[1]],
                                     order=1).ravel()
    starts = np.stack([angle.ravel(), sine.ravel(), np.zeros(angle.size)], axis=-1)
    traced = np.zeros(angle.size, np.int8)
    for polarity in (1, -1):
        here = np.flatnonzero(np.sign(radial) == polarity)
        ends = np.array([line[-1, 2] for line in solution.trace(starts[here], polarity)])
        traced[here[ends > height / 2]] = polarity
    nearest = np.ix_(*((np.arange(side) * 2 + 1) * count // (2 * side)
                       for side, count in zip(shape, (rows, columns), strict=True)))
    return traced.reshape(rows, columns)[nearest], (rows, columns)


def _display_lines(solution: _Solution, height: float, left: float) -> list[FieldLine]:
    """Return the lines for display; `left` is the Carrington longitude of the left edge, degrees."""
    starts = []
    for radius, number in SEEDS:
        k = np.arange(number) + 0.5                                   # a Fibonacci lattice: even over the sphere
        place = [k * np.pi * (3 - math.sqrt(5)) % (2 * np.pi), 2 * k / number - 1,
                 np.full(number, math.log(radius) * min(1, height / math.log(2.5)))]
        starts.append(np.stack(place, axis=-1))
    near = 2 * STEP * solution.shell
    lines = []
    for line in solution.trace(np.concatenate(starts), 0):
        ends = line[[0, -1], 2]
        is_above, is_below = ends > height - near, ends < near
        if is_above.all() or not (is_above | is_below).all():         # ended at a null or a pole
            continue
        line = line[np.unique(np.linspace(0, len(line) - 1, LINE_POINTS).astype(int))]
        lines.append(FieldLine((left + np.degrees(line[:, 0])) % 360, np.degrees(np.arcsin(line[:, 1].clip(-1, 1))),
                               np.exp(line[:, 2].clip(0, height)), int(is_above[1]) - int(is_above[0])))
    return lines


def _harmonics(field: np.ndarray, longitude: np.ndarray, latitude: np.ndarray,
               source_surface: float) -> dict[str, float]:
    """Return the coefficients of degrees 1 and 2 of a map (H, W): see `Corona.harmonics`."""
    cos, sin, root = np.sin(np.radians(latitude)), np.cos(np.radians(latitude)), math.sqrt(3)      # of the colatitude
    legendre = {"10": cos, "11": sin, "20": (3 * cos ** 2 - 1) / 2, "21": root * sin * cos, "22": root / 2 * sin ** 2}
    coefficients = {}
    for name, function in legendre.items():
        degree, order = int(name[0]), int(name[1])
        norm = (2 * degree + 1) / (degree + 1 + degree * source_surface ** -(2 * degree + 1)) / field.size
        around = function @ field * norm
        coefficients[f"g{name}"] = float(around @ np.cos(order * np.radians(longitude)))
        if order:
            coefficients[f"h{name}"] = float(around @ np.sin(order * np.radians(longitude)))
    return coefficients
