"""A page of a PDF as an image with the cited passage boxed.

PDFium is not safe for threads and reads files that strangers made, so each page is drawn in a process of its own with a limit
on memory and time. The image goes to the browser inside the page, never through a public file cache.
"""

from __future__ import annotations

import base64
import io
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from emendo.records import Box, UserError

ROOT = Path(__file__).parent.parent  # `-m` finds the packages from here, installed or not
WIDTH = 900  # pixels
MEMORY = 2 * 2**30  # bytes
SECONDS = 30


def page_image(path: Path, page: int, boxes: Sequence[Box] = ()) -> str:
    """A `data:image/webp` URL of page `page` (1-based) with its boxes marked.

    Raises UserError when the page cannot be drawn.
    """
    corners = tuple((box.x0, box.y0, box.x1, box.y1) for box in boxes if box.page == page)
    return "data:image/webp;base64," + base64.b64encode(_drawn(path, path.stat().st_mtime_ns, page, corners)).decode()


@lru_cache(maxsize=64)
def _drawn(path: Path, _changed: int, page: int, corners: tuple[tuple[float, ...], ...]) -> bytes:
    return _child({"path": str(path), "page": page, "corners": corners})


def _child(request: dict[str, object]) -> bytes:
    command = [sys.executable, "-m", "serve.page_images"]
    asked = json.dumps(request).encode()
    try:
        done = subprocess.run(command, input=asked, cwd=ROOT, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{request['path']}: drawing the page took more than {SECONDS} s; the file may be damaged") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["the reader stopped"]
        raise UserError(f"{Path(str(request['path'])).name}: the page cannot be drawn ({reason[0]}); index the file again")
    return done.stdout


def draw(path: str, page: int, corners: Sequence[Sequence[float]]) -> bytes:
    """The page as WebP, `WIDTH` pixels wide; corners are x0, y0, x1, y1 in points from the top left."""
    import pypdfium2
    from PIL import Image, ImageChops, ImageDraw

    document = pypdfium2.PdfDocument(path)
    sheet = document[page - 1]
    scale = WIDTH / sheet.get_width()
    image = sheet.render(scale=scale).to_pil().convert("RGB")
    marker = Image.new("RGB", image.size, "white")
    pen = ImageDraw.Draw(marker)
    frames = [(x0 * scale - 4, y0 * scale - 3, x1 * scale + 4, y1 * scale + 3) for x0, y0, x1, y1 in corners]
    for frame in frames:
        pen.rectangle(frame, fill="#fff0a8")
    image = ImageChops.multiply(image, marker)  # like a highlighter: the print stays black
    if frames:
        left, top, right, bottom = zip(*frames, strict=True)
        ImageDraw.Draw(image).rectangle((min(left), min(top), max(right), max(bottom)), outline="#b3402a", width=2)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80)
    return out.getvalue()


def main() -> None:
    """Read a request from standard input, write the image to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    request = json.loads(sys.stdin.read())
    sys.stdout.buffer.write(draw(**request))


if __name__ == "__main__":
    main()
