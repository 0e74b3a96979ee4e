"""The examples of docs/api.md, run as they stand against a running app with users."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_site import add_users, running

PAGE = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and an admin's token; the small bot's PDF and Markdown manuals are its documents."""
    with running(tmp_path_factory.mktemp("site")) as (context, url):
        yield url, add_users(context.accounts)["ada"]["Authorization"].removeprefix("Bearer ")


def examples(language: str, url: str, token: str) -> str:
    """The page's code of one language, one after the other."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return "".join(blocks).replace("http://127.0.0.1:7860", url).replace("emendo_...", token)


def test_the_python_examples_run(site: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openai")
    names: dict[str, object] = {}
    exec(compile(examples("python", *site), "docs/api.md", "exec"), names)
    assert "'corrected': 'Fill the tank first. [1]'" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_examples_run(site: tuple[str, str], tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "manual.pdf"))
    canvas.drawString(40, 700, "Descaling takes 20 minutes.")
    canvas.save()
    (tmp_path / "notes.md").write_text("# Notes\n\nEmpty the bean container weekly.\n", encoding="utf-8")
    script = f"set -e\nTOKEN={site[1]}\n" + examples("sh", *site)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told_by_each = ('"added":1', "Descaling takes 20 minutes.", '"embedding"', '{"deleted":"manual"}', '"status":"ready"')
    for told in (*told_by_each, "emendo_answers"):
        assert told in done.stdout
    assert (tmp_path / "page.webp").read_bytes()[8:12] == b"WEBP"
