"""Every flag of every command, in named groups. Imports nothing heavy, so that `--help` is instant."""
from __future__ import annotations
