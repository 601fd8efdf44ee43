"""The page `index.html` in a run's folder: how the run goes, in pictures.

It needs no network (`gallery.html`, its template, holds style and script) and stays small: it links to the pictures
beside it, and the browser loads those that are looked at.
"""
from __future__ import annotations

import csv
import html
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from pix2pixcc.utils import UserError, atomic_path, natural_key, read_json, stem_of

TEMPLATE = Path(__file__).with_name("gallery.html")
SHOWN = {".png", ".jpg", ".jpeg"}                 # what every browser shows
PICTURES = SHOWN | {".tif", ".tiff"}
MOST_FILES = 500                                  # of one checkpoint that are listed


def gallery(run_folder: str | os.PathLike, *, with_products: bool = True) -> Path:
    """Write `index.html` into a run's folder from what lies there now, and return its path.

    Nothing in `checkpoints/<dataset_name>/` is required: what is missing is left out of the page.

    Parameters
    ----------
    with_products : bool
        Whether generated files are listed; else the page only leads to their folders, of which none is read: there may
        be a hundred thousand files, and a training writes this page again and again.

    Raises
    ------
    UserError
        There is no such folder, or it cannot be written.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(f"cannot make the gallery of {folder}: there is no such folder; "
                        "give a run's folder, checkpoints/<dataset_name>")
    samples = _find_samples(folder)
    best = _json_or_empty(folder / "best.json")
    content = {
        "title": _text(folder.resolve().name),
        "highlights": _highlights(samples, best, _last_losses(folder / "losses.csv")),
        "samples": _script_json({"samples": samples, "best": best.get("iteration")}),
        "losses": _losses(folder),
        "generated": _generated(folder, with_products),
        "options": _options(_json_or_empty(folder / "options.json")),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: content[match[1]], TEMPLATE.read_text(encoding="utf-8"))
    index = folder / "index.html"
    with atomic_path(index) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return index


def _text(value: object) -> str:
    """Return any text, also a file name that is not UTF-8, safe between tags and in attributes."""
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def _link(folder: Path, path: Path) -> str:
    """Return the relative address of a file in the run's folder."""
    return quote(os.fsencode(path.relative_to(folder).as_posix()))


def _script_json(content: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    return json.dumps(content).replace("<", "\\u003c").replace("&", "\\u0026")


def _json_or_empty(path: Path) -> dict:
    try:
        return read_json(path)
    except UserError:
        return {}


def _files(folder: Path) -> list[Path]:
    """List a folder in natural order, without hidden files: those are still being written."""
    try:
        with os.scandir(folder) as entries:
            return sorted((Path(entry) for entry in entries if not entry.name.startswith(".")), key=natural_key)
    except OSError:
        return []


def _find_samples(folder: Path) -> list[dict]:
    """Return the sample pictures by iteration: `{"iteration": 5000, "sheet": address, "real": ..., "fake": ...}`."""
    found: dict[int, dict] = defaultdict(dict)
    for path in _files(folder / "Image" / "Train"):
        match = re.fullmatch(r"(\d+)_(sheet|real|fake)", path.stem)
        if match and path.suffix.lower() in PICTURES:
            found[int(match[1])].update({"iteration": int(match[1]), match[2]: _link(folder, path)})
    return [found[iteration] for iteration in sorted(found)]


def _last_losses(path: Path) -> dict[str, str]:
    """Return the last known value of every column of `losses.csv`."""
    last: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                last |= {name: value for name, value in row.items() if name and isinstance(value, str) and value}
    except (OSError, ValueError, csv.Error):
        return {}
    return last


def _highlights(samples: list[dict], best: dict, losses: dict[str, str]) -> str:
    """Return the latest and the best sample, side by side."""
    sheets = [sample for sample in samples if _can_show(sample.get("sheet")) or _can_show(sample.get("fake"))]
    if not sheets:
        return '<p class="none">No sample pictures yet: they come every <code>--display_freq</code> iterations.</p>'
    latest = sheets[-1]
    cards = [_highlight("latest", "Latest", latest, f"iteration {latest['iteration']}", losses)]
    if isinstance(best.get("iteration"), int):
        nearest = min(sheets, key=lambda sample: abs(sample["iteration"] - best["iteration"]))
        words = f"iteration {best['iteration']}"
        if nearest["iteration"] != best["iteration"]:
            words += f" (pictures of iteration {nearest['iteration']})"
        cards.append(_highlight("best", "Best", nearest, words, best))
    else:
        cards.append('<p class="none">No best checkpoint: <code>--val_during_train</code> marks it.</p>')
    return "\n".join(cards)


def _can_show(address: str | None) -> bool:
    return address is not None and Path(address).suffix.lower() in SHOWN


def _highlight(identity: str, title: str, sample: dict, words: str, values: dict) -> str:
    address = sample["sheet"] if _can_show(sample.get("sheet")) else sample["fake"]
    numbers = "".join(f"<div><dt>{_text(name)}</dt> <dd>{_text(_number(value))}</dd></div>"
                      for name, value in values.items() if name != "iteration")
    return (f'<article id="{identity}"><h2>{title} <small>{_text(words)}</small></h2><a href="{address}">'
            f'<img src="{address}" alt="sample at iteration {sample["iteration"]}"></a><dl>{numbers}</dl></article>')


def _number(value: object) -> str:
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)


