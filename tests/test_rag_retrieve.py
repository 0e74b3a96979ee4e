"""Searching: fusion, product scoping, copies, confidence; and the figures on real manuals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_chunk

from emendo.records import Document, Hit, UserError
from emendo.scripted_model import ScriptedChatModel
from rag.answer import Answerer, AnswerSettings
from rag.confidence import answer_confidence
from rag.embedder import HashEmbedder, load_embedder
from rag.evidence import find_evidence
from rag.fusion import FusionWeights, adjacency, code_match, coverage, fused_scores, label_match, question_terms
from rag.index import open_index
from rag.ingest import ingest
from rag.retrieve import Retriever, RetrieveSettings
from rag.scope import ProductNames, chosen_scope
from rag.unit_vectors import UnitVectors

PHONE = """# {name} user manual

## Battery

Charge the {name} battery with the cable for {hours} hours.

## Camera

### Flash

Tap the icon. The flash fires in the dark.
"""


PARTS = ("The filter is washable.", "The brush turns.", "Dry it.", "The tank holds water.", "Close the lid.")

WITHOUT_TEXT = RetrieveSettings(
    coverage_weight=0, adjacency_weight=0, label_weight=0, code_weight=0, length_weight=0, sentence_weight=0
)


def document(title: str, product: str = "", doc_id: str = "") -> Document:
    return Document(doc_id or title.lower().replace(" ", "-"), title, product or title, f"{title}.md", 0, "", "")


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    root = tmp_path_factory.mktemp("phones")
    (root / "manuals").mkdir()
    for name, hours in (("Galaxy S10", 2), ("Galaxy S10 Lite", 3), ("Galaxy Note 9", 4)):
        (root / "manuals" / f"{name}.md").write_text(PHONE.format(name=name, hours=hours))
    embedder = HashEmbedder()
    ingest(root / "index", root / "manuals", embedder)
    return Retriever(open_index(root / "index", embedder), embedder)


def test_hits_are_ranked_and_tell_their_stages(retriever: Retriever) -> None:
    hits = retriever.search("How do I charge the battery?", k=4)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1)) and 3 <= len(hits) <= 4
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].chunk.section[-1] == "Battery"
    searched = {"dense_rank", "dense_cosine", "lexical_rank", "lexical_score"}
    assert searched | {"sentence_cosine", "word_likeness", "fused"} == set(hits[0].stages)
    assert hits == retriever.search("How do I charge the battery?", k=4)
    assert retriever.search("  ") == []


def test_a_chosen_product_ranks_as_if_its_manual_were_indexed_alone(tmp_path: Path) -> None:
    """Word statistics are the product's: `rinse` is common in this manual and rare in the others."""
    manual = "# Corva 2\n\n" + "\n\n".join(f"## Part {n}\n\nRinse part {n}. {text}" for n, text in enumerate(PARTS))
    other = "# Pavo 7\n\n" + "\n\n".join(f"## Room {n}\n\nThe filter and the brush of room {n}." for n in range(30))
    for folder, files in (("alone", {"corva": manual}), ("all", {"corva": manual, "pavo": other})):
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / f"{name}.md").write_text(text)
    embedder = HashEmbedder()
    found = []
    for folder, product in (("alone", ""), ("all", "corva"), ("all", "")):
        ingest(tmp_path / f"{folder}-index", tmp_path / folder, embedder)
        searched = Retriever(open_index(tmp_path / f"{folder}-index", embedder), embedder)
        hits = searched.search("rinse the filter or brush", product=product)
        sure = searched.confidence("rinse the filter or brush", hits, product=product)
        if product:  # their hits tell whose they are
            assert sure == searched.confidence("rinse the filter or brush", hits)
            assert searched.evidence("rinse the filter or brush", hits) == searched.evidence(
                "rinse the filter or brush", hits, product
            )
        found.append([(hit.chunk.text, round(hit.score, 6), hit.stages.get("lexical_score")) for hit in hits] + [round(sure, 6)])
    assert found[0] == found[1], "chosen among others"
    assert found[1] != found[2]


