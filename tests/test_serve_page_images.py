"""The page of a passage as an image, its box marked."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from small_bot import write_manuals

from emendo.records import Box, UserError
from serve.page_images import WIDTH, page_image
from serve.quoted_lines import columns


def decoded(url: str):  # type: ignore[no-untyped-def]
    from PIL import Image

    head, _, data = url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def is_yellow(pixel: tuple[int, int, int]) -> bool:
    return pixel[0] > 230 and pixel[1] > 215 and pixel[2] < 200


def yellow_rows(image: Any, x: float) -> tuple[float, float]:
    """The first and the last yellow point from the top in the column at x, both in points of a page 400 wide."""
    scale = WIDTH / 400
    rows = [y / scale for y in range(image.height) if is_yellow(image.getpixel((int(x * scale), y)))]
    return rows[0], rows[-1]


def test_the_box_is_marked_and_only_the_box(tmp_path: Path) -> None:
    write_manuals(tmp_path)
    image = decoded(page_image(tmp_path / "kettle.pdf", 1, [Box(1, 40, 90, 200, 104), Box(2, 0, 0, 400, 300)]).url)
    assert image.size == (WIDTH, round(300 * WIDTH / 400))
    top, bottom = yellow_rows(image, 195)
    assert 85 < top < 92
    assert 102 < bottom < 109


def test_another_page_of_the_passage_is_drawn_without_marks(tmp_path: Path) -> None:
    write_manuals(tmp_path)
    image = decoded(page_image(tmp_path / "kettle.pdf", 2, [Box(1, 40, 90, 200, 104)]).url)
    assert not any(is_yellow(pixel) for pixel in image.resize((90, 68)).get_flattened_data())


@pytest.mark.parametrize(("content", "page"), [(b"not a pdf", 1), (None, 9)])
def test_a_broken_file_or_page_says_so(tmp_path: Path, content: bytes | None, page: int) -> None:
    write_manuals(tmp_path)
    path = tmp_path / "kettle.pdf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"kettle\.pdf: the page cannot be drawn"):
        page_image(path, page)


def test_the_quoted_sentence_is_marked_on_the_page_where_it_stands(tmp_path: Path) -> None:
    write_manuals(tmp_path)
    passage = [Box(1, 40, 50, 300, 104), Box(2, 40, 90, 300, 104)]
    quotes = ["This page is about  de-scaling!"]  # its letters count, not its spaces and hyphens
    drawn = page_image(tmp_path / "kettle.pdf", 0, passage, quotes)
    assert drawn.page == 2
    top, bottom = yellow_rows(decoded(drawn.url), 100)
    assert 85 < top < bottom < 106
    assert drawn.top == pytest.approx(top / 300, abs=0.01)
    drawn = page_image(tmp_path / "kettle.pdf", 1, passage, quotes)
    assert drawn.page == 1
    assert not any(is_yellow(pixel) for pixel in decoded(drawn.url).resize((90, 68)).get_flattened_data()), (
        "framed, but not quoted"
    )
    assert drawn.top == 0


@pytest.mark.parametrize("quotes", [[], ["It lasts for nearly two days."]])
def test_a_passage_of_which_nothing_is_quoted_word_for_word_is_marked_whole(tmp_path: Path, quotes: list[str]) -> None:
    write_manuals(tmp_path)
    drawn = page_image(tmp_path / "kettle.pdf", 0, [Box(1, 40, 50, 300, 104)], quotes)
    assert drawn.page == 1
    assert is_yellow(decoded(drawn.url).getpixel((int(290 * WIDTH / 400), int(60 * WIDTH / 400))))


def test_the_same_words_outside_the_passage_are_not_marked(tmp_path: Path) -> None:
    write_table(tmp_path / "codes.pdf")
    drawn = page_image(tmp_path / "codes.pdf", 0, [Box(1, 40, 140, 380, 200)], ["Error E4 | Pump blocked | Descale it"])
    for x in (60, 150, 260):
        top, bottom = yellow_rows(decoded(drawn.url), x)
        assert 145 < top < bottom < 166, "the row of the passage, each of its cells, and no other row"


def write_table(path: Path) -> None:
    """The same row above and below; the columns are written one after the other, so that a row is in pieces in the file."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(400, 300))
    for x, words in ((50, ("Error E4", "Error E9")), (140, ("Pump blocked", "Boiler hot")), (250, ("Descale it", "Let it cool"))):
        for top in (60, 160):
            canvas.drawString(x, 300 - top, words[0])
            canvas.drawString(x, 300 - top - 20, words[1])
    canvas.save()


def test_a_passage_in_two_columns_has_a_frame_in_each() -> None:
    left, below, right = (10.0, 500.0, 90.0, 520.0), (10.0, 530.0, 95.0, 560.0), (110.0, 20.0, 190.0, 60.0)
    assert columns([left, below, right]) == [(10.0, 500.0, 95.0, 560.0), right]
