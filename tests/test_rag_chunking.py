"""Chunking: what stays together, what is cut, and that every chunk fits."""

from __future__ import annotations

import random
import re

import pytest

from emendo.records import Block, BlockKind, Box, Document, Section
from rag.chunking import ChunkSettings, chunk_manual
from rag.manuals import ParsedManual

KINDS: list[BlockKind] = ["paragraph", "step", "list_item", "table", "warning", "code"]


def count_words(text: str) -> int:
    return len(text.split())


def make_manual(*sections: Section, title: str = "Lumo 3") -> ParsedManual:
    return ParsedManual(Document("lumo", title, "Lumo 3", "lumo.pdf", 3, "ab" * 32, "pdf/1"), sections)


def section(*blocks: Block, path: tuple[str, ...] = ("Use",)) -> Section:
    return Section(path, blocks)


def sentences(count: int, words: int = 9) -> str:
    return " ".join("Word " * (words - 1) + f"end{n}." for n in range(count))


def step(number: int, words: int = 12) -> Block:
    return Block("step", f"{number}. " + "press " * (words - 2) + f"key{number}.")


def chunk_texts(*blocks: Block, max_tokens: int = 60) -> list[str]:
    return [
        chunk.text for chunk in chunk_manual(make_manual(section(*blocks)), count_words, ChunkSettings(max_tokens=max_tokens))
    ]


def test_header_names_title_and_headings_without_repeats() -> None:
    manual = make_manual(section(Block("paragraph", "Text."), path=("Lumo 3", "Care", "care", "Filter")))
    (chunk,) = chunk_manual(manual, count_words)
    assert chunk.header == "Lumo 3 > Care > Filter"
    assert chunk.section == ("Lumo 3", "Care", "care", "Filter")
    assert (chunk.doc_id, chunk.product, chunk.source, chunk.position) == ("lumo", "Lumo 3", "lumo.pdf", 0)


def test_a_long_header_loses_its_middle_and_leaves_room_for_the_text() -> None:
    path = tuple(f"Heading {n} with quite a few words in it" for n in range(8))
    (chunk,) = chunk_manual(
        make_manual(section(Block("paragraph", "Text."), path=path)), count_words, ChunkSettings(max_tokens=60)
    )
    assert chunk.header.startswith("Lumo 3 > ")
    assert chunk.header.endswith(path[-1])
    assert count_words(chunk.header) <= 24


def test_chunks_never_cross_sections() -> None:
    manual = make_manual(section(Block("paragraph", "A.")), section(Block("paragraph", "B."), path=("Care",)))
    assert [(c.section, c.text) for c in chunk_manual(manual, count_words)] == [(("Use",), "A."), (("Care",), "B.")]


def test_a_section_is_cut_into_few_parts_of_like_size() -> None:
    texts = chunk_texts(*(Block("paragraph", sentences(1)) for _ in range(7)), max_tokens=60)
    sizes = [count_words(text) for text in texts]
    assert len(sizes) == 2
    assert max(sizes) - min(sizes) <= 9


def test_a_procedure_that_fits_stays_whole_with_its_introduction_and_warning() -> None:
    procedure = [Block("paragraph", "To open the lamp:"), step(1), Block("warning", "WARNING: Hot."), step(2)]
    before = Block("paragraph", sentences(5))
    assert chunk_texts(before, *procedure) == [before.text, "\n".join(b.text for b in procedure)]


def test_steps_that_fit_stay_whole_when_the_warning_before_them_does_not() -> None:
    before = [Block("paragraph", sentences(2)), Block("warning", "WARNING: " + "hot " * 15 + "parts.")]
    steps = [step(n) for n in range(1, 5)]
    first, second = chunk_texts(*before, *steps)
    assert first == "\n".join(block.text for block in before)
    assert second == "\n".join(block.text for block in steps)


def test_two_procedures_in_a_row_are_two_units() -> None:
    texts = chunk_texts(step(1, 20), step(2, 20), step(1, 20), step(2, 20))
    assert [re.findall(r"^\d", text, re.MULTILINE) for text in texts] == [["1", "2"], ["1", "2"]]


