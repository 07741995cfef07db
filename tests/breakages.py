"""Breaks the code one line at a time and shows that the tests notice: `make breakages ARGS="word…"`.

Works on copies of the tree. The named tests must pass unbroken first: a check that is set up wrongly is red too.
Exits 1 where a breakage survives or could not be tried. Words choose the breakages whose name holds one of them.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "data", "*.egg-info"
)
COPIES = 2
PATIENCE = 300
"""Seconds the tests of one breakage may take; a break that makes them hang is noticed too."""

PASSED, FAILED = 0, 1
"""Pytest's exit codes; anything else means that the tests did not run as they should."""


@dataclass(frozen=True)
class Breakage:
    """One line that is put wrong, and the tests that must turn red."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, tree: Path) -> str:
        """Put the line wrong in `tree`; return the file as it was, or fail where the line is not there once."""
        path = tree / self.file
        whole = path.read_text()
        if whole.count(self.old) != 1:
            raise LookupError(f"{self.file} holds the line {whole.count(self.old)} times: {self.old.strip()}")
        path.write_text(whole.replace(self.old, self.new))
        return whole


def flow(file: str, *names: str) -> tuple[str, ...]:
    """Return the ids of tests over HTTP."""
    return tuple(f"tests/flow/test_{file}.py::test_{name}" for name in names)


def unit(file: str, *names: str) -> tuple[str, ...]:
    """Return the ids of tests of single modules."""
    return tuple(f"tests/unit/test_{file}.py::test_{name}" for name in names)


BREAKAGES = [
    # Who is listened to
    Breakage(
        "signature check removed",
        "bot/events.py",
        "        if secret and hmac.compare_digest(given, wanted):\n",
        "        if secret:\n",
        unit("events", "a_wrong_signature_is_refused"),
    ),
    Breakage(
        "de-duplication of deliveries removed",
        "bot/store.py",
        "    if db.get(Delivery, delivery.guid) is not None:\n        return False\n",
        "    if known := db.get(Delivery, delivery.guid):\n        db.delete(known)\n        db.flush()\n",
        flow("intake", "a_delivery_that_comes_at_once_several_times_is_kept_once"),
    ),
    Breakage(
        "permission check removed",
        "bot/orders.py",
        "    return found.permission in WRITERS and found.user_id == user_id\n",
        "    return found.user_id == user_id\n",
        flow(
            "commands",
            "commands_of_a_person_without_write_permission_get_a_sign_each_and_one_sentence_in_all",
        ),
    ),
    Breakage(
        "commands of bots obeyed",
        "bot/events.py",
        '    if event.sender_type != "User" or event.at("comment", "user", "type") != "User":\n',
        "    if False:\n",
        unit("events", "only_a_new_comment_by_a_person_counts"),
    ),
    Breakage(
        "hash check removed",
        "bot/orders.py",
        "    if not version.hash.startswith(command.hash):\n",
        "    if False:\n",
        flow("commands", "another_hash_than_the_newest_plans_is_refused"),
    ),
    Breakage(
        "an edited issue approved",
        "bot/orders.py",
        "    if issue.body != version.issue_body:\n",
        "    if False:\n",
        flow("commands", "a_plan_is_not_approved_after_the_issue_was_edited"),
    ),
    Breakage(
        "a model without a price taken",
        "bot/orders.py",
        "    if command.model and not pricing.known(command.model):\n",
        "    if False:\n",
        flow("commands", "a_model_of_no_known_price_is_refused_at_once_with_the_list"),
    ),
    Breakage(
        "a protected path opened without admin permission",
        "bot/orders.py",
        '    if closed and (await repository.permission(event.sender_login)).permission != "admin":\n',
        "    if False:\n",
        flow("commands", "no_comment_of_a_person_without_admin_permission_opens_a_protected_path"),
    ),
    # What may be written
    Breakage(
        "allow-list check removed",
        "bot/scope.py",
        "    if path in contract.granted or matches(path, patterns):\n        return None\n",
        "    return None\n",
        flow("failures", "a_write_outside_the_allowed_paths_is_refused_and_never_reaches_the_branch"),
    ),
    Breakage(
        "protected paths open",
        "bot/scope.py",
        "    if protected(path, contract.protected) and not _named(path, contract):\n",
        "    if False:\n",
        flow("failures", "a_protected_path_is_refused_even_where_the_pattern_is_broad"),
    ),
    Breakage(
        "line cap ignored",
        "bot/scope.py",
        "    if lines <= contract.line_cap:\n",
        "    if True:\n",
        flow("failures", "a_phase_cannot_finish_while_something_is_wrong"),
    ),
    Breakage(
        "weakened tests let through",
        "bot/scope.py",
        "    reasons += weakened(texts)\n",
        "",
        flow("failures", "a_phase_cannot_finish_while_something_is_wrong"),
    ),
    Breakage(
        "secrets let into a commit",
        "bot/scope.py",
        "    reasons += _secret_reasons(texts, secrets)\n",
        "",
        flow("failures", "a_phase_cannot_finish_while_something_is_wrong"),
    ),
    Breakage(
        "lease dropped from the ref update",
        "bot/github_git.py",
        '"beforeOid": full_sha(before), "afterOid"',
        '"afterOid"',
        unit("github", "a_branch_moves_only_from_where_it_must_be"),
    ),
    Breakage(
        "secret redaction off",
        "bot/outbox.py",
        "    return sanitize.cut(sanitize.redact(body, parts.settings.secrets), limit)\n",
        "    return sanitize.cut(body, limit)\n",
        unit("outbox", "the_secrets_of_the_process_are_taken_out"),
    ),
    # The gate
    Breakage(
        "CI of an old commit honoured",
        "bot/gate.py",
        '    shas = ("", observation.sha)\n',
        '    shas = ("", observation.sha, *(one.sha for one in (*observation.checks, *observation.runs)))\n',
        unit("gate", "what_is_said_of_another_commit_is_no_result"),
    ),
    Breakage(
        "settle time ignored",
        "bot/gate.py",
        "    if case.green_before is not None and not left:\n",
        "    if True:\n",
        unit("gate", "the_same_green_set_must_be_seen_twice_the_settle_time_apart"),
    ),
    Breakage(
        "own checks counted",
        "bot/gate.py",
        "    return [one for one in seen if one.app_id != observation.own_app_id]\n",
        "    return seen\n",
        unit("gate", "what_our_own_app_reported_is_no_result"),
    ),
    Breakage(
        "an unknown conclusion taken for green",
        "bot/results.py",
        "    return CONCLUSIONS.get(word, Outcome.PERSON), word\n",
        "    return CONCLUSIONS.get(word, Outcome.GREEN), word\n",
        unit("gate", "an_unknown_conclusion_needs_a_person_and_is_named"),
    ),
    Breakage(
        "no results taken for green",
        "bot/gate.py",
        '    if rules.when_none == "allow" and not case.missing:\n',
        "    if not case.missing:\n",
        unit("gate", "no_results_are_never_silently_green"),
    ),
    Breakage(
        "a released check alone taken for green",
        "bot/gate.py",
        "        return not self.results\n",
        "        return not self.results and not self.released\n",
        unit("gate", "a_released_result_alone_is_no_more_than_no_result"),
    ),
    Breakage(
        "a re-run that is not shown yet forgotten",
        "bot/gate.py",
        "        if run.key in before.rerun and run.id not in started\n",
        "        if False\n",
        unit("gate", "red_results_of_a_run_that_was_asked_to_run_again_are_pending_until_the_timeout"),
    ),
    Breakage(
        "rules that may not be read taken for none",
        "bot/github.py",
        "            if NO_RULES in str(refusal):\n",
        "            if True:\n",
        unit("github", "rules_that_may_not_be_read_are_not_taken_for_none"),
    ),
    Breakage(
        "repairs without end",
        "bot/verdicts.py",
        "repairs(db, build) < parts.rules(build).repairs:",
        "True:",
        flow("repair", "where_the_policy_allows_no_repair_a_red_check_pauses_at_once"),
    ),
    # What is paid and kept
    Breakage(
        "journal not read on restart",
        "bot/agent.py",
        "    told = await parts.database.ask(store.turns, attempt.id or 0)\n    for turn in told:\n",
        "    told: list[Turn] = []\n    for turn in told:\n",
        flow("failures", "what_heals_by_waiting_goes_on_by_itself_from_the_journal"),
    ),
    Breakage(
        "budget not looked at before a call",
        "bot/agent.py",
        "        if spent + next_call > left:\n",
        "        if False:\n",
        flow("failures", "a_phase_that_failed_is_told_with_its_cause_and_mended_by_one_reply[out of budget]"),
    ),
    Breakage(
        "circles not noticed",
        "bot/agent.py",
        "    if calls and calls.most_common(1)[0][1] >= _SAME_CALL:\n",
        "    if False:\n",
        flow("failures", "a_phase_that_failed_is_told_with_its_cause_and_mended_by_one_reply[stuck]"),
    ),
    Breakage(
        "cost of an aborted call forgotten",
        "bot/agent.py",
        "            await parts.database.run(_stopped, parts, attempt.id, attempt.model, paid)\n",
        "            assert paid\n",
        flow("resume", "a_running_call_is_aborted_by_cancel_within_a_second_and_its_cost_is_recorded"),
    ),
    Breakage(
        "a running call not aborted",
        "bot/builds.py",
        "        store.after_commit(db, lambda: parts.engine.stop_attempt(number))\n",
        "        assert number\n",
        flow("resume", "a_running_call_is_aborted_by_cancel_within_a_second_and_its_cost_is_recorded"),
    ),
    Breakage(
        "edits lost on resume",
        "bot/builds.py",
        "            follows=last.id if kept and last else None,\n",
        "            follows=None,\n",
        flow("resume", "edits_before_a_limit_are_where_resume_starts_from_and_retry_does_not"),
    ),
    Breakage(
        "edits kept on retry",
        "bot/orders.py",
        '        fresh=command.word == "retry",\n',
        "        fresh=False,\n",
        flow("resume", "edits_before_a_limit_are_where_resume_starts_from_and_retry_does_not"),
    ),
    Breakage(
        "edits for an older plan taken over",
        "bot/builds.py",
        "        _enter_plan(db, build)\n        fresh = True\n",
        "        _enter_plan(db, build)\n",
        flow(
            "resume",
            "a_revised_plan_leaves_finished_phases_as_they_are_and_takes_nothing_from_the_failed_one",
        ),
    ),
    Breakage(
        "retry-after not honoured",
        "bot/advice.py",
        "        return max(retry_after, 1.0) if retry_after <= LONGEST_WAIT else None\n",
        "        return 1.0\n",
        (
            *unit("advice", "what_the_other_side_asks_for_is_honoured"),
            *flow("resume", "a_wait_outlives_the_process_and_ends_when_it_was_said_to"),
        ),
    ),
    Breakage(
        "a model suggested that was tried already",
        "bot/advice.py",
        "    return next((each for each in ladder[place:] if each not in tried), None)\n",
        "    return next(iter(ladder[place:]), None)\n",
        unit("advice", "a_model_that_was_tried_is_stepped_over"),
    ),
    Breakage(
        "evidence of a verification not looked up",
        "bot/verification.py",
        "    if not 1 <= evidence.line <= lines:\n",
        "    if False:\n",
        flow("failures", "evidence_that_does_not_exist_is_sent_back"),
    ),
    # What leaves, and on whose word
    Breakage(
        "secrets left in the record",
        "bot/records.py",
        "sanitize.redact_all(_whole(db, reading, build), reading.settings.secrets)",
        "_whole(db, reading, build)",
        flow("secrets", "the_record_and_show_hold_neither_the_bots_key_nor_a_token_that_ci_printed"),
    ),
    Breakage(
        "a policy's word taken for a stranger's issue",
        "bot/planning.py",
        "    return small and await orders.may_command(repository, issue.author_login, issue.author_id)\n",
        "    return small\n",
        flow("trust", "a_small_plan_for_an_issue_of_a_stranger_waits_for_a_person"),
    ),
    Breakage(
        "a run that began between two reads overlooked",
        "bot/evidence.py",
        "    if runs is not None and _began_meanwhile(checks, runs):\n",
        "    if False:\n",
        flow("repair", "a_run_that_begins_while_the_checks_are_read_is_seen_with_them"),
    ),
    Breakage(
        "a command lost with its reaction",
        "bot/orders.py",
        '    except (Denied, Missing, Rejected) as error:\n        _log.info("no sign given"',
        '    except ZeroDivisionError as error:\n        _log.info("no sign given"',
        flow("commands", "a_command_counts_where_github_takes_no_reaction"),
    ),
]


def run(tree: Path, tests: Iterable[str], *options: str) -> int:
    """Run some tests in `tree`; return pytest's exit code, FAILED where they never came to an end."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *options, *tests]
    try:
        return subprocess.run(
            command, cwd=tree, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode
    except subprocess.TimeoutExpired:
        return FAILED


def attempt(breakage: Breakage, trees: "SimpleQueue[Path]") -> tuple[str, float]:
    """Try one breakage in a free copy; return what became of it and the seconds it took."""
    tree, began = trees.get(), time.monotonic()
    try:
        whole = breakage.apply(tree)
        try:
            code = run(tree, breakage.tests)
        finally:
            (tree / breakage.file).write_text(whole)
    except LookupError as error:
        return str(error), 0.0
    finally:
        trees.put(tree)
    said = {FAILED: "noticed", PASSED: "SURVIVED"}.get(code, f"pytest ended with {code}")
    return said, time.monotonic() - began


def main(words: list[str]) -> int:
    """Try the breakages whose name holds one of `words`, all by default; return 1 where one is not noticed."""
    chosen = [one for one in BREAKAGES if not words or any(word in one.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(COPIES):
            tree = Path(folder) / str(number)
            shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
            trees.put(tree)
        tests = dict.fromkeys(test for one in chosen for test in one.tests)
        print(f"unbroken: {len(tests)} tests", flush=True)
        if not chosen or run(tree, tests, "--numprocesses", str(COPIES)) != PASSED:
            print("The named tests do not pass in the unbroken tree.")
            return 1
        with ThreadPoolExecutor(COPIES) as pool:
            outcomes = list(pool.map(lambda one: attempt(one, trees), chosen))
    width = max(len(one.name) for one in chosen)
    for one, (said, seconds) in zip(chosen, outcomes, strict=True):
        print(f"{one.name:<{width}}  {one.file:<20}  {seconds:5.1f} s  {said}")
    missed = sum(said != "noticed" for said, _ in outcomes)
    print(f"{len(chosen) - missed} of {len(chosen)} breakages noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
