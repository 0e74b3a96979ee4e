"""PowerPoint and Excel manuals, scans read by OCR, and contexts written by a model."""

from __future__ import annotations

import datetime
import io
import shutil
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from langchain_core.messages import BaseMessage
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import numbers
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.oxml.ns import qn
from pptx.util import Inches
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Paragraph
from sample_manuals import BODY, HEAD, PROSE, Draw, blocks, make_pdf, make_zip, outline, parse_text, texts

from emendo.records import Block, UserError
from emendo.scripted_model import ScriptedChatModel
from rag.context import ContextCost, ContextWriter, check_writer
from rag.embedder import HashEmbedder
from rag.index import indexed_text, open_index
from rag.ingest import IngestSummary, delete_documents, ingest
from rag.manuals import ManualFile, find_manuals, parse
from rag.ocr import check_ocr
from rag.parse_pdf import name_pages

BOX = (Inches(1), Inches(2), Inches(6), Inches(3))


def make_pptx() -> bytes:
    deck = Presentation()
    title, divider, plain, pictures = (deck.slide_layouts[n] for n in (0, 2, 1, 5))
    first = deck.slides.add_slide(title)
    first.shapes.title.text = "Lumo 3"
    first.placeholders[1].text = "Service training"
    deck.slides.add_slide(divider).shapes.title.text = "Repair"
    steps = deck.slides.add_slide(plain)
    steps.shapes.title.text = "Replace\vthe bulb"
    steps.placeholders[1].text = "Wait until the lamp is cold.\nTurn the bulb to the left.\nWARNING: Unplug the lamp first."
    for paragraph in list(steps.placeholders[1].text_frame.paragraphs)[:2]:
        paragraph._p.get_or_add_pPr().append(paragraph._p.makeelement(qn("a:buAutoNum"), {"type": "arabicPeriod"}))
    steps.notes_slide.notes_text_frame.text = "Bulbs are sold in packs of two."
    table = deck.slides.add_slide(pictures)
    table.shapes.title.text = "Codes"
    cells = table.shapes.add_table(3, 2, *BOX).table
    for n, text in enumerate(("Code", "Meaning", "E1", "Too hot", "", "Fan blocked")):
        cells.cell(n // 2, n % 2).text = text
    cells.cell(1, 0).merge(cells.cell(2, 0))
    chart = deck.slides.add_slide(pictures)
    data = CategoryChartData()
    data.categories = ["Low", "High"]
    data.add_series("Watt", (3, 12.5))
    chart.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *BOX, data)
    hidden = deck.slides.add_slide(plain)
    hidden.shapes.title.text = "Draft"
    hidden.placeholders[1].text = "Not for customers."
    hidden.element.set("show", "0")
    target = io.BytesIO()
    deck.save(target)
    return target.getvalue()


def test_slides_are_sections_with_pages_tables_charts_and_notes(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "training.pptx", make_pptx())
    assert (manual.document.title, manual.document.pages) == ("Lumo 3", 6)
    assert outline(manual) == [("Lumo 3",), ("Repair", "Replace the bulb"), ("Repair", "Codes"), ("Repair", "Slide 5")]
    assert [(block.kind, block.text, block.page) for block in manual.sections[1].blocks] == [
        ("step", "1. Wait until the lamp is cold.", 3),
        ("step", "2. Turn the bulb to the left.", 3),
        ("warning", "WARNING: Unplug the lamp first.", 3),
        ("paragraph", "Bulbs are sold in packs of two.", 3),
    ]
    assert texts(manual, "table") == ["Code | Meaning\nE1 | Too hot\nE1 | Fan blocked", " | Watt\nLow | 3\nHigh | 12.5"]
    assert not any("Not for customers" in text for text in texts(manual))


def make_xlsx() -> bytes:
    book = Workbook()
    codes = book.active
    codes.title = "Error codes"
    for row in (["Codes of the Lumo 3"], ["Code", "Cause", "Share"], ["E1", "Too hot", 0.25], ["", "Fan blocked", 0.5], []):
        codes.append(row)
    for row in (["Parts"], ["Part", "Price", "Since"], ["Bulb", 4.5, datetime.datetime(2026, 3, 1)], ["Arm", 12.0, None]):
        codes.append(row)
    codes.merge_cells("A3:A4")
    codes["B3"].comment = Comment("Let it cool for ten minutes.", "ana")
    for cell in ("C3", "C4"):
        codes[cell].number_format = numbers.FORMAT_PERCENTAGE
    codes.cell(1_048_576, 1).value = None  # a sheet that claims a million rows
    book.create_sheet("Lists").append(["not shown"])
    book["Lists"].sheet_state = "hidden"
    book.create_sheet("Empty")
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def test_sheets_are_sections_with_tables_and_comments(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "lumo-codes.xlsx", make_xlsx())
    assert manual.document.title == "Lumo codes"
    assert outline(manual) == [("Error codes",)]
    assert [(block.kind, block.text) for block in blocks(manual)] == [
        ("paragraph", "Codes of the Lumo 3"),
        ("table", "Code | Cause | Share\nE1 | Too hot | 25 %\nE1 | Fan blocked | 50 %"),
        ("paragraph", "Parts"),
        ("table", "Part | Price | Since\nBulb | 4.5 | 2026-03-01\nArm | 12 | "),
        ("paragraph", "Too hot: Let it cool for ten minutes."),
    ]


