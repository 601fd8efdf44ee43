"""The page `index.html` in a run's folder: how the run goes, in pictures.

Self-contained (`gallery.html` is its template: style, script and no network) and small: it links to the pictures beside it,
and the browser loads those that are looked at.
"""
from __future__ import annotations

import csv
import html
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from pix2pixcc.utils import UserError, atomic_path, natural_key, read_json, stem_of

TEMPLATE = Path(__file__).with_name("gallery.html")
SHOWN = {".png", ".jpg", ".jpeg"}                 # what every browser shows
PICTURES = SHOWN | {".tif", ".tiff"}
MOST_FILES = 500                                  # of one checkpoint that are listed


def gallery(run_folder: str | os.PathLike) -> Path:
    """Write `index.html` into a run's folder from what lies there now.

    Parameters
    ----------
    run_folder : path
        `checkpoints/<dataset_name>/`. Nothing in it is required: what is missing is left out of the page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        There is no such folder, or it cannot be written.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(f"cannot make the gallery of {folder}: there is no such folder; give a run's folder, checkpoints/<dataset_name>")
    samples = _find_samples(folder)
    best = _json_or_empty(folder / "best.json")
    content = {
        "title": _text(folder.resolve().name),
        "highlights": _highlights(samples, best, _last_losses(folder / "losses.csv")),
        "samples": _script_json({"samples": samples, "best": best.get("iteration")}),
        "losses": _losses(folder),
        "generated": _generated(folder),
        "options": _options(_json_or_empty(folder / "options.json")),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: content[match[1]], TEMPLATE.read_text(encoding="utf-8"))
    index = folder / "index.html"
    with atomic_path(index) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return index


def _text(value: object) -> str:
    """Any text, file names that are not UTF-8 included, safe between tags and in attributes."""
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def _link(folder: Path, path: Path) -> str:
    """The relative address of a file in the run's folder."""
    return quote(os.fsencode(path.relative_to(folder).as_posix()))


def _script_json(content: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content).replace("<", "\\u003c").replace("&", "\\u0026")


def _json_or_empty(path: Path) -> dict:
    try:
        return read_json(path)
    except UserError:
        return {}


