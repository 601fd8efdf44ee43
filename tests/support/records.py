"""Records of an index that no file stands behind."""
from datetime import datetime, timedelta

from pix2pixcc.preparation.index import Record
from pix2pixcc.solar.instruments import MAGNETOGRAM

START = datetime(2011, 3, 5, 12)


def record(name, minutes=0.0, **facts):
    when = START + timedelta(minutes=minutes)
    return Record(facts.pop("path", f"{name} {minutes:g}"), 1, 1.0, name, when.isoformat(), **facts)


def sdo(minutes=0.0, passbands=("304", "193", "171")):
    return [record(f"SDO/AIA {passband}", minutes) for passband in passbands] + [record(MAGNETOGRAM, minutes)]
