"""Freed memory stays with the process, but not much of it once room is needed."""
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from pathlib import Path
from pix2pixcc.parallel.heap import keep_freed_memory, return_freed_memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

keep_freed_memory()
before = megabytes()
blocks = [bytearray(b"x" * 10_000_000) for _ in range({blocks})]
del blocks
kept = megabytes() - before
return_freed_memory()
print(kept, megabytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
@pytest.mark.parametrize("blocks, is_returned", [(40, True), (10, False)])
def test_what_is_freed_is_kept_until_it_is_much(blocks, is_returned):
    program = PROGRAM.format(blocks=blocks)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, left = map(float, done.stdout.split())
    assert kept > 9 * blocks
    assert (left < 0.2 * kept) == is_returned
