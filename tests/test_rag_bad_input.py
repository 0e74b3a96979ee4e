"""Input that breaks other programs: each costs only itself, is named with its cure, and leaves the index whole."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph
from sample_manuals import BODY, HEAD, PROSE, Draw, blocks, guide_pages, make_pdf, make_zip, parse_text, texts

import rag.ingest
from emendo.records import UserError
from rag.chunking import chunk_manual
from rag.embedder import HashEmbedder
from rag.index import open_index
from rag.ingest import delete_documents, ingest, reembed
from rag.manuals import ManualFile, ParseLimits, find_manuals, parse, parse_isolated
from rag.retrieve import Retriever
from rag.snapshot import MANIFEST, current_id, writer_lock

LAMP = "# Lamp\n\nTurn the switch at the foot.\n"
KETTLE = "# Kettle\n\nUse citric acid.\n"


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manuals"
    made.mkdir()
    (made / "lamp.md").write_text(LAMP)
    return made


def found(directory: Path, question: str) -> list[str]:
    """Documents that a newly opened index finds for the question."""
    embedder = HashEmbedder()
    return [hit.chunk.doc_id for hit in Retriever(open_index(directory, embedder), embedder).search(question)]


def test_bad_files_beside_a_good_one_are_named_and_cost_only_themselves(
    tmp_path: Path, folder: Path, embedder: HashEmbedder
) -> None:
    bad = {
        "broken.pdf": b"%PDF-1.7 not really",
        "cut.xlsx": b"PK\x03\x04 cut",
        "cut.zip": b"PK\x03\x04 cut",
        "empty.docx": b"",
        "image.md": b"\x89PNG\r\n\x1a\n",
        "locked.pdf": make_pdf([lambda c: []], encrypt="secret"),
        "old.doc": b"\xd0\xcf\x11\xe0",
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    make_zip(folder / "bomb.zip", {"a.md": b"\0" * 30_000_000})
    make_zip(folder / "nested.zip", {"inner.zip": b"PK"})
    make_zip(folder / "evil.zip", {"../evil.md": b"# Evil\n\nText."})
    with open(os.fsencode(folder) + b"/ger\xe4t.md", "w") as file:
        file.write(KETTLE)
    summary = ingest(tmp_path / "index", folder, embedder)
    failed = dict(summary.failed)
    assert summary.added == 1 and set(failed) == {*bad, "bomb.zip", "evil.zip", "ger?t.md", "nested.zip/inner.zip"}
    assert all(message.startswith(name) for name, message in failed.items())
    assert "zip bomb" in failed["bomb.zip"] and "outside the archive" in failed["evil.zip"]
    assert "Save it as .docx" in failed["old.doc"] and "Unpack it" in failed["nested.zip/inner.zip"]
    assert "name is not UTF-8. Rename it" in failed["ger?t.md"]
    assert found(tmp_path / "index", "Where is the switch?") == ["lamp"] and not (tmp_path / "evil.md").exists()


def test_an_archive_that_broke_loses_nothing_that_was_read_before(tmp_path: Path, folder: Path, embedder: HashEmbedder) -> None:
    archive = make_zip(folder / "set.zip", {"kettle.md": KETTLE.encode()})
    ingest(tmp_path / "index", folder, embedder)
    archive.write_bytes(archive.read_bytes()[:-30])
    summary = ingest(tmp_path / "index", folder, embedder)
    assert (summary.removed, summary.unchanged, len(summary.failed)) == (0, 1, 1)
    assert found(tmp_path / "index", "citric acid")[0] == "set-zip-kettle"


def patched(data: bytes, local: int, central: int, form: str, value: int) -> bytes:
    """The archive of one member with a field of its two headers changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, local, value)
    struct.pack_into(form, changed, data.index(b"PK\x01\x02") + central, value)
    return bytes(changed)


def test_a_damaged_member_of_a_zip_costs_only_itself(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "set.zip", {"kettle.md": KETTLE.encode(), "lamp.md": b"# Lamp\n\n" + b"It needs 12 volts. " * 50}
    )
    data = bytearray(archive.read_bytes())
    start = data.index(b"lamp.md") + len(b"lamp.md")
    data[start : start + 8] = b"\xff" * 8  # no deflate stream begins so
    archive.write_bytes(data)
    summary = ingest(tmp_path / "index", archive, HashEmbedder())
    assert summary.added == 1
    assert [name for name, _ in summary.failed] == ["lamp.md"]


def test_archives_that_lie_or_are_encrypted_are_refused(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "a.zip", {"a.md": b"# A\n\n" + b"x" * 30_000_000}).read_bytes()
    for name, changed, message in (
        ("lying.zip", patched(data, 22, 24, "<I", 100), "cannot be read"),  # says that it unpacks to 100 bytes
        ("locked.zip", patched(make_zip(tmp_path / "b.zip", {"a.md": b"# A"}).read_bytes(), 6, 8, "<H", 1), "password"),
    ):
        (tmp_path / name).write_bytes(changed)
        (file,) = find_manuals(tmp_path / name)
        with pytest.raises(UserError, match=message):
            parse(file)


