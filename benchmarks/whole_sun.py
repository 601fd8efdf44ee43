"""Whether the AI farside helps: maps of the whole Sun and their coronas against the truth, on synthetic Suns.

    python benchmarks/whole_sun.py --demo checkpoints/demo --seven checkpoints/seven [--suns 12]

Each Sun is one that no model has seen, at a time of 2011: a frontside magnetogram, STEREO-A's and -B's view, and a
magnetogram a day of the 27 days before. Five maps are made of it, 180 x 90 cells:

- chart: what everybody uses, the mean over all magnetograms of the rotation, weighted by mu^4, today's among them;
- updated: the frontside of today, on a chart in which older magnetograms fade (no farside, `--merge history`);
- naive: the generated field wherever a generator looks (`--merge naive --trust 1`);
- ours: the defaults of pix2pixCC_Map.py;
- ceiling: the true farside magnetograms in place of the generated ones.

Scores: correlation with the true map; of the source surface at 2.5 solar radii, the correlation; the open flux over the
true one; the overlap of the open areas of equal polarity (Jaccard: common over united area); the distance between the
neutral lines, degrees: from each point of one to the nearest of the other, mean both ways.

Two models: the demo's (171 A; `make demo`), for Suns of one cycle, and a seven-channel model, for Suns of both:

    python pix2pixCC_Simulate.py --out datasets/seven --pairs 320 --test_suns 0 --size 128 --passbands 304 193 171 \\
        --frontside_reference --both_cycles --seed 3
    python pix2pixCC_Train.py --dataset_name seven --gpu_ids -1 --data_format_input fits --data_format_target fits \\
        --input_dir_train datasets/seven/Train/Input --target_dir_train datasets/seven/Train/Target --input_ch 7 \\
        --n_gf 16 --n_df 16 --n_downsample 3 --n_residual 6 --padding_size 8 --lr 5e-4 --n_epochs 20 --epoch_decay 10 \\
        --ema 0.995 --n_workers 0 --save_freq 800

The Suns have the seeds 921 and up. What the merging does by default was settled on those from 901 to 912. Writes
benchmarks/whole_sun.json and docs/whole_sun_benchmark.png, and prints a table.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from pix2pixcc import load
from pix2pixcc.model import FarsideModel
from pix2pixcc.solar.geometry import AU_METRES, Disk, angular_radius, disk_mask, registered_disk
from pix2pixcc.solar.instruments import SPACECRAFT
from pix2pixcc.solar.orbits import Observer, observer_at, reference_time
from pix2pixcc.synthetic_sun.sun import SyntheticSun
from pix2pixcc.whole_sun.history import chart_of_strips
from pix2pixcc.whole_sun.magnetograms import Magnetogram, Place
from pix2pixcc.whole_sun.maps import WholeSunMap, synchronic
from pix2pixcc.whole_sun.merging import Merge
from pix2pixcc.whole_sun.pfss import Corona, corona_of
from pix2pixcc.whole_sun.projection import Strip
from pix2pixcc.whole_sun.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
SHAPE, SIZE, FIRST = (180, 90), 256, 921
ROWS = ("chart", "updated", "naive", "ours", "ceiling")
SCORES = ("map CC", "source surface CC", "open flux", "open areas", "neutral line")
RECIPE = Recipe(*SHAPE)
PLAIN = replace(RECIPE, mu_power=4.0, fading=1e6, merge=Merge("history", balance="multiplicative"))


class Scene:
    """One Sun on one day: what its observers see, and what a model makes of that."""

    def __init__(self, seed: int, polarity: int) -> None:
        self.sun = SyntheticSun(seed, polarity)
        hours = int(np.random.default_rng([seed, 99]).integers(0, 24 * 330))
        self.time = datetime(2011, 1, 15) + timedelta(hours=hours)
        self.front = self.seen("SDO", self.time)
        self.before = [self.seen("SDO", self.time - timedelta(days=day)) for day in range(1, 28)]
        self.truth = self.sun.radial_map(self.time, *SHAPE)

    def seen(self, name: str, time: datetime) -> Magnetogram:
        """Return what an observer sees, the truth."""
        observer = observer_at(name, time)
        return magnetogram(self.sun.magnetogram(observer, time, SIZE), observer, time, generated=False)

    def generated(self, model: FarsideModel, name: str) -> Magnetogram:
        """Return what a model makes of a spacecraft's EUV images."""
        channels, observer, size = model.description.channels, observer_at(name, self.time), model.description.size
        assert channels is not None and size is not None
        earlier = reference_time(self.time, observer.longitude)
        own = max(1, (len(channels) - 1) // 2)                     # the others are the frontside reference
        earth, images = observer_at("SDO", earlier), []
        for number, channel in enumerate(channels):
            passband = channel.name.split()[-1]
            if number < own:
                images.append(self.sun.euv(SPACECRAFT[name].passband(passband), observer, self.time, size))
            elif channel.is_magnetogram:
                images.append(self.sun.magnetogram(earth, earlier, size))
            else:
                images.append(self.sun.euv(passband, earth, earlier, size))
        cube = np.where(disk_mask(size), np.stack(images), 0).astype(np.float32)
        scaled = model.description.input_scaling.scale(torch.from_numpy(cube)[None])
        made = model.description.target_scaling.unscale(model.generate(scaled)[0])[0].numpy()
        return magnetogram(made, observer, self.time, generated=True)


def magnetogram(data: np.ndarray, observer: Observer, time: datetime, *, generated: bool) -> Magnetogram:
    """Return a registered image as a magnetogram, without a value beyond 0.98 solar radii."""
    disk = registered_disk(data.shape)
    placed = Disk(disk.shape, disk.centre, disk.scale, angular_radius(observer.distance * AU_METRES))
    place = Place(observer.name, time, observer.longitude, observer.latitude, observer.radii, generated)
    return Magnetogram(place, np.where(disk.mask(), data, np.float32(np.nan)), placed)


def strips(images: list[Magnetogram], recipe: Recipe) -> list[Strip]:
    return [recipe.strip(image) for image in images]


def maps_of(scene: Scene, model: FarsideModel) -> dict[str, WholeSunMap]:
    """Return the map of every row."""
    def history(recipe: Recipe, images: list[Magnetogram]):
        return chart_of_strips(strips(images, recipe), recipe.grid(scene.time), recipe.fading)

    front, before = strips([scene.front], RECIPE), history(RECIPE, scene.before)
    behind = strips([scene.generated(model, name) for name in ("STEREO-A", "STEREO-B")], RECIPE)
    true = strips([scene.seen(name, scene.time) for name in ("STEREO-A", "STEREO-B")], RECIPE)
    everything = history(PLAIN, [scene.front, *scene.before])
    # The frontside counts as one of many in the chart: it stands among the history, and beside it nothing.
    nothing = [replace(strip, weight=0 * strip.weight, field=0 * strip.field) for strip in strips([scene.front], PLAIN)]
    recipes = {"updated": Merge("history"), "naive": Merge("naive", trust=1.0), "ours": Merge()}
    made = {name: synchronic(front, [] if name == "updated" else behind, before, scene.time,
                             replace(RECIPE, merge=merge)) for name, merge in recipes.items()}
    return {"chart": synchronic(nothing, [], everything, scene.time, PLAIN), **made,
            "ceiling": synchronic([*front, *true], [], before, scene.time, RECIPE)}


def scores(made: WholeSunMap, truth: WholeSunMap, coronas: tuple[Corona, Corona]) -> list[float]:
    """Return the `SCORES` of a map; `coronas` are its own and the true one."""
    own, true = coronas
    common = ((own.open_field == true.open_field) & (true.open_field != 0)).sum()
    united = ((own.open_field != 0) | (true.open_field != 0)).sum()
    return [correlation(made.data, truth.data), correlation(own.source_surface, true.source_surface),
            own.open_flux / true.open_flux, common / united, line_distance(own.source_surface, true.source_surface)]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def line_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean distance of two neutral lines, degrees."""
    def points(field: np.ndarray) -> np.ndarray:
        around = np.concatenate([field, field[:, :1]], axis=1)
        line = np.concatenate(find_contours(around, 0.0))
        sine, longitude = (line[:, 0] + 0.5) * 2 / len(field) - 1, np.radians((line[:, 1] + 0.5) * 360 / field.shape[1])
        cosine = np.sqrt(np.clip(1 - sine ** 2, 0, None))
        return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), sine], axis=1)

    first, second = points(one), points(other)
    chords = [cKDTree(to).query(given)[0].mean() for given, to in ((first, second), (second, first))]
    return float(np.degrees(2 * np.arcsin(np.mean(chords) / 2)))


def true_map(scene: Scene, like: WholeSunMap) -> WholeSunMap:
    """Return the true field as a map."""
    return WholeSunMap(scene.truth - scene.truth.mean(dtype=np.float64).astype(np.float32), like.meta.copy())


def measure(model: FarsideModel, suns: int, polarity: Callable[[int], int]) -> tuple[np.ndarray, tuple]:
    """Return the scores (Sun, row, score), and scene, maps and coronas of the first Sun."""
    table, example = np.zeros((suns, len(ROWS), len(SCORES))), ()
    for number in range(suns):
        scene = Scene(FIRST + number, polarity(FIRST + number))
        made = maps_of(scene, model)
        truth = true_map(scene, made["ours"])
        coronas = {name: corona_of(each, shells=25) for name, each in {**made, "truth": truth}.items()}
        table[number] = [scores(made[name], truth, (coronas[name], coronas["truth"])) for name in ROWS]
        example = example or ({"truth": truth, **made}, coronas)
        print(f"Sun {FIRST + number}: source surface " + ", ".join(
            f"{name} {value:.3f}" for name, value in zip(ROWS, table[number, :, 1], strict=True)), flush=True)
    return table, example


def report(name: str, table: np.ndarray) -> dict:
    """Print the means over the Suns, and on how many of them ours is nearer to the truth than the charts."""
    print(f"\n{name:10}" + "".join(f"{score:>20}" for score in SCORES))
    for row, values in zip(ROWS, table.mean(0), strict=True):
        print(f"{row:10}" + "".join(f"{value:20.3f}" for value in values))
    worse = np.stack([1 - table[..., 0], 1 - table[..., 1], np.abs(table[..., 2] - 1), 1 - table[..., 3],
                      table[..., 4]], axis=-1)
    ours = worse[:, ROWS.index("ours")]
    wins = {row: (ours < worse[:, ROWS.index(row)]).sum(0).tolist() for row in ("chart", "updated")}
    for row, counts in wins.items():
        print(f"better than {row} on " + ", ".join(f"{count} of {len(table)} ({score})" for count, score in
                                                   zip(counts, SCORES, strict=True)))
    off = np.abs(table[..., 2] - 1).mean(0)
    print("mean |open flux - 1|: " + ", ".join(f"{row} {value:.3f}" for row, value in zip(ROWS, off, strict=True)))
    return {"scores": list(SCORES), "rows": list(ROWS), "means": table.mean(0).round(4).tolist(),
            "open_flux_error": off.round(4).tolist(), "better_than": wins, "suns": table.round(4).tolist()}


def figure(tables: dict[str, np.ndarray], example: tuple) -> Figure:
    """Return the figure: the source surface of every Sun, and the maps of one."""
    maps, coronas = example
    page = Figure(figsize=(11, 8.4), dpi=150, layout="constrained")
    top, bottom = page.subfigures(2, 1, height_ratios=(1, 1.25))
    colours = dict(zip(ROWS, ("0.45", "#3b6ea5", "#c1762c", "#a01c2b", "0.75"), strict=True))
    for axes, (name, table) in zip(top.subplots(1, 2, sharey=True), tables.items(), strict=True):
        order = np.argsort(table[:, ROWS.index("chart"), 1])
        for k, row in enumerate(ROWS):
            values = table[order, k, 1]
            axes.plot(np.arange(len(values)) + 1, values, "o-" if row == "ours" else "o", ms=5, lw=1,
                      color=colours[row], label=f"{row}, mean {values.mean():.3f}",
                      zorder=3 if row == "ours" else 2)
        axes.set(xlabel="Sun, in the order of the chart's", title=f"{name} model",
                 xticks=range(1, len(table) + 1), ylim=(min(0.2, table[..., 1].min() - 0.05), 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    page.axes[0].set_ylabel("correlation of the source surface\nwith the true one")
    shown = ("truth", "ours", "chart", "naive")
    for axes, name in zip(bottom.subplots(2, 2, sharex=True, sharey=True).flat, shown, strict=True):
        image = axes.imshow(maps[name].data, origin="lower", extent=(0, 360, -1, 1), aspect="auto", cmap="gray",
                            vmin=-50, vmax=50)
        axes.contour(np.linspace(1, 359, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), coronas[name].source_surface, [0],
                     colors="#ffb000", linewidths=1.6)
        if name != "truth":
            axes.contour(np.linspace(1, 359, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), coronas["truth"].source_surface,
                         [0], colors="#ffb000", linewidths=1, linestyles="dotted")
        flux = coronas[name].open_flux
        axes.set_title(f"{name}: open flux {flux / 1e22:.1f} $\\times 10^{{22}}$ Mx", fontsize=10)
        axes.set(xticks=range(0, 361, 60), yticks=np.sin(np.radians((-60, -30, 0, 30, 60))))
        axes.set_yticklabels(["−60°", "−30°", "0°", "30°", "60°"])
    bottom.supxlabel("Carrington longitude [degrees]", fontsize=10)
    bottom.supylabel("latitude", fontsize=10)
    bottom.colorbar(image, ax=bottom.axes, extend="both", label="radial field [G]", shrink=0.8)
    bottom.suptitle(f"A synthetic Sun on {maps['ours'].date.to_value('iso')[:10]}; neutral line at 2.5 solar radii "
                    "(dotted: the true one)", fontsize=10)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", required=True, help="run of the one-channel model")
    parser.add_argument("--seven", required=True, help="run of the seven-channel model")
    parser.add_argument("--suns", type=int, default=12)
    opt = parser.parse_args()
    torch.set_num_threads(2)
    tables, examples = {}, {}
    results: dict = {"first_seed": FIRST, "shape": SHAPE}
    for name, folder, iteration, polarity in (
            ("one-channel", opt.demo, 2400, lambda seed: 1),
            ("seven-channel", opt.seven, 6400, lambda seed: -1 if seed % 2 else 1)):
        model = load(folder, iteration, average=True, device="cpu")
        tables[name], examples[name] = measure(model, opt.suns, polarity)
        results[name] = report(name, tables[name])
        (ROOT / "benchmarks" / "whole_sun.json").write_text(json.dumps(results, indent=1) + "\n")
    figure(tables, examples["seven-channel"]).savefig(ROOT / "docs" / "whole_sun_benchmark.png")


if __name__ == "__main__":
    main()
