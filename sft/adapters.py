"""The adapters of a workspace: list, read, delete."""

from __future__ import annotations

import shutil
from pathlib import Path

from emendo.records import AdapterCard, UserError, from_json


def list_adapters(folder: Path) -> list[AdapterCard]:
    """Cards of the finished adapters, oldest first."""
    cards = [read_card(path.parent) for path in folder.glob("*/card.json")] if folder.is_dir() else []
    return sorted(cards, key=lambda card: card.at)


def read_card(folder: Path) -> AdapterCard:
    try:
        return from_json(AdapterCard, (folder / "card.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no adapter {folder.name!r}; `emendo adapters` lists yours") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder / 'card.json'} is damaged ({error}); delete the folder and tune again") from error


def find_adapter(folder: Path, name: str = "") -> Path:
    """Folder of the adapter whose id starts with `name`; the newest when `name` is empty or "latest"."""
    cards = list_adapters(folder)
    if not cards:
        raise UserError("there is no adapter yet; make one with `emendo tune`")
    if name in ("", "latest"):
        return folder / cards[-1].adapter_id
    matching = [card.adapter_id for card in cards if card.adapter_id.startswith(name)]
    if len(matching) != 1:
        what = "no adapter" if not matching else "more than one adapter"
        raise UserError(f"{what} called {name!r}; known: {', '.join(card.adapter_id for card in cards)}")
    return folder / matching[0]


def delete_adapter(folder: Path, name: str, promoted: str) -> None:
    """Remove the adapter; UserError when it is the one that serves."""
    target = find_adapter(folder, name)
    if target.name == promoted:
        raise UserError(f"adapter {target.name} is promoted and serving; `emendo rollback` first")
    shutil.rmtree(target)


def differences(one: AdapterCard, other: AdapterCard) -> list[tuple[str, str, str]]:
    """(what, of `one`, of `other`) where two adapters differ; of the corrections, how many only one has learned."""
    rows = [("base model", one.base_model, other.base_model), ("base weights", one.base_sha256[:12], other.base_sha256[:12])]
    rows += [("prompt", one.prompt_version, other.prompt_version), ("template", one.template_sha256, other.template_sha256)]
    for kind, mine, its in (("settings", one.settings, other.settings), ("losses", one.losses, other.losses)):
        rows += [(f"{kind}.{key}", str(mine.get(key, "")), str(its.get(key, ""))) for key in dict.fromkeys((*mine, *its))]
    learned, also = set(one.correction_ids), set(other.correction_ids)
    rows.append(("corrections only here", str(len(learned - also)), str(len(also - learned))))
    rows.append(("examples", str(len(one.example_hashes)), str(len(other.example_hashes))))
    return [row for row in rows if row[1] != row[2]]