def test_a_pdf_without_pages_is_refused(tmp_path: Path) -> None:
    document = pdfium.PdfDocument.new()
    document.save(tmp_path / "none.pdf")
    with pytest.raises(UserError, match="password"):
        parse_text(tmp_path, "locked.pdf", make_pdf([lambda c: []], encrypt="secret"))
    with pytest.raises(UserError, match=r"none\.pdf: is damaged or has no pages"):
        parse(ManualFile(tmp_path / "none.pdf", "none.pdf"))


def test_a_damaged_page_costs_only_itself(tmp_path: Path) -> None:
    data = make_pdf(guide_pages())
    start = data.index(b"/Type /Page\n", data.index(b"/Type /Page\n") + 1)  # of the second page
    (tmp_path / "hurt.pdf").write_bytes(data[:start] + b"/Type /Pope\n" + data[start + 12 :])
    manual = parse(ManualFile(tmp_path / "hurt.pdf", "hurt.pdf"))
    assert manual.document.warnings == ("page 2 damaged and left out: export the PDF anew",)
    assert "Care" in {section.path[-1] for section in manual.sections} and manual.document.pages == 4


def test_tables_that_cannot_be_read_leave_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdfplumber.open", lambda *_, **__: 1 / 0)
    manual = parse_text(tmp_path, "strict.pdf", make_pdf(guide_pages()))
    assert manual.document.warnings == ("page 3 damaged: tables there are read as text",)
    assert any("Too hot" in text for text in texts(manual))


def test_two_thousand_pages_fit_in_a_gigabyte(tmp_path: Path) -> None:
    page: Draw = lambda c: [Paragraph("Valves", HEAD), Paragraph(PROSE, BODY)]  # noqa: E731
    some, many = pdfium.PdfDocument(make_pdf([page] * 50)), pdfium.PdfDocument.new()
    for _ in range(40):
        many.import_pages(some)
    many.save(tmp_path / "big.pdf")
    manual = parse_isolated(ManualFile(tmp_path / "big.pdf", "big.pdf"), limits=ParseLimits(memory_mb=1024))
    assert manual.document.pages == 2000 and {block.page for block in blocks(manual)} == set(range(1, 2001))


def test_an_encoding_that_was_guessed_is_told(tmp_path: Path) -> None:
    japanese = "電源ボタンを三秒間押し続けてください。ランプが点滅します。"
    manual = parse_text(tmp_path, "jp.txt", japanese.encode("shift_jis"))
    assert texts(manual) == [japanese]
    assert re.match("is not UTF-8, was read as cp932", manual.document.warnings[0])
    mixed = parse_text(tmp_path, "mixed.txt", "Drücken Sie die Taste für die Wärme: 3 °C.".encode() + b" Ger\xe4t")
    assert texts(mixed) == ["Drücken Sie die Taste für die Wärme: 3 °C. Ger\ufffdt"]
    assert "1 byte(s) are not UTF-8" in mixed.document.warnings[0]


MIXED = """# 路由器 K1

## 重置

如需恢复出厂设置，请按住复位按钮十秒钟。指示灯会变成红色。

## USB接口

将U盘插入USB接口。

## 無線の設定

電源ボタンを三秒間押し続けてください。

## 펌웨어

설정 메뉴에서 펌웨어를 업데이트하십시오.

## כפתור ההפעלה

לחץ על כפתור ההפעלה למשך שלוש שניות.

## زر الطاقة

اضغط على زر الطاقة لمدة ثلاث ثوان.

## 👨‍👩‍👧 Family mode 🔒

Choose 👨‍👩‍👧 to lock the stove.
"""


@pytest.mark.parametrize(
    ("question", "section"),
    [
        ("怎么恢复出厂设置？", "重置"),
        ("灯", "重置"),
        ("usb", "USB接口"),
        ("電源ボタンはどこですか", "無線の設定"),
        ("펌웨어를 업데이트", "펌웨어"),
        ("איפה כפתור ההפעלה?", "כפתור ההפעלה"),
        ("\u202bاضغط\u202c", "زر الطاقة"),
        ("family mode", "👨‍👩‍👧 Family mode 🔒"),
    ],
)
def test_every_script_is_found_by_its_words(tmp_path: Path, embedder: HashEmbedder, question: str, section: str) -> None:
    (tmp_path / "k1.md").write_text(MIXED, encoding="utf-8")
    ingest(tmp_path / "index", tmp_path / "k1.md", embedder)
    index = open_index(tmp_path / "index", embedder)
    best = index.get_chunks([index.lexical(question, 1)[0][0]])
    assert best[0].section[-1] == section


