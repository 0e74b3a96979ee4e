"""What a server's heaps keep of freed memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FREED = """
import sys, time
import psutil
import serve.heaps

def own() -> int:
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared

serve.heaps._EVERY = 0.05
if sys.argv[1] == "small":
    serve.heaps.keep_heaps_small()
before = own()
held = [bytes(60_000) for _ in range(2000)]  # 120 MB, each piece too small for a mapping of its own
held = held[-1:]  # and this one lies behind them all
end = time.monotonic() + 20
while sys.argv[1] == "small" and own() - before > 10_000_000 and time.monotonic() < end:
    time.sleep(0.05)
print(own() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_goes_back_to_the_system() -> None:
    def kept(heaps: str) -> int:
        root = Path(__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", FREED, heaps], cwd=root, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert kept("as they are") > 60_000_000
    assert kept("small") < 10_000_000