def test_a_product_that_was_chosen_is_searched_alone(retriever: Retriever) -> None:
    for product in ("galaxy-note-9", "GALAXY NOTE 9 user manual"):
        assert {hit.chunk.doc_id for hit in retriever.search("charge the battery", product=product)} == {"galaxy-note-9"}
    assert retriever.scope("charge", "Note 9").doc_ids == {"galaxy-note-9"}, "words of its name will do"
    with pytest.raises(UserError, match=r"no product 'Galaxy S11'.*known: .*Galaxy Note 9"):
        retriever.search("charge", product="Galaxy S11")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How long do I charge my S10?", {"galaxy-s10"}),
        ("How long do I charge the Galaxy S10 Lite?", {"galaxy-s10-lite"}),
        ("battery of the note 9", {"galaxy-note-9"}),
        ("How long do I charge my Galaxy?", {"galaxy-s10", "galaxy-s10-lite", "galaxy-note-9"}),
    ],
)
def test_a_product_named_in_the_question_is_searched_alone(retriever: Retriever, question: str, expected: set[str]) -> None:
    assert {hit.chunk.doc_id for hit in retriever.search(question, k=20)} == expected


def test_ordinary_words_of_a_title_name_no_product() -> None:
    names = ProductNames(
        [document("Samsung TV / Smart Remote e-Manual"), document("Galaxy S10e / S10 / S10+ (AT&T)", doc_id="s10")]
    )
    assert names.named_scope("Can I pair a smart watch?").doc_ids is None
    assert names.named_scope("How do I reset my Samsung TV?").doc_ids == {"samsung-tv-/-smart-remote-e-manual"}
    assert names.named_scope("the s10+ screen is black").doc_ids == {"s10"}
    assert ProductNames([document("Kettle K1")]).named_scope("kettle k1").doc_ids is None, "one product needs no scope"


@pytest.mark.parametrize(
    ("question", "searched"),
    [
        ("How do I descale the Corvella E20 espresso machine?", "How do I descale"),
        ("my espresso tastes sour on the E20", "my espresso tastes sour"),
        ("E20 drips", "E20 drips"),
        ("which coffee does it like?", "which coffee does it like?"),
    ],
)
def test_the_name_of_the_product_that_is_searched_is_not_searched(question: str, searched: str) -> None:
    names = ProductNames([document("Corvella E20 espresso machine"), document("Pavo R7 robot vacuum")])
    assert names.without_name(question, names.named_scope(question)) == searched


def test_a_product_is_known_by_its_kind() -> None:
    names = ProductNames([document("Nordhaven AX3 home router"), document("Pavo R7 robot vacuum"), document("Sola V2 vacuum")])
    assert names.product_of_kind("What does the red light of the router mean?") == "Nordhaven AX3 home router"
    assert names.product_of_kind("the robot goes in circles") == "Pavo R7 robot vacuum"
    assert names.product_of_kind("empty vacuum") == "", "two products are vacuums"
    assert names.product_of_kind("Can the robot find the router?") == ""
    assert names.product_of_kind("I work from home, how loud is it?") == ""
    assert ProductNames([document("Home router")]).product_of_kind("the router") == "", "one product needs no scope"


def test_one_product_may_have_many_documents() -> None:
    documents = [document("Deluxe edition", "K1", "a"), document("Reference", "K1", "b"), document("Toaster", "T2", "c")]
    assert chosen_scope("k1", documents).doc_ids == {"a", "b"}
    names = ProductNames(documents)
    assert names.named_scope("Is the K1 loud?").doc_ids == {"a", "b"}
    assert names.named_scope("Is the deluxe edition loud?").doc_ids is None, "a part of a product is not a product"


def test_documents_of_a_folder_can_be_chosen_by_its_name() -> None:
    documents = [replace(document(title), source=f"wled/{title}.md") for title in ("Setup", "Effects")] + [document("Toaster")]
    assert chosen_scope("WLED", documents).doc_ids == {"setup", "effects"}


def test_the_title_of_a_page_names_no_product() -> None:
    documents = [document("Settings"), document("Dire Wolf User Guide"), document("Aircraft")]
    names = ProductNames(documents, {"settings": 7, "dire-wolf-user-guide": 450, "aircraft": 5})
    assert names.named_scope("Where are the settings for other aircraft?").doc_ids is None
    for question in ("Settings of the dire wolf", "Does direwolf have settings?"):
        assert names.named_scope(question).doc_ids == {"dire-wolf-user-guide"}


