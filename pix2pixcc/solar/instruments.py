"""Spacecraft and instruments: what each is called in headers, channels, files and pictures, and its passbands."""
from __future__ import annotations

import re
from dataclasses import dataclass

MAGNETOGRAM = "SDO/HMI magnetogram"      # the channel name of a line-of-sight magnetogram
EUVI = "STEREO/EUVI"                     # how the names of farside channels begin, whichever spacecraft they are of


@dataclass(frozen=True)
class Spacecraft:
    """One observer and its EUV instrument."""

    name: str           # as people write it: 'STEREO-B'
    keyword: str        # as the cards OBSRVTRY and INPUTDAT write it: 'STEREO_B'
    stem: str           # how the names of its files begin: 'stereo_b'
    euv: str            # how the names of its EUV channels begin: 'STEREO/EUVI-B'

    def passband(self, passband: str) -> str:
        """Return its twin of a passband in angstrom: EUVI's 195 is AIA's 193; others keep their number."""
        return (AIA_OF_EUVI if self is SDO else EUVI_OF_AIA).get(passband, passband)

    def channel(self, passband: str) -> str:
        """Return the name of its channel nearest to a passband in angstrom: 'STEREO/EUVI-B 195' for '193' and '195'."""
        return f"{self.euv} {self.passband(passband)}"


SDO = Spacecraft("SDO", "SDO", "sdo", "SDO/AIA")
STEREO_A = Spacecraft("STEREO-A", "STEREO_A", "stereo_a", "STEREO/EUVI-A")
STEREO_B = Spacecraft("STEREO-B", "STEREO_B", "stereo_b", "STEREO/EUVI-B")
STEREO = (STEREO_A, STEREO_B)
SPACECRAFT = {each.name: each for each in (SDO, *STEREO)}

AIA_PASSBANDS = ("94", "131", "171", "193", "211", "304", "335", "1600", "1700", "4500")      # angstrom
EUVI_PASSBANDS = ("171", "195", "284", "304")
AIA_OF_EUVI = {"304": "304", "195": "193", "171": "171"}      # to AIA's passband of about the same temperature
EUVI_OF_AIA = {aia: euvi for euvi, aia in AIA_OF_EUVI.items()}

_STEREO = re.compile(r"(?:STEREO[_ -]?|EUVI-)([AB])(?![A-Z])", re.IGNORECASE)
_SDO = re.compile(r"SDO|AIA|HMI")


def spacecraft_of(text: str) -> Spacecraft | None:
    """Return the spacecraft that a card, a channel or a name speaks of ('STEREO_B', 'STEREO/EUVI-B 304'), or None."""
    if match := _STEREO.search(text):
        return STEREO_A if match[1].upper() == "A" else STEREO_B
    return SDO if _SDO.search(text) else None