def _files(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order; hidden files are still being written."""
    try:
        with os.scandir(folder) as entries:
            return sorted((Path(entry) for entry in entries if not entry.name.startswith(".")), key=natural_key)
    except OSError:
        return []


def _find_samples(folder: Path) -> list[dict]:
    """The sample pictures by iteration: `{"iteration": 5000, "name": "", "sheet": address, "real": ..., "fake": ...}`.

    `<iteration>_sheet.png` belongs to the one sample without a name, `<iteration>_sheet_<name>.png` to one of several.
    """
    found: dict[tuple[int, str], dict] = defaultdict(dict)
    for path in _files(folder / "Image" / "Train"):
        match = re.fullmatch(r"(\d+)_(sheet|real|fake)(?:_(.+))?", path.stem, re.DOTALL)
        if match and path.suffix.lower() in PICTURES:
            iteration, kind, name = int(match[1]), match[2], match[3] or ""
            found[iteration, name].update({"iteration": iteration, "name": name.encode("utf-8", "replace").decode(),
                                           kind: _link(folder, path)})
    return [found[key] for key in sorted(found)]


def _last_losses(path: Path) -> dict[str, str]:
    """The last known value of every column of `losses.csv`."""
    last: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                last.update({name: value for name, value in row.items() if name and isinstance(value, str) and value})
    except (OSError, ValueError, csv.Error):
        return {}
    return last


def _highlights(samples: list[dict], best: dict, losses: dict[str, str]) -> str:
    """The latest and the best, side by side."""
    sheets = [sample for sample in samples if _can_show(sample.get("sheet")) or _can_show(sample.get("fake"))]
    if not sheets:
        return '<p class="none">No sample pictures yet: they come every <code>--display_freq</code> iterations.</p>'
    cards = [_highlight("latest", "Latest", sheets[-1], f"iteration {sheets[-1]['iteration']}", losses)]
    if isinstance(best.get("iteration"), int):
        nearest = min(sheets, key=lambda sample: abs(sample["iteration"] - best["iteration"]))
        words = f"iteration {best['iteration']}"
        if nearest["iteration"] != best["iteration"]:
            words += f" (pictures of iteration {nearest['iteration']})"
        cards.append(_highlight("best", "Best", nearest, words, {key: value for key, value in best.items() if key != "iteration"}))
    else:
        cards.append('<p class="none">No best checkpoint: <code>--val_during_train</code> marks it.</p>')
    return "\n".join(cards)


def _can_show(address: str | None) -> bool:
    return address is not None and Path(address).suffix.lower() in SHOWN


def _highlight(identity: str, title: str, sample: dict, words: str, values: dict) -> str:
    address = sample["sheet"] if _can_show(sample.get("sheet")) else sample["fake"]
    numbers = "".join(f"<div><dt>{_text(name)}</dt> <dd>{_text(_number(value))}</dd></div>" for name, value in values.items()
                      if name != "iteration")
    return (f'<article id="{identity}"><h2>{title} <small>{_text(words)}</small></h2>'
            f'<a href="{address}"><img src="{address}" alt="sample at iteration {sample["iteration"]}"></a><dl>{numbers}</dl></article>')


def _number(value: object) -> str:
    try:
        return f"{float(str(value)):.4g}"
    except ValueError:
        return str(value)


def _losses(folder: Path) -> str:
    path = folder / "losses.png"
    if not path.is_file():
        return '<p class="none">No loss curves yet: they come with every epoch.</p>'
    # The picture is overwritten while the page is open: its time in the address keeps the browser from showing an old one.
    table = ' <a href="losses.csv">losses.csv</a>' if (folder / "losses.csv").is_file() else ""
    return f'<a href="losses.png"><img src="losses.png?{path.stat().st_mtime_ns}" alt="loss curves" loading="lazy"></a>{table}'


def _generated(folder: Path) -> str:
    """The products of each checkpoint, the newest checkpoint first and open."""
    parts: list[str] = []
    for checkpoint in reversed([path for path in _files(folder / "Image" / "Test") if path.is_dir()]):
        products = list(_products(_files(checkpoint)))
        if not products:
            continue
        cards = "\n".join(_card(folder, *product) for product in products[:MOST_FILES])
        more = len(products) - MOST_FILES
        rest = f'<p><a href="{_link(folder, checkpoint)}/">and {more} more</a></p>' if more > 0 else ""
        count = f"{len(products)} file{'s' if len(products) > 1 else ''}"
        parts.append(f'<details{"" if parts else " open"}><summary>iteration {_text(checkpoint.name)} <small>{count}</small></summary>'
                     f'<div class="cards">{cards}</div>{rest}</details>')
    return "\n".join(parts) or '<p class="none">Nothing generated yet: <code>pix2pixCC_Test.py</code> does it.</p>'


def _products(files: Iterable[Path]) -> Iterable[tuple[Path, list[Path]]]:
    """Each product with the pictures that lie beside it: `<name>.png`, `<name>.preview.png`, `<name>_story.png`."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file():
            groups[re.sub(r"[._](preview|story)$", "", stem_of(path))].append(path)
    for stem, members in groups.items():
        products = [path for path in members if stem_of(path) == stem]
        data = [path for path in products if path.suffix.lower() not in SHOWN] or products[:1]
        for product in data or members[:1]:
            pictures = [path for path in members if path.suffix.lower() in SHOWN and path not in data]
            yield product, pictures or [path for path in [product] if path.suffix.lower() in SHOWN]


def _card(folder: Path, product: Path, pictures: list[Path]) -> str:
    address = _link(folder, product)
    images = "".join(f'<a href="{_link(folder, path)}"><img src="{_link(folder, path)}" alt="" loading="lazy"></a>' for path in pictures)
    return f'<figure>{images}<figcaption><a href="{address}">{_text(product.name)}</a></figcaption></figure>'


def _options(record: dict) -> str:
    """Every option as the flag that sets it, then what else the record says."""
    if not record:
        return '<p class="none">No options.json here.</p>'
    options = record.get("options")
    options = options if isinstance(options, dict) else {}
    rows = {f"--{name}": value for name, value in options.items()} | {name: value for name, value in record.items() if name != "options"}
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value if isinstance(value, str) else json.dumps(value))}</td></tr>"
                    for name, value in rows.items())
    return f'<input type="search" id="search" placeholder="find an option" aria-label="find an option"><table>{cells}</table>'
