"""A page of a PDF as an image, the cited passage boxed and what is quoted of it marked.

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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from emendo.records import Box, UserError
from serve.quoted_lines import Frame, columns, quoted_lines

ROOT = Path(__file__).parent.parent  # `-m` finds the packages from here, installed or not
WIDTH = 900  # pixels
MEMORY = 2 * 2**30  # bytes
SECONDS = 30


@dataclass(frozen=True)
class PageImage:
    page: int  # 1-based
    top: float  # where the first mark begins, 0 (top of the page) to 1; 0 without a mark
    image: bytes  # WebP

    @property
    def url(self) -> str:
        return "data:image/webp;base64," + base64.b64encode(self.image).decode()


def page_image(path: Path, page: int, boxes: Sequence[Box] = (), quotes: Sequence[str] = ()) -> PageImage:
    """Page `page` (1-based), the passage's boxes framed and the quotes in it marked.

    Page 0 is the one where the first quote begins, else the passage's first. Raises UserError when it cannot be drawn.
    """
    corners = tuple((box.page, (box.x0, box.y0, box.x1, box.y1)) for box in boxes)
    return _drawn(path, path.stat().st_mtime_ns, page, corners, tuple(quotes))


@lru_cache(maxsize=64)
def _drawn(path: Path, _changed: int, page: int, corners: tuple[Any, ...], quotes: tuple[str, ...]) -> PageImage:
    head, _, image = _child({"path": str(path), "page": page, "corners": corners, "quotes": quotes}).partition(b"\n")
    number, top = head.split()
    return PageImage(int(number), float(top), image)


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


def draw(path: str, page: int, corners: Sequence[tuple[int, Frame]], quotes: Sequence[str]) -> PageImage:
    """The page, `WIDTH` pixels wide; corners are page, (x0, y0, x1, y1) in points from the top left.

    Where no quote is found the whole passage is marked.
    """
    import pypdfium2
    from PIL import Image, ImageChops, ImageDraw

    document = pypdfium2.PdfDocument(path)
    scales = {at: WIDTH / document[at - 1].get_width() for at, _ in corners}
    passage = [
        (at, (x0 * scales[at] - 4, y0 * scales[at] - 3, x1 * scales[at] + 4, y1 * scales[at] + 3))
        for at, (x0, y0, x1, y1) in corners
    ]
    lines = quoted_lines(document, passage, quotes, WIDTH)
    page = page or (lines or passage)[0][0]
    sheet = document[page - 1]
    image = sheet.render(scale=WIDTH / sheet.get_width()).to_pil().convert("RGB")
    marker = Image.new("RGB", image.size, "white")
    marks = [frame for at, frame in lines or passage if at == page]
    for frame in marks:
        ImageDraw.Draw(marker).rectangle(frame, fill="#fff0a8")
    image = ImageChops.multiply(image, marker)  # like a highlighter: the print stays black
    for frame in columns(frame for at, frame in passage if at == page):
        ImageDraw.Draw(image).rectangle(frame, outline="#b3402a", width=2)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80)
    return PageImage(page, max(marks[0][1], 0) / image.height if marks else 0, out.getvalue())


def main() -> None:
    """Read a request from standard input, write the image to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    request = json.loads(sys.stdin.read())
    drawn = draw(**request)
    sys.stdout.buffer.write(f"{drawn.page} {drawn.top:.4f}\n".encode() + drawn.image)


if __name__ == "__main__":
    main()
