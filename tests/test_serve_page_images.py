"""The page of a passage as an image, its box marked."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from small_bot import write_manuals

from emendo.records import Box, UserError
from serve.page_images import WIDTH, page_image


def decoded(url: str):  # type: ignore[no-untyped-def]
    from PIL import Image

    head, _, data = url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def is_yellow(pixel: tuple[int, int, int]) -> bool:
    return pixel[0] > 230 and pixel[1] > 215 and pixel[2] < 200


def test_the_box_is_marked_and_only_the_box(tmp_path: Path) -> None:
    write_manuals(tmp_path)
    image = decoded(page_image(tmp_path / "kettle.pdf", 1, [Box(1, 40, 90, 200, 104), Box(2, 0, 0, 400, 300)]))
    scale = WIDTH / 400
    assert image.size == (WIDTH, round(300 * scale))
    column = [is_yellow(image.getpixel((int(195 * scale), y))) for y in range(image.height)]
    marked = [y / scale for y, yellow in enumerate(column) if yellow]
    assert 85 < min(marked) < 92
    assert 102 < max(marked) < 109


def test_another_page_of_the_passage_is_drawn_without_marks(tmp_path: Path) -> None:
    write_manuals(tmp_path)
    image = decoded(page_image(tmp_path / "kettle.pdf", 2, [Box(1, 40, 90, 200, 104)]))
    assert not any(is_yellow(pixel) for pixel in image.resize((90, 68)).get_flattened_data())


@pytest.mark.parametrize(("content", "page"), [(b"not a pdf", 1), (None, 9)])
def test_a_broken_file_or_page_says_so(tmp_path: Path, content: bytes | None, page: int) -> None:
    write_manuals(tmp_path)
    path = tmp_path / "kettle.pdf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"kettle\.pdf: the page cannot be drawn"):
        page_image(path, page)