@pytest.mark.parametrize("suffix", [".pptx", ".xlsx"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\xd0\xcf\x11\xe0 locked", "protected by a password"),
        (b"PK\x03\x04 cut", "not a readable"),
        (make_xlsx().replace(b"xl/workbook.xml", b"xl/workbook.xm_", 1), "not a readable"),
    ],
)
def test_bad_office_files_name_the_file_and_the_cure(tmp_path: Path, suffix: str, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_text(tmp_path, f"bad{suffix}", data)
    assert f"bad{suffix}" in str(caught.value)


def test_an_office_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name, data in (("a.pptx", make_xlsx()), ("a.xlsx", make_pptx()), ("a.docx", make_xlsx())):
        with pytest.raises(UserError, match="not a readable"):
            parse_text(tmp_path, name, data)
    archive = make_zip(tmp_path / "x.zip", {"a.txt": b"hello"}).read_bytes()
    for suffix in (".pptx", ".xlsx", ".docx"):
        with pytest.raises(UserError, match="not a readable"):
            parse_text(tmp_path, f"b{suffix}", archive)


def test_a_folder_and_a_zip_hold_every_kind(tmp_path: Path) -> None:
    members = {"a.pptx": make_pptx(), "b/c.xlsx": make_xlsx(), "d.md": b"# D\n\nText."}
    sources = [file.source for file in find_manuals(make_zip(tmp_path / "set.zip", members))]
    assert sources == ["a.pptx", "b/c.xlsx", "d.md"]
    assert [file.source for file in find_manuals(tmp_path)] == [f"set.zip/{source}" for source in sources]


def test_a_table_200_columns_wide_is_cut_by_columns_that_keep_the_first(tmp_path: Path) -> None:
    head = ",".join(["Model", *(f"Setting {n}" for n in range(1, 200))])
    rows = [",".join([name, *(f"{name}{n}" for n in range(1, 200))]) for name in ("K1", "K2")]
    tables = texts(parse_text(tmp_path, "wide.csv", "\n".join([head, *rows])), "table")
    assert len(tables) > 5 and all(table.startswith("Model | Setting") and len(table) < 800 for table in tables)
    (found,) = [table for table in tables if "Setting 137" in table]
    column = found.split("\n")[0].split(" | ").index("Setting 137")
    assert [line.split(" | ")[column] for line in found.split("\n")[1:]] == ["K1137", "K2137"]
    assert blocks(parse_text(tmp_path, "long.csv", f"Name,Text\nK1,{'word ' * 200}\n"))[0] == Block(
        "table", "Name | Text\nK1 | " + ("word " * 200).strip()
    )


def make_scan(pages: list[Draw]) -> bytes:
    """The pages as pictures of themselves, as a scanner makes them; two pages of words follow."""
    drawn = pdfium.PdfDocument(make_pdf(pages))
    pictures = [ImageReader(drawn[n].render(scale=150 / 72).to_pil().convert("L")) for n in range(len(pages))]
    shown: list[Draw] = [lambda c, p=p: c.drawImage(p, 0, 0, 612, 792) and [] for p in pictures]  # type: ignore[misc]
    return make_pdf([*shown, *[lambda c: [Paragraph(PROSE, BODY)]] * 2])


def test_scanned_pages_are_named_with_the_cure(tmp_path: Path) -> None:
    data = make_scan([lambda c: [Paragraph(PROSE, BODY)]] * 2)
    manual = parse_text(tmp_path, "scan.pdf", data)
    assert manual.document.warnings == ("pages 1-2 without text (if they are scans, add: --set index.ocr=eng)",)
    assert name_pages([2, 5, 6, 7, 9]) == "pages 2, 5-7, 9"


def test_ocr_reads_scanned_pages_with_headings_and_boxes(tmp_path: Path) -> None:
    try:
        check_ocr("eng")
    except UserError as error:
        pytest.skip(str(error))
    page: Draw = lambda c: [  # noqa: E731
        Paragraph("Replacing the bulb", HEAD),
        Paragraph(PROSE, BODY),
        Paragraph("1. Wait for 20 minutes.", BODY),
        Paragraph("WARNING: Hot surface.", BODY),
    ]
    (tmp_path / "scan.pdf").write_bytes(make_scan([page]))
    manual = parse(ManualFile(tmp_path / "scan.pdf", "scan.pdf"), ocr="eng")
    assert outline(manual) == [("Replacing the bulb",)]
    assert texts(manual)[:3] == [PROSE.strip(), "1. Wait for 20 minutes.", "WARNING: Hot surface."]
    box = blocks(manual)[0].boxes[0]
    assert box.page == 1 and 65 < box.x0 < 80 and box.x1 < 545 and 85 < box.y0 < box.y1 < 160  # points from the top left
    assert manual.document.warnings == ("page 1 read by OCR: check numbers against the page",)


def test_ocr_that_is_not_installed_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("# A\n\nText.")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt install tesseract-ocr"):
        ingest(tmp_path / "index", tmp_path / "a.md", HashEmbedder(), ocr="eng")


def test_an_unknown_ocr_language_is_told(tmp_path: Path) -> None:
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed")
    with pytest.raises(UserError, match=r"no language 'tlh'.*apt install tesseract-ocr-tlh"):
        check_ocr("eng+tlh")


LONG_SCRIPT = "This passage of the Lumo manual tells how the zephyr lamp is cared for. " * 12


class CountingModel(ScriptedChatModel):
    """Counts its calls; fails from the given one on."""

    fails_at: int = 10**6
    calls: list[str] = []  # noqa: RUF012  (a pydantic field, copied per instance)

    def _reply(self, messages: list[BaseMessage]) -> str:
        if len(self.calls) >= self.fails_at:
            raise ConnectionError("the server went away")
        self.calls.append(str(messages[-1].content))
        return super()._reply(messages)


def index_with(tmp_path: Path, model: CountingModel, costs: list[ContextCost], spec: str = "openai:x#y") -> IngestSummary:
    return ingest(tmp_path / "index", tmp_path / "m", HashEmbedder(), contexts=ContextWriter(model, spec, costs.append))


@pytest.fixture
def lamps(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    parts = "".join(f"## Part {n}\n\nTurn screw number {n} to the left.\n\n" for n in range(20))
    (tmp_path / "m" / "lamp.md").write_text(f"# Lumo 3\n\n{parts}")
    return tmp_path / "m"


def test_contexts_are_searched_but_never_shown(tmp_path: Path, lamps: Path) -> None:
    costs: list[ContextCost] = []
    model = CountingModel(otherwise=f"<think>hm</think>{LONG_SCRIPT}")
    index_with(tmp_path, model, costs)
    assert [(cost.calls, cost.cached) for cost in costs] == [(20, 0)] and len(model.calls) == 20
    assert costs[0].prompt_tokens > 20 * 100 and costs[0].reply_tokens > 0
    (asked,) = [call for call in model.calls if "> Part 5\n" in call]
    assert "<before>Turn screw number 4" in asked and "<after>Turn screw number 6" in asked
    embedder = HashEmbedder()
    index = open_index(tmp_path / "index", embedder)
    (found,) = index.get_chunks([index.lexical("zephyr screw 7", 1)[0][0]])
    assert found.text == "Turn screw number 7 to the left." and "zephyr" not in f"{found.header}{found.text}"
    assert found.context.startswith("This passage of the Lumo manual") and embedder.count_tokens(found.context) <= 64
    assert max(embedder.count_tokens(indexed_text(chunk)) for chunk in index.chunks("lamp")) <= embedder.max_tokens


def test_contexts_are_kept_when_the_model_fails_and_paid_for_once(tmp_path: Path, lamps: Path) -> None:
    costs: list[ContextCost] = []
    with pytest.raises(UserError, match=r"ConnectionError: the server went away.*16 of 20 contexts are written and kept"):
        index_with(tmp_path, CountingModel(fails_at=16), costs)
    assert index_with(tmp_path, CountingModel(), costs).added == 1
    assert [(cost.calls, cost.cached) for cost in costs] == [(20, 0), (4, 16)]
    assert index_with(tmp_path, CountingModel(), costs).unchanged == 1 and len(costs) == 2
    lamp = lamps / "lamp.md"
    lamp.write_text(lamp.read_text().replace("screw number 19", "bolt number 19"))
    assert index_with(tmp_path, CountingModel(), costs).replaced == 1
    assert costs[-1].calls == 2, "the changed passage and the one that has it as its neighbour"
    assert ingest(tmp_path / "index", lamps, HashEmbedder()).replaced == 1, "without contexts the passages are made anew"
    delete_documents(tmp_path / "index", HashEmbedder(), ["lamp"])
    assert b"screw" not in (tmp_path / "index" / "contexts.sqlite").read_bytes()
    index_with(tmp_path, CountingModel(), costs)
    assert costs[-1].calls == 20, "a deleted document leaves no contexts"


@pytest.mark.parametrize("spec", ["quote", "hf:bundled"])
def test_models_that_only_copy_write_no_contexts(spec: str) -> None:
    with pytest.raises(UserError, match="only copies; expected hf:"):
        check_writer(spec)
