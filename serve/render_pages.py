"""Documents and corrections to HTML; answers and their sources are in serve.render."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from emendo.records import Chunk, Correction, Document
from serve.render import escape, minute, note_html, passage_html, place
from sft.faults import Fault

_CODE = re.compile(r"`([^`]+)`")
_WORDS = re.compile(r"\s+|[^\s]+")


def correction_html(
    number: int,
    correction: Correction,
    fault: Fault,
    personal: Sequence[tuple[str, str]] = (),
    twins: Mapping[int, Correction] | None = None,
) -> str:
    """A correction for review: what went wrong, both answers side by side with the changed words marked, the passages.

    `personal` is what should not be learned, `twins` the corrections that say the same or contradict it, by number.
    """
    before, after = diff_html(correction.rejected, correction.corrected)
    hits = list(enumerate(correction.hits, 1))
    ticked = [(n, hit.chunk) for n, hit in hits if hit.chunk.chunk_id in correction.evidence]
    cards = "".join(_evidence_card(n, chunk) for n, chunk in ticked)
    cure = _CODE.sub(r"<code>\1</code>", escape(fault.cure))
    evidence = cards or f'<p class="muted">{_no_evidence(correction)}</p>'
    reason = correction.reason.replace("_", " ")
    who = " · ".join(part for part in (correction.author, minute(correction.at), reason) if part)
    return (
        f'<div class="correction"><header><span class="badge {correction.status}">{correction.status}</span>'
        f'<span class="muted">No. {number} · {escape(who)}</span></header><h3>{escape(correction.question)}</h3>'
        f"<p class='fault'><span class='badge'>{escape(fault.words)}</span> {cure}</p>"
        f"{_flags(correction, personal, twins or {})}"
        f'<div class="sides"><section><h4>The bot said</h4><div class="side before">{before}</div></section>'
        f'<section><h4>Corrected</h4><div class="side after">{after}</div></section></div>'
        f"<h4>Evidence</h4>{evidence}</div>"
    )


def _flags(correction: Correction, personal: Sequence[tuple[str, str]], twins: Mapping[int, Correction]) -> str:
    """Notes on personal data, repetitions and contradictions."""
    notes = []
    if personal:
        notes.append("Personal data? " + ", ".join(f"{kind} {text}" for kind, text in personal) + ". Edit it out.")
    same = [n for n, twin in twins.items() if twin.corrected == correction.corrected]
    other = [n for n, twin in twins.items() if twin.corrected != correction.corrected and twin.status != "rejected"]
    if same:
        notes.append(f"Said again in No. {', '.join(map(str, same))}: only the latest is learned.")
    if other:
        notes.append(f"Nearly the same question has another answer in No. {', '.join(map(str, other))}: reject what is wrong.")
    return "".join(map(note_html, notes))


def _no_evidence(correction: Correction) -> str:
    if correction.should_abstain:
        return "None: the manual does not hold the answer, the bot should have refused."
    return "No passage was ticked. The search missed it, and tuning cannot mend a retrieval miss."


def _evidence_card(n: int, chunk: Chunk) -> str:
    where = escape(place(chunk.title, chunk.section, chunk.pages))
    return (
        f'<article class="source"><header><span class="number">{n}</span><b>{where}</b></header>'
        f'<div class="passage">{passage_html(chunk.text)}</div></article>'
    )


def diff_html(before: str, after: str) -> tuple[str, str]:
    """Both texts escaped, with the words that only one of them has in <del> or <ins>."""
    a, b = _WORDS.findall(before), _WORDS.findall(after)
    left, right = [], []
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        old, new = escape("".join(a[a0:a1])), escape("".join(b[b0:b1]))
        left.append(old if tag == "equal" or not old else f"<del>{old}</del>")
        right.append(new if tag == "equal" or not new else f"<ins>{new}</ins>")
    return "".join(left), "".join(right)


def documents_html(rows: Sequence[tuple[Document, int]]) -> str:
    """The table of documents with their number of chunks."""
    if not rows:
        return '<div class="empty"><b>No document yet</b><p>Add a manual above. It is read where Emendo runs.</p></div>'
    body = "".join(
        f"<tr><td><b>{escape(d.title)}</b><br><span class='muted'>{escape(d.source)}</span></td>"
        f"<td>{escape(d.product) or '–'}</td>"
        f"<td class='number'>{d.pages or '–'}</td><td class='number'>{chunks}</td><td>{_warnings(d)}</td></tr>"
        for d, chunks in rows
    )
    head = "<tr><th>Document</th><th>Product</th><th class='number'>Pages</th><th class='number'>Passages</th><th>Notes</th></tr>"
    return f'<div class="table wide documents"><table>{head}{body}</table></div>'


def _warnings(document: Document) -> str:
    if not document.warnings:
        return '<span class="badge supported">Read whole</span>'
    notes = "".join(f"<li>{escape(warning)}</li>" for warning in document.warnings)
    count = len(document.warnings)
    return f'<details><summary class="badge partly">{count} warning{"s" * (count > 1)}</summary><ul>{notes}</ul></details>'


def chunks_html(chunks: Sequence[Chunk]) -> str:
    """The passages of one document in reading order."""
    cards = "".join(_evidence_card(n, chunk) for n, chunk in enumerate(chunks, 1))
    return f'<div class="sources">{cards}</div>' if cards else ""


def progress_html(stage: str, done: int, total: int) -> str:
    """Of a single thing nothing is counted: it is either under way or done."""
    count = f" {done} of {total}" if total > 1 else ""
    bar = f'<progress value="{done}" max="{total}"></progress>' if total > 1 else "<progress></progress>"
    return f'<div class="progress" role="status"><span>{escape(stage)}{count}</span>{bar}</div>'