def test_look_alike_manuals_are_reported_as_tied(retriever: Retriever) -> None:
    def tied(question: str, k: int = 8) -> tuple[str, ...]:
        return retriever.tied_products(question, retriever.search(question, k))

    products = {"Galaxy S10 user manual", "Galaxy S10 Lite user manual", "Galaxy Note 9 user manual"}
    assert set(tied("When does the flash fire?")) == products
    assert set(tied("When does the flash fire?", k=2)) == products, "also those that are not among the hits"
    assert tied("When does the flash of the Note 9 fire?") == ()
    assert retriever.tied_products("flash", []) == ()


def test_a_conversation_stays_with_its_product_until_the_subject_changes(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for name in ("Galaxy S10", "Galaxy Note 9"):
        (tmp_path / "m" / f"{name}.md").write_text(PHONE.format(name=name, hours=2))
    (tmp_path / "m" / "toaster.md").write_text("# Toaster T2\n\n## Crumb tray\n\nPull out the crumb tray and empty it.\n")
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path / "m", embedder)
    retriever = Retriever(open_index(tmp_path / "index", embedder), embedder)
    question, earlier = "Does the flash fire in the dark?", ("Does the S10 ring?", "And how loud?")
    assert retriever.product_of_conversation(question, earlier) == "Galaxy S10 user manual"
    assert retriever.product_of_conversation(question, (*earlier, "Has the Note 9 one?")) == "Galaxy Note 9 user manual"
    assert retriever.product_of_conversation(question, ("My phone rings.",)) == ""
    assert retriever.product_of_conversation("How do I empty the crumb tray?", earlier) == "", "the phone has none"
    assert retriever.product_of_conversation("Does the Note 9 flash?", earlier) == "", "the question names its own"
    off = Retriever(retriever.index, embedder, RetrieveSettings(find_product=False))
    assert off.product_of_conversation(question, earlier) == ""


def test_the_product_whose_kind_the_question_says_is_searched_where_it_answers(tmp_path: Path) -> None:
    care = "".join(f"## Part {n}\n\nWipe part {n} dry.\n\n" for n in range(12))
    for name, text in (
        ("Nordhaven AX3 router", "A steady red light: the router is too hot."),
        ("Pavo R7 robot", "A red light: the robot is stuck.\n\n## Network\n\nEnter the password of the router."),
    ):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n## Lights\n\n{text}\n\n{care}")
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path, embedder)
    retriever = Retriever(open_index(tmp_path / "index", embedder), embedder)
    assert retriever.product_of_conversation("Has the router a red light?", ()) == "Nordhaven AX3 router"
    assert (
        retriever.product_of_conversation("Has the router a red light?", ("Is the Pavo R7 robot loud?",))
        == "Nordhaven AX3 router"
    )
    assert retriever.product_of_conversation("Where do I enter the password of the router?", ()) == "", (
        "the robot's manual says it"
    )
    assert retriever.product_of_conversation("Where is the red light?", ()) == ""


def test_near_copies_are_shown_once(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    text = "# K1\n\n## {}\n\nThe amber light means that the water tank is empty; fill it up to the mark and press start{}\n"
    (tmp_path / "m").mkdir()
    for name, end in (("2023", "."), ("2024", "!")):
        (tmp_path / "m" / f"{name}.md").write_text(text.format(name, end))
    ingest(tmp_path / "index", tmp_path / "m", embedder, product="K1")
    index = open_index(tmp_path / "index", embedder)
    assert len(Retriever(index, embedder).search("amber light")) == 1
    assert len(Retriever(index, embedder, RetrieveSettings(same_above=1.0)).search("amber light")) == 2


def test_what_several_manuals_say_word_for_word_is_shown_once_with_their_products(retriever: Retriever) -> None:
    flash, *others = retriever.search("When does the flash fire in the dark?")
    products = {"Galaxy S10 user manual", "Galaxy S10 Lite user manual", "Galaxy Note 9 user manual"}
    assert {flash.chunk.product, *flash.also_in} == products and len(flash.also_in) == 2
    assert all(hit.chunk.text != flash.chunk.text and not hit.also_in for hit in others)
    assert len(others) == 3, "the batteries differ in a figure"
    assert retriever.search("flash", product="galaxy-s10")[0].also_in == ()


def test_one_side_alone_keeps_its_order(retriever: Retriever) -> None:
    plain = replace(WITHOUT_TEXT, find_product=False, same_above=1.0)
    question = "flash in the dark"
    for side, expected in (
        ("use_lexical", retriever.index.dense(retriever.embedder.encode([question])[0], 50)),
        ("use_dense", retriever.index.lexical(question, 50)),
    ):
        alone = Retriever(retriever.index, retriever.embedder, replace(plain, **{side: False}))
        texts = [chunk.text for chunk in retriever.index.get_chunks([chunk_id for chunk_id, _ in expected])]
        assert [hit.chunk.text for hit in alone.search(question, k=3)] == texts[:3]


def test_the_best_sentence_lifts_its_passage(tmp_path: Path) -> None:
    """The answer is one sentence of a passage on other things; the other passage is closer as a whole."""
    filler = "Never immerse the base. Wipe the housing with a damp cloth. Unplug the appliance and let it cool down first."
    (tmp_path / "k1.md").write_text(
        f"# K1\n\n## Care\n\n{filler} Rinse the mesh filter weekly.\n\n"
        "## Parts\n\nThe mesh filter in the lid, the mesh, a filter.\n"
    )
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path / "k1.md", embedder)
    index = open_index(tmp_path / "index", embedder)

    def first(settings: RetrieveSettings) -> str:
        return Retriever(index, embedder, settings).search("rinse the mesh filter weekly")[0].chunk.section[-1]

    dense = replace(WITHOUT_TEXT, use_lexical=False)
    assert (first(dense), first(replace(dense, sentence_weight=1.0))) == ("Parts", "Care")


