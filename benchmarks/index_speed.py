"""Indexing side by side with the usual LangChain recipe: `python -m benchmarks.index_speed FOLDER [--files N]`.

FOLDER holds manuals as Markdown or text. Each side runs in its own process, one after the other, on the same files with the same
embedding weights and the same number of threads. Printed are seconds, processor seconds (of the process and its children, which
other programs on the machine disturb less), and the peak of the resident memory of the whole process tree.

The recipe: RecursiveCharacterTextSplitter(1000, 200) -> SentenceTransformer -> faiss.IndexFlatIP -> write_index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil


def emendo(folder: Path, out: Path) -> int:
    """Our whole path as the command runs it: parse, chunk, embed, FAISS and full-text search, published."""
    from emendo.cli import main as run
    from rag.index import open_index

    if run(["--workspace", str(out), "index", str(folder)]):
        raise SystemExit(f"emendo index {folder} failed")
    return open_index(out / "index", None).manifest.chunks


def recipe(folder: Path, out: Path) -> int:
    import faiss
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from sentence_transformers import SentenceTransformer

    from rag.embedder import load_embedder

    splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    chunks = [chunk for path in files for chunk in splitter.split_text(path.read_text(encoding="utf-8"))]
    model = SentenceTransformer(str(load_embedder().folder), device="cpu", local_files_only=True)  # type: ignore[attr-defined]
    vectors = model.encode(chunks, normalize_embeddings=True, show_progress_bar=False)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(out / "recipe.faiss"))
    (out / "texts.json").write_text(json.dumps(chunks), encoding="utf-8")
    return len(chunks)


SIDES = {"emendo": emendo, "recipe": recipe}


def measure(side: str, folder: Path) -> dict[str, float]:
    """Run one side in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.index_speed", str(folder), "--side", side, "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watcher = _Peak(process.pid)
        text, _ = process.communicate()
        watcher.stop()
        if process.returncode:
            raise SystemExit(f"{side} failed")
        return json.loads(text.splitlines()[-1]) | {"seconds": time.perf_counter() - start, "peak_mb": watcher.peak / 2**20}


class _Peak:
    """Largest sum of resident memory over a process and its children, looked at ten times a second."""

    def __init__(self, pid: int):
        self.peak = 0
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.peak = max(self.peak, sum(process.memory_info().rss for process in family))
            except psutil.NoSuchProcess:
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, help="only the first N files")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        chunks = SIDES[args.side](args.folder, args.out)
        import resource

        spent = sum(
            usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        print(json.dumps({"chunks": chunks, "cpu_seconds": spent}))
        return
    with tempfile.TemporaryDirectory() as place:
        for path in sorted(path for path in args.folder.iterdir() if path.is_file())[: args.files]:
            shutil.copy(path, place)
        found = {side: measure(side, Path(place)) for side in SIDES}
    for side, figures in found.items():
        print(f"{side:8} " + "  ".join(f"{name} {value:.1f}" for name, value in figures.items()))
    ratios = {name: found["recipe"][name] / found["emendo"][name] for name in ("seconds", "cpu_seconds", "peak_mb")}
    print("recipe / emendo: " + "  ".join(f"{name} {value:.2f}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
