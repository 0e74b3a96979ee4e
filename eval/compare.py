"""The whole evaluation in one call: ask every arm, score, compare before with after, decide, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emendo.records import AdapterCard, Question, UserError
from eval.evaluation import ArmResult, Evaluation, Table
from eval.gate import Policy, decide, decide_watch, lock_policy, locked_policy
from eval.health import Regurgitation, find_regurgitation
from eval.leaks import Encode, LeakCheck, TrainingText, find_leaks
from eval.llm_judge import FOLDER, Judge, ask_judge, judge_table, with_preferences
from eval.metrics import JUDGE
from eval.questions import questions_sha256
from eval.report import Report, write_report
from eval.run import Arm, Progress, arm_key, list_arms, run_arm
from eval.scoring import CHAT, Scoring, compare_arms, compare_categories, compare_latency, load_arm
from eval.stats import Comparison

GENERAL = "general"  # folder of the general questions' answers, inside the run's
SAME_IN_BOTH_ARMS = ("prompt_version", "index_id", "settings", "batch_size", "seed", "questions_sha256")
Tables = Callable[[Mapping[str, ArmResult]], Sequence[Table]]  # further tables of a task, from its arms
Training = Sequence[TrainingText | tuple[str, str, str]]


@dataclass(frozen=True)
class Background:
    """What is known beside questions and answers: what the adapter learned, how often was tried, who else judges."""

    training: AdapterCard | None = None
    training_texts: Training | None = None  # for the leak check; None: not known
    encode: Encode | None = None  # an embedder's, for leaks by meaning
    losses: Sequence[Mapping[str, float]] = ()  # the trainer's log
    attempts: int = 1  # adapters judged on these questions, this one included
    command: str = ""  # that comes to the same report
    tables: Tables | None = None
    referee: Judge | None = None  # a language model that compares the answers


def evaluate(
    questions: Sequence[Question],
    arms: Sequence[Arm],
    out_dir: Path,
    policy: Policy | None = None,
    background: Background | None = None,
    progress: Progress | None = None,
    batch_size: int = 16,
    seed: int = 0,
    scoring: Scoring = CHAT,
    general: Sequence[Question] = (),
) -> Report:
    """Ask `questions` in all `arms`, then judge; the first arm's name is "before", the other name "after".

    `general` questions are asked without passages, to see what was forgotten.
    """
    policy, background = policy or Policy(), background or Background()
    check_primary(policy, scoring.names, background.referee)
    lock_policy(policy, out_dir)
    generate(questions, arms, out_dir, progress, batch_size, seed)
    if general:
        generate(general, [arm for arm in arms if not arm.rag], out_dir / GENERAL, progress, batch_size, seed)
    sides = list(dict.fromkeys(arm.name for arm in arms))
    if len(sides) != 2:
        raise UserError(f"a comparison needs two sides, got {', '.join(sides) or 'none'}")
    return judge(questions, out_dir, sides[0], sides[1], policy, background, scoring=scoring, general=general, progress=progress)


def check_primary(policy: Policy, names: Sequence[str], referee: Judge | None) -> None:
    """UserError where nothing will score the policy's primary metric."""
    if policy.primary not in names and not (referee and policy.primary == JUDGE.name):
        cure = "name a judge with --judge" if policy.primary == JUDGE.name else "choose one that is"
        raise UserError(f"[policy] primary = {policy.primary!r} is not scored here; {cure}, such as primary = {names[0]!r}")