def test_passages_hold_their_section_and_nothing_twice(tmp_path: Path) -> None:
    text = "".join(
        f"The pump of circuit {n} runs for {n + 10} minutes and then rests until it is cold again.\n\n" for n in range(40)
    )
    rows = "".join(f"| E{n:02d} | sensor {n} failed while heating | replace sensor {n} at once |\n" for n in range(60))
    (tmp_path / "k1.md").write_text(
        f"# K1\n\n## Pump\n\n{text}## Errors\n\n| Code | Cause | Remedy |\n|---|---|---|\n{rows}\n## End\n\nThe end.\n"
    )
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path / "k1.md", embedder)
    index = open_index(tmp_path / "index", embedder)
    retriever = Retriever(index, embedder)
    for question, section in (("pump of circuit 17", "Pump"), ("E31 sensor 31 failed", "Errors")):
        alone, grown = retriever.search(question, k=8), retriever.passages(question, k=8)
        best = grown[0].chunk
        assert best.chunk_id == alone[0].chunk.chunk_id and best.section[-1] == section
        assert len(alone[0].chunk.text) < len(best.text) <= 2000
        lines = [line for hit in grown for line in hit.chunk.text.split("\n") if not line.startswith("Code |")]
        assert len(lines) == len(set(lines)) and [hit.rank for hit in grown] == list(range(1, len(grown) + 1))
        assert best.text.count("Code | Cause | Remedy") == (section == "Errors")
    model = ScriptedChatModel(otherwise="It rests. [1]")
    shown = [
        Answerer(retriever, model, AnswerSettings(whole_sections=whole)).answer("pump of circuit 17").hits[0].chunk
        for whole in (True, False)
    ]
    assert shown[0].chunk_id == shown[1].chunk_id and len(shown[0].text) > len(shown[1].text), "a model that writes reads more"
    off = Retriever(index, embedder, RetrieveSettings(section_characters=0))
    assert off.passages("pump of circuit 17", k=3) == off.search("pump of circuit 17", k=6)[:3]


def test_text_features_stay_between_0_and_1() -> None:
    terms = question_terms("How do I reset the sound output?", lambda word: 2.0)
    assert coverage(terms, {"sound", "output"}) == pytest.approx(2 / 3)
    assert adjacency(terms, ["the", "sound", "optical", "output"]) == pytest.approx(1 / 2)
    assert adjacency(terms, ["output", "sound", "reset"]) == 1.0
    assert label_match(terms, "Press the button.\nSound Output\nChoose one.") == pytest.approx(2 / 3)
    assert label_match(terms, "") == 0.0 and coverage(question_terms("", lambda word: 2.0), {"a"}) == 0.0


def test_a_code_counts_where_a_line_begins_with_it() -> None:
    terms = question_terms("My bike shows E-02 after 5 km", lambda word: 1.0)
    for line in ("E02 - Torque sensor", "- E 02: check the plug", "E02 | torque | restart"):
        assert code_match(terms, "Errors", line) == 1.0
    assert code_match(terms, "If the display shows E02", "Restart it.") == 1.0
    assert code_match(terms, "", "Restart the bike after it has shown E02.") == 0.0
    assert code_match(question_terms("no code", lambda word: 1.0), "", "E02") == 0.0


