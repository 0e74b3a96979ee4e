"""Search and quoted answers on manuals anyone can fetch: `python -m benchmarks.public_manuals --work DIR [--split dev|test]`.

The manuals of public_manuals/manuals.toml come from Debian packages (apt-get and dpkg, on Debian 12; no root), their questions
from public_manuals/<manual>.jsonl. Prints what benchmarks.retrieval and benchmarks.answers print of the other manuals; without
the scorer beside the project only the answers. DIR keeps packages and indexes for the next run.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.answers import line, measure
from benchmarks.fit_confidence import read
from benchmarks.retrieval import SCORER, Asked, run
from emendo.records import UserError
from rag.answer import AnswerSettings
from rag.assemble import REFUSES_BELOW
from rag.embedder import load_embedder
from sft.debian_packages import fetch

QUESTIONS = Path(__file__).with_suffix("")
VARIANT = "+ section text"  # as `emendo search` does by default


def prepare(name: str, manual: dict[str, str], work: Path) -> Path:
    """A folder with the manual and its questions, laid out as benchmarks.answers reads it."""
    folder = work / "manuals" / name
    source = fetch(manual["package"], work / "packages", manual["version"]) / manual["path"]
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, folder / "site", dirs_exist_ok=True)
    elif source.suffix == ".gz":
        (folder / f"manual{source.with_suffix('').suffix}").write_bytes(gzip.decompress(source.read_bytes()))
    else:
        shutil.copy(source, folder / f"manual{source.suffix}")
    shutil.copy(QUESTIONS / f"{name}.jsonl", folder / "qa.jsonl")
    return folder


def manuals(split: str, work: Path, only: Sequence[str] = ()) -> list[Path]:
    """The folders of a split's manuals, fetched as needed."""
    found = tomllib.loads((QUESTIONS / "manuals.toml").read_text(encoding="utf-8"))
    return [prepare(name, m, work) for name, m in found.items() if m["split"] == split and (not only or name in only)]


def questions(folder: Path) -> list[Asked]:
    """The answerable ones as benchmarks.retrieval asks and scores them, which leaves the first folder of a page's path out."""
    asked = []
    for row in read(folder / "qa.jsonl"):
        if row["answerable"]:
            pages = row["pages"] + [page.partition("/")[2] for page in map(str, row["pages"]) if "/" in page]
            asked.append(Asked(folder.name, row | {"quote": row["quotes"][0]["text"], "pages": pages}, row["question"]))
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--manuals", nargs="+", default=(), help="only these of the split")
    parser.add_argument("--refuse-below", type=float, default=REFUSES_BELOW)
    parser.add_argument("--show", action="store_true", help="print questions and answers; for dev manuals")
    args = parser.parse_args()
    if unknown := set(args.manuals) - {path.stem for path in QUESTIONS.glob("*.jsonl")}:
        parser.error(f"no questions on {', '.join(sorted(unknown))} in {QUESTIONS}")
    embedder, settings = load_embedder(), AnswerSettings(passages=4, refuse_below=args.refuse_below)
    work, total, asked = args.work.resolve(), Counter[str](), []
    for folder in manuals(args.split, work, args.manuals):
        name = folder.name
        counts, _ = measure(folder, work / "indexes", embedder, settings, args.show)
        index = work / name / "index"  # where benchmarks.retrieval looks
        if not index.exists():
            index.parent.mkdir(exist_ok=True)
            index.symlink_to(work / "indexes" / name)
        print(line(name, counts), flush=True)
        total += counts
        asked += questions(folder)
        if SCORER.exists():
            print(f"{name:26} {run(work, name, VARIANT, questions(folder), embedder)}", flush=True)
    print(line("all", total))
    print(f"{'all':26} {run(work, args.split, VARIANT, asked, embedder) if SCORER.exists() else f'not scored: no {SCORER.name}'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
