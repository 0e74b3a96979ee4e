"""Any two recorded runs compared, and the watch: has the bot got worse since its baseline?"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from emendo.records import Question, UserError
from eval.compare import Background, judge_arms
from eval.evaluation import ArmResult
from eval.gate import Policy
from eval.report import Report
from eval.run import Answers, Progress, arm_key, list_arms, run_arm
from eval.scoring import load_arm

BATCH = 16  # questions handed to the model at once
_ARM = arm_key("bot", True)


def load_run(questions: Sequence[Question], place: str, runs: Path) -> ArmResult:
    """The arm that `place` names: a run folder (also by its name in `runs`), with `:arm` where it holds several.

    Without an arm it is the tuned one with passages, else the only one.
    """
    name, _, wanted = place.partition(":")
    folder = next((path for path in (Path(name), runs / name) if path.is_dir()), None)
    if folder is None:
        known = ", ".join(sorted(path.parent.name for path in runs.glob("*/policy.json"))) or "none"
        raise UserError(f"run {name!r} is no folder and not in {runs} (there: {known})")
    arms = list_arms(folder)
    chosen = wanted or next((arm for arm in (arm_key("tuned", True), *arms[:1]) if arm in arms), "")
    if chosen not in arms or (not wanted and chosen != arm_key("tuned", True) and len(arms) > 1):
        raise UserError(f"{folder}: which arm? write {name}:ARM with one of {', '.join(arms) or 'none: it holds no answers'}")
    return load_arm(questions, folder, chosen)


def compare_runs(
    questions: Sequence[Question],
    first: ArmResult,
    second: ArmResult,
    out: Path,
    policy: Policy,
    background: Background | None = None,
) -> Report:
    """The same comparison and gate as `emendo eval run`, on two arms recorded before. Needs no model but a referee's."""
    if first.answers and first.answers == second.answers:
        raise UserError("A and B are the same recorded answers; name two runs, or two arms as RUN:ARM")
    arms = {arm_key(name, True): dataclasses.replace(arm, key=name) for name, arm in (("A", first), ("B", second))}
    return judge_arms(questions, arms, out, ("A", "B"), policy, background or Background())


def watch(
    questions: Sequence[Question],
    answerer: Answers,
    folder: Path,
    policy: Policy,
    progress: Progress | None = None,
    accept: bool = False,
    command: str = "",
) -> Report | None:
    """Ask the bot and compare with the baseline in `folder`; None where this run has become the baseline.

    That is the first run, and one with `accept`. Model, prompt and index may differ from the baseline's: that is what is watched.
    """
    latest, baseline = folder / "latest", folder / "baseline"
    shutil.rmtree(latest, ignore_errors=True)
    run_arm(_ARM, answerer, questions, latest, BATCH, progress)
    if accept or not baseline.is_dir():
        shutil.rmtree(baseline, ignore_errors=True)
        latest.rename(baseline)
        return None
    loaded = {
        arm_key(name, True): dataclasses.replace(load_arm(questions, path, _ARM), key=name)
        for name, path in (("baseline", baseline), ("now", latest))
    }
    return judge_arms(questions, loaded, folder, ("baseline", "now"), policy, Background(command=command), watch=True)