def test_words_that_stand_together_win_over_words_apart() -> None:
    together = make_chunk("a", "Choose the sound output in the quick settings.")
    apart = make_chunk("b", "The output of the amplifier is loud, and its sound is clear.")
    terms = question_terms("Where is the sound output?", lambda word: 1.0)
    scores = fused_scores(terms, [together, apart], {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 1.0}, FusionWeights())
    assert scores["a"] > scores["b"]


def test_confidence_is_higher_for_what_the_manual_holds(retriever: Retriever) -> None:
    held, foreign = "Charge the battery with the cable", "Which oil does the diesel engine need?"
    high, low = (retriever.confidence(q, retriever.search(q)) for q in (held, foreign))
    assert 0 <= low < high <= 1 and retriever.confidence(held, []) == 0.0


def test_a_real_manual_is_answered_better_by_both_sides_than_by_one(shared_data: Path, tmp_path: Path) -> None:
    """With the hash embedder, to be quick: the words and text features carry; docs/retrieval.md has the figures with MiniLM."""
    embedder = HashEmbedder()
    ingest(tmp_path / "index", shared_data / "emqap" / "docs" / "galaxy_s10.md", embedder)
    index = open_index(tmp_path / "index", embedder)
    lines = (shared_data / "emqap" / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["doc_id"] == "galaxy_s10"]

    def first_hits(settings: RetrieveSettings) -> float:
        retriever = Retriever(index, embedder, settings)
        tops = [retriever.search(row["question"], k=1)[0].chunk for row in rows]
        found = [
            "".join(top.text.split())[:80] in "".join(row["gold_passage"].split()) for top, row in zip(tops, rows, strict=True)
        ]
        return sum(found) / len(rows)

    plain = replace(WITHOUT_TEXT, use_lexical=False)
    both, dense = first_hits(RetrieveSettings()), first_hits(plain)
    assert both >= 0.7 and both > dense


def test_words_of_another_form_count_as_nearly_the_same() -> None:
    question, texts = (
        "descaling the kettle",
        ["Remove limescale from the pot.", "Pair the remote by Bluetooth.", "Descaling: kettle", ""],
    )
    scale, remote, same, nothing = UnitVectors(load_embedder("minilm")).word_likeness(question, texts)
    assert 1 >= same > scale > remote > nothing
    assert UnitVectors(HashEmbedder()).word_likeness(question, texts) == [0.0] * 4, "it has no vectors of words"


def test_a_question_about_a_thing_that_the_passage_does_not_mention_is_less_sure() -> None:
    vectors = UnitVectors(load_embedder("minilm"))
    text = "The cartridge takes limescale out of the water."
    water, scale, fluoride = vectors.likest(["water", "scale", "fluoride"], text)
    assert water > 0.99 > scale > fluoride
    assert vectors.likest(["water"], "") == [] == UnitVectors(HashEmbedder()).likest(["water"], text)
    hits = [Hit(make_chunk("c1", text), 1.0, 1, {"dense_cosine": 0.6})]
    sure = {}
    for asked in ("Does the cartridge take limescale out?", "Does the cartridge take fluoride out?"):
        terms = question_terms(asked, lambda word: 1.0)
        evidence = find_evidence(asked, terms, hits, lambda question, units: [0.6] * len(units))
        sure[asked] = answer_confidence(asked, terms, hits, evidence, vectors.likest)
    held, missing = sure.values()
    assert held / (1 - held) > 2 * missing / (1 - missing)


def test_the_length_of_a_title_does_not_decide_between_manuals_that_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "manuals").mkdir()
    for name in ("Zeta", "Alpha One / Alpha Two / Alpha Three of the long name"):
        (tmp_path / "manuals" / f"{name[:4]}.md").write_text(
            PHONE.format(name=name, hours=2).replace(f"the {name} battery", "it")
        )
    embedder = HashEmbedder()
    ingest(tmp_path / "index", tmp_path / "manuals", embedder)
    searched = Retriever(open_index(tmp_path / "index", embedder), embedder, RetrieveSettings(find_product=False, same_above=1.0))
    first, second = searched.search("does the flash fire in the dark", k=2)
    assert first.chunk.text == second.chunk.text and first.score == second.score
    first, second = searched.search("does the flash of the Zeta fire in the dark", k=2)
    assert first.chunk.title.startswith("Zeta") and first.score > second.score, "a title that the question names does"