def generate(
    questions: Sequence[Question],
    arms: Sequence[Arm],
    out_dir: Path,
    progress: Progress | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> None:
    """Answer all questions in all arms; a folder of an earlier, interrupted run is finished."""
    for arm in arms:
        answerer = arm.make_answerer()
        loaded = getattr(answerer, "adapter_id", arm.adapter_id)
        if loaded != arm.adapter_id:
            raise UserError(f"arm {arm.key} wants adapter {arm.adapter_id or 'none'!r}, but its model has {loaded or 'none'!r}")
        run_arm(arm.key, answerer, questions, out_dir, batch_size, progress, seed)


def judge(
    questions: Sequence[Question],
    out_dir: Path,
    before: str = "base",
    after: str = "tuned",
    policy: Policy | None = None,
    background: Background | None = None,
    report_dir: Path | None = None,
    scoring: Scoring = CHAT,
    general: Sequence[Question] = (),
    progress: Progress | None = None,
) -> Report:
    """Score and compare the recorded answers of a run, and write its report. Needs no model, unless there is a referee.

    The policy is the one locked in the run's folder; `scoring` is a task's own.
    """
    policy = locked_policy(out_dir, policy)
    loaded = {key: load_arm(questions, out_dir, key, scoring) for key in list_arms(out_dir)}
    for name in (before, after):
        if arm_key(name, True) not in loaded:
            raise UserError(f"{out_dir} has no arm {arm_key(name, True)!r}; found: {', '.join(loaded) or 'none'}")
    others = {key: load_arm(general, out_dir / GENERAL, key) for key in list_arms(out_dir / GENERAL)} if general else {}
    return judge_arms(
        questions,
        loaded,
        report_dir or out_dir,
        (before, after),
        policy,
        background or Background(),
        locked=True,
        general=(general, others),
        progress=progress,
    )


def judge_arms(
    questions: Sequence[Question],
    loaded: Mapping[str, ArmResult],
    report_dir: Path,
    sides: tuple[str, str],
    policy: Policy,
    background: Background,
    watch: bool = False,
    locked: bool = False,
    general: tuple[Sequence[Question], Mapping[str, ArmResult]] = ((), {}),
    progress: Progress | None = None,
) -> Report:
    """Compare scored arms, decide and report. `watch` asks whether anything got worse, whatever was changed between the two.

    `locked` says that the policy was fixed before the answers were made.
    """
    own_tables = list(background.tables(loaded)) if background.tables else []
    if background.referee:
        loaded, table = _refereed(background.referee, questions, loaded, sides, report_dir, progress)
        own_tables.append(table)
    texts = background.training_texts
    leaks = find_leaks(questions, texts, background.encode) if texts is not None else None
    first, second = (loaded[arm_key(name, True)] for name in sides)
    check_primary(policy, tuple(first.scores), background.referee)
    rows = tuple(row for rag in (True, False) for row in compare_arms(questions, loaded, *sides, rag))
    with_rag = {row.metric.name: row.comparison for row in rows if row.rag}
    slices = compare_categories(questions, first, second, policy.primary)
    latency = compare_latency(questions, first, second)
    if watch:
        gate = decide_watch(policy, with_rag, slices, latency, answer_faults(questions, first, second, policy))
    else:
        gate = decide(
            policy,
            with_rag.get(policy.primary),
            with_rag,
            slices,
            latency,
            find_faults(questions, first, second, leaks, policy),
            background.attempts,
            leak_note(leaks),
            _forgetting(policy, sides, *general),
        )
    evaluation = Evaluation(
        questions=tuple(questions),
        before=sides[0],
        after=sides[1],
        arms=loaded,
        rows=rows,
        slices=slices,
        latency=latency,
        leaks=leaks,
        policy=policy,
        gate=gate,
        primary=with_rag.get(policy.primary),
        attempts=background.attempts,
        training=background.training,
        regurgitation=_recited(texts, loaded, general[1]),
        losses=background.losses,
        command=background.command,
        tables=tuple(own_tables),
        locked=locked,
        watch=watch,
    )
    return write_report(evaluation, report_dir)


def _refereed(
    referee: Judge,
    questions: Sequence[Question],
    loaded: Mapping[str, ArmResult],
    sides: tuple[str, str],
    report_dir: Path,
    progress: Progress | None,
) -> tuple[dict[str, ArmResult], Table]:
    """The arms with the referee's preference as one more score, and the table of what it said."""
    keys = [arm_key(name, True) for name in sides]
    first, second = (loaded[key] for key in keys)
    preferences = ask_judge(referee, questions, first, second, report_dir / FOLDER, progress)
    scored = dict(zip(keys, with_preferences(first, second, preferences), strict=True))
    return {**loaded, **scored}, judge_table(referee, preferences, *sides)


def _forgetting(
    policy: Policy, sides: tuple[str, str], asked: Sequence[Question], arms: Mapping[str, ArmResult]
) -> Comparison | None:
    """The primary metric on general questions, asked without passages; None where none were asked."""
    rows = compare_arms(asked, arms, *sides, rag=False)
    return next((row.comparison for row in rows if row.metric.name == policy.primary), None)


def _recited(
    texts: Training | None, loaded: Mapping[str, ArmResult], general: Mapping[str, ArmResult]
) -> dict[str, Regurgitation]:
    """What each arm repeated of the training answers, on the questions and on general ones."""
    learned = [text[1] for text in texts or ()]
    named = {**loaded, **{f"{key}, general questions": arm for key, arm in general.items()}}
    return {key: find_regurgitation(arm.answers, learned) for key, arm in named.items()} if learned else {}


def leak_note(leaks: LeakCheck | None) -> str:
    return leaks.summary if leaks else "no training data was named, so leaks were not looked for"


def find_faults(
    questions: Sequence[Question], first: ArmResult, second: ArmResult, leaks: LeakCheck | None, policy: Policy
) -> list[str]:
    """Everything that makes a before/after comparison of the two arms invalid, in words."""
    faults = []
    for key in SAME_IN_BOTH_ARMS:
        if first.manifest.get(key) != second.manifest.get(key):
            faults.append(f"{key} differs: {first.manifest.get(key)!r} before, {second.manifest.get(key)!r} after")
    if leaks is not None and not leaks.clean:
        faults.append(leaks.summary)
    if leaks is None and second.manifest.get("adapter_id"):
        faults.append(
            f"adapter {second.manifest['adapter_id']} was compared without its training texts: leaks were not looked for"
        )
    return [*answer_faults(questions, first, second, policy), *faults]


def answer_faults(questions: Sequence[Question], first: ArmResult, second: ArmResult, policy: Policy) -> list[str]:
    """What makes any comparison of two arms invalid: other questions, missing scores, an arm that refuses everything."""
    faults = []
    ids = {question.id for question in questions}
    for arm in (first, second):
        missing, extra = ids - set(arm.answers), set(arm.answers) - ids
        if missing:
            faults.append(
                f"{arm.key} has no answer to {len(missing)} of {len(ids)} questions, such as {min(missing)}; "
                "ask it again (a watch: --accept)"
            )
        if extra:
            faults.append(
                f"{arm.key} answered {len(extra)} questions that are not in the file, such as {min(extra)}; "
                "give the file that it was asked from"
            )
    asked = questions_sha256(questions)
    if any(arm.manifest.get("questions_sha256") != asked for arm in (first, second)):
        faults.append("the questions were changed after the answers were made")
    for arm in (first, second):
        scores = arm.scores[policy.primary]
        unscored = [score for score in scores.values() if score.value is None]
        if scores and len(unscored) > policy.max_unscored * len(scores):
            faults.append(
                f"{len(unscored)} of {len(scores)} answers of {arm.key} have no {policy.primary} ({unscored[0].reason}); "
                "give the questions gold facts, or lock another primary metric, such as --set policy.primary=token_recall"
            )
        if arm.answers and all(answer.abstained for answer in arm.answers.values()):
            faults.append(f"{arm.key} refused every question: its model or index does not work")
    return faults