def test_a_long_procedure_is_cut_between_steps_and_never_at_a_warning() -> None:
    blocks = [step(n) for n in range(1, 13)]
    blocks.insert(5, Block("warning", "WARNING: The next part is hot."))
    texts = chunk_texts(*blocks)
    assert "\n".join(texts) == "\n".join(block.text for block in blocks)
    assert all(re.match(r"\d+\. |WARNING", line) for text in texts for line in text.split("\n"))
    (holder,) = [text for text in texts if "WARNING" in text]
    assert "WARNING: The next part is hot.\n6. " in holder


def test_a_warning_at_the_end_of_a_long_procedure_keeps_the_step_before_it() -> None:
    blocks = [*(step(n) for n in range(1, 9)), Block("warning", "WARNING: Let it cool.")]
    last = chunk_texts(*blocks)[-1]
    assert "8. press" in last
    assert last.endswith("WARNING: Let it cool.")


def test_a_label_stays_with_the_text_it_names() -> None:
    texts = chunk_texts(Block("paragraph", sentences(5)), Block("paragraph", "E01 Overheated"), Block("paragraph", sentences(2)))
    assert texts[-1].startswith("E01 Overheated\n")


def test_a_table_is_cut_between_rows_and_every_part_has_the_header_row() -> None:
    rows = [f"E{n:02d} | meaning of it {n} | remedy for it {n}" for n in range(20)]
    texts = chunk_texts(Block("table", "\n".join(["Code | Meaning | Remedy", *rows])))
    assert len(texts) > 1
    assert all(text.split("\n")[0] == "Code | Meaning | Remedy" for text in texts)
    assert [row for text in texts for row in text.split("\n")[1:]] == rows


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    text = sentences(20)
    texts = chunk_texts(Block("paragraph", text))
    assert " ".join(texts) == text
    assert all(part.endswith(".") for part in texts)


def test_pages_and_boxes_come_from_the_blocks() -> None:
    boxes = (Box(2, 10, 700, 90, 710), Box(3, 10, 50, 90, 60))
    manual = make_manual(section(Block("paragraph", "A.", page=2, boxes=boxes), Block("paragraph", "B.", page=3)))
    (chunk,) = chunk_manual(manual, count_words)
    assert chunk.pages == (2, 3)
    assert chunk.boxes == boxes


def test_ids_are_stable_unique_and_depend_on_the_document() -> None:
    repeated = [section(Block("paragraph", "See the safety chapter.")) for _ in range(3)]
    first = [chunk.chunk_id for chunk in chunk_manual(make_manual(*repeated), count_words)]
    assert len(set(first)) == 3
    assert first == [chunk.chunk_id for chunk in chunk_manual(make_manual(*repeated), count_words)]
    other = make_manual(*repeated)
    changed = ParsedManual(Document("lumo", "Lumo 3", "Lumo 3", "lumo.pdf", 3, "cd" * 32, "pdf/1"), other.sections)
    assert not set(first) & {chunk.chunk_id for chunk in chunk_manual(changed, count_words)}


@pytest.mark.parametrize("seed", range(30))
def test_every_chunk_fits_and_nothing_is_lost(seed: int) -> None:
    random_ = random.Random(seed)
    blocks = []
    for n in range(random_.randint(1, 25)):
        kind: BlockKind = random_.choice(KINDS)
        words = [f"w{seed}x{n}y{i}" + random_.choice(["", "", ".", ":"]) for i in range(random_.choice([1, 5, 20, 150]))]
        if kind == "table":
            rows = [" | ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
            blocks.append(Block("table", "\n".join(rows)))
        else:
            blocks.append(Block(kind, " ".join(words)))
    settings = ChunkSettings(max_tokens=random_.choice([30, 60, 240]))
    chunks = chunk_manual(make_manual(section(*blocks)), count_words, settings)
    assert all(count_words(chunk.header) + count_words(chunk.text) <= settings.max_tokens for chunk in chunks)
    kept = " ".join(chunk.text for chunk in chunks).split()
    assert set(kept) == {word for block in blocks for word in block.text.split()}
    order = [word for word in dict.fromkeys(kept) if word != "|"]
    assert order == [word for block in blocks for word in block.text.split() if word != "|"]