def _losses(folder: Path) -> str:
    path = folder / "losses.png"
    if not path.is_file():
        return '<p class="none">No loss curves yet: they come with every epoch.</p>'
    table = ' <a href="losses.csv">losses.csv</a>' if (folder / "losses.csv").is_file() else ""
    # The picture is overwritten while the page is open: its time in the address makes the browser load it again.
    address = f"losses.png?{path.stat().st_mtime_ns}"
    return f'<a href="losses.png"><img src="{address}" alt="loss curves" loading="lazy"></a>{table}'


def _generated(folder: Path, with_products: bool) -> str:
    """Return the products of each checkpoint, or links to them, the newest checkpoint first and open."""
    parts: list[str] = []
    for checkpoint in reversed([path for path in _files(folder / "Image" / "Test") if path.is_dir()]):
        name = f'iteration {_text(checkpoint.name.replace("_ema", ", moving average"))}'
        if not with_products:
            parts.append(f'<p><a href="{_link(folder, checkpoint)}/">{name}</a></p>')
            continue
        products = list(_products(_files(checkpoint)))
        if not products:
            continue
        cards = "\n".join(_card(folder, *product) for product in products[:MOST_FILES])
        more = len(products) - MOST_FILES
        rest = f'<p><a href="{_link(folder, checkpoint)}/">and {more} more</a></p>' if more > 0 else ""
        count = "1 file" if len(products) == 1 else f"{len(products)} files"
        is_open = "" if parts else " open"
        parts.append(f"<details{is_open}><summary>{name} <small>{count}</small></summary>"
                     f'<div class="cards">{cards}</div>{rest}</details>')
    return "\n".join(parts) or '<p class="none">Nothing generated yet: <code>pix2pixCC_Test.py</code> does it.</p>'


def _products(files: Iterable[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Yield each product with its preview, which lies beside it: `<name>.png` or `<name>.preview.png`."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file():
            groups[stem_of(path).removesuffix(".preview")].append(path)
    for stem, members in groups.items():
        pictures = [path for path in members if path.suffix.lower() in SHOWN]
        data = [path for path in members if path not in pictures and stem_of(path) == stem]
        data = data or pictures[:1] or members[:1]     # where there is no data the product is a picture itself
        previews = [path for path in pictures if path not in data] or pictures
        for product in data:
            yield product, previews[0] if previews else None


def _card(folder: Path, product: Path, picture: Path | None) -> str:
    image = "" if picture is None else _link(folder, picture)
    shown = f'<a href="{image}"><img src="{image}" alt="" loading="lazy"></a>' if image else ""
    name = f'<a href="{_link(folder, product)}">{_text(product.name)}</a>'
    return f"<figure>{shown}<figcaption>{name}</figcaption></figure>"


def _options(record: dict) -> str:
    """Return every option as the flag that sets it, then what else the record says."""
    if not record:
        return '<p class="none">No options.json here.</p>'
    options = record.get("options")
    options = options if isinstance(options, dict) else {}
    rows = {f"--{name}": value for name, value in options.items()}
    rows |= {name: value for name, value in record.items() if name not in ("options", "former")}
    cells = "".join(f"<tr><th>{_text(name)}</th>"
                    f"<td>{_text(value if isinstance(value, str) else json.dumps(value))}</td></tr>"
                    for name, value in rows.items())
    return ('<input type="search" id="search" placeholder="find an option" aria-label="find an option">'
            f"<table>{cells}</table>")
