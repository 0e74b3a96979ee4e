"""The house rules that a test can keep: one arrow of imports, small files and functions, no prints, nothing loaded too early."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("emendo", "rag", "sft", "serve", "eval")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
COMMAND_LINE = {
    "emendo/cli.py",
    "emendo/demo.py",
    "emendo/judging.py",
    "emendo/doctor.py",
    "emendo/terminal.py",
    "emendo/commands",
}
MAY_IMPORT = {
    "emendo": set(),  # all but the command line, which may import every room
    "rag": {"emendo"},
    "sft": {"emendo", "rag"},
    "serve": {"emendo", "rag", "sft"},
    "eval": {"emendo", "rag", "sft"},
}
ONLY_IN = {
    "gradio": ("serve/",),
    "faiss": ("rag/index.py",),
    "peft": ("emendo/hf_model.py", "sft/"),
    "bitsandbytes": ("emendo/base_model.py", "sft/"),
    "pickle": (),
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_follow_the_arrow(path):
    here = name(path)
    room = here.split("/")[0]
    is_command_line = any(here.startswith(prefix) for prefix in COMMAND_LINE)
    if not is_command_line:
        wrong = imports(path) & (set(ROOMS) - {room} - MAY_IMPORT[room])
        assert not wrong, f"{here} imports {wrong}"
    for package, places in ONLY_IN.items():
        if package in imports(path):
            assert here.startswith(places) if places else False, f"{here} imports {package}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 80, f"{name(path)}: {node.name}"


def test_help_is_quick_because_nothing_heavy_is_loaded():
    code = (
        "import sys\nfrom emendo.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'gradio', 'faiss', 'sqlalchemy', 'langchain_core', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "tune" in done.stdout


def test_packages_are_imported_from_the_repository_not_a_bare_eval():
    assert not any("import eval\n" in path.read_text() for path in FILES), "a bare `import eval` hides the builtin"