def test_marks_of_direction_are_dropped_and_joiners_kept(tmp_path: Path) -> None:
    manual = parse_text(tmp_path, "rtl.txt", "\u202bלחץ על \u200fהכפתור\u202c. می\u200cخواهم 👨\u200d👩\u200d👧.\n")
    assert texts(manual) == ["לחץ על הכפתור. می\u200cخواهم 👨\u200d👩\u200d👧."]


def test_chinese_lines_are_joined_without_a_space(tmp_path: Path) -> None:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    lines = ["如需恢复出厂设置，请按住背面的复位按钮十秒钟。指示灯会变成红", "色。然后松开按钮，并且等待大约两分钟。"]

    def draw(canvas: Canvas) -> list:
        canvas.setFont("STSong-Light", 10)
        for n, line in enumerate(lines):
            canvas.drawString(72, 670 - 14 * n, line)
        return []

    wanted = ["".join(lines)]
    assert texts(parse_text(tmp_path, "cn.pdf", make_pdf([draw]))) == wanted
    assert texts(parse_text(tmp_path, "cn.txt", "\n".join(lines))) == wanted
    assert texts(parse_text(tmp_path, "cn.md", "\n".join(lines))) == wanted


def test_a_wide_table_fits_the_window_and_is_found_by_a_column(tmp_path: Path, embedder: HashEmbedder) -> None:
    rows = [["Model", *(f"Setting {n}" for n in range(1, 200))], *([k, *(f"{k}v{n}" for n in range(1, 200))] for k in "ABCDEFGH")]
    manual = parse_text(tmp_path, "wide.csv", "\n".join(",".join(row) for row in rows))
    chunks = chunk_manual(manual, embedder.count_tokens)
    assert max(embedder.count_tokens(f"{c.header}\n{c.text}") for c in chunks) <= 240
    (chunk,) = [chunk for chunk in chunks if re.search(r"\bCv137\b", chunk.text)]
    assert "Setting 137" in chunk.text.split("\n")[0]


def test_a_document_deleted_while_being_indexed_is_named_and_kept_until_the_next_run(
    tmp_path: Path, folder: Path, embedder: HashEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path / "index", folder, embedder)
    (folder / "lamp.md").write_text(LAMP + "\nNew text.\n")
    (folder / "kettle.md").write_text(KETTLE)
    parse_batch = rag.ingest.parse_batch

    def after_a_deletion(*arguments):  # type: ignore[no-untyped-def]
        (folder / "lamp.md").unlink()
        return parse_batch(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rag.ingest, "parse_batch", after_a_deletion)
        summary = ingest(tmp_path / "index", folder, embedder)
    assert (summary.added, summary.removed, [source for source, _ in summary.failed]) == (1, 0, ["lamp.md"])
    assert "lamp" in found(tmp_path / "index", "switch")
    assert ingest(tmp_path / "index", folder, embedder).removed == 1
    assert "lamp" not in found(tmp_path / "index", "switch")


def test_deleting_waits_for_no_writer_and_leaves_no_trace(tmp_path: Path, folder: Path, embedder: HashEmbedder) -> None:
    directory = tmp_path / "index"
    (folder / "kettle.md").write_text(KETTLE)
    ingest(directory, folder, embedder)
    with writer_lock(directory), pytest.raises(UserError, match="another process is writing"):
        delete_documents(directory, embedder, ["lamp"])
    delete_documents(directory, embedder, ["lamp"])
    assert found(directory, "Turn the switch at the foot.") == ["kettle"]
    assert all(b"switch at the foot" not in path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_an_index_of_a_newer_version_is_left_alone(tmp_path: Path, folder: Path, embedder: HashEmbedder) -> None:
    directory = tmp_path / "index"
    ingest(directory, folder, embedder)
    manifest = directory / str(current_id(directory)) / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 99, "new_field": 1}))
    before = manifest.read_bytes()
    for write in (lambda: ingest(directory, folder, embedder), lambda: delete_documents(directory, embedder, ["lamp"])):
        with pytest.raises(UserError, match=r"format 99.*update emendo"):
            write()
    with pytest.raises(UserError, match="format 99"):
        reembed(directory, embedder)
    assert manifest.read_bytes() == before


def test_a_changed_embedder_is_told_and_reembedding_repairs_it(tmp_path: Path, folder: Path, embedder: HashEmbedder) -> None:
    directory = tmp_path / "index"
    ingest(directory, folder, embedder)

    class Other(HashEmbedder):
        id = "hash-other@1"

    (folder / "kettle.md").write_text(KETTLE)
    with pytest.raises(UserError, match="emendo index --reembed"):
        ingest(directory, folder, Other())
    assert found(directory, "citric acid") == ["lamp"]
    reembed(directory, Other())
    assert ingest(directory, folder, Other()).added == 1
