"""Every sentence said in public: values in, Markdown out. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import quote

from bot import scope
from bot.advice import Advice
from bot.sanitize import inert

Record: TypeAlias = Mapping[str, Any]
"""The record of a build, as `/builds/{id}.json` shows it."""

_PHASE_SIGNS = {
    "waiting": "·",
    "running": "✍️ at work",
    "checking": "⏳ checks",
    "paused": "⏸️ paused",
    "done": "✅",
}


def usd(amount: Decimal | float) -> str:
    """Return an amount as a person reads it: `$0.04`, `$12.50`."""
    exact = Decimal(str(amount))
    return "less than $0.01" if 0 < exact < Decimal("0.01") else f"${exact:.2f}"


def spread(low_high: Sequence[float]) -> str:
    """Return a forecast range as `$0.10–0.40`."""
    low, high = (Decimal(str(value)) for value in low_high)
    return f"${low:.2f}–{high:.2f}"


def moment(when: datetime) -> str:
    """Return a time of day as a person reads it: `14:32 UTC on 22 November`."""
    return f"{when:%H:%M} UTC on {when.day} {when:%B}"


def short(sha: str) -> str:
    """Return the first seven digits of a hash."""
    return sha[:7]


def plan(record: Record, *, repository_url: str, details_url: str = "") -> str:
    """Return the comment of the newest plan: what will be done, what it may cost, how far it is."""
    current = record["plan"]
    parts = [
        f"### Plan v{current['version']} · `{short(current['hash'])}`",
        inert(current["summary"]),
        _table(record, repository_url),
        _money(record),
        *_flags(current),
        *(_phase_details(number, phase) for number, phase in enumerate(current["phases"], start=1)),
        _requirements(current),
        _noted(
            [f"Phase {one['number']}: {note}" for one in record["phases"] for note in one["notes"]]
        ).strip(),
        _standing(record, repository_url),
    ]
    if details_url:
        parts.append(f"[Details]({details_url})")
    return "\n\n".join(part for part in parts if part)


def superseded(body: str, *, version: int, newest: int) -> str:
    """Return an older plan's comment, folded away."""
    return f"<details><summary>Plan v{version} – superseded by v{newest}</summary>\n\n{body}\n\n</details>"


def planning(record: Record) -> str:
    """Return the comment while there is no plan yet."""
    match record["state"]:
        case "paused":
            said = "Planning is paused; the newest comment says why and what to reply."
        case "cancelled":
            said = f"Cancelled by {record['ended_by']} before there was a plan."
        case _:
            said = (
                "I am reading the repository and will post a plan here. Nothing is written before it is approved."
                f"{_until(record)}"
            )
    return f"{said}\n\nBuild {record['id']} · asked for by {record['opened_by']}"


def _table(record: Record, repository_url: str) -> str:
    rows = ["| | Phase | Cost | |", "|--|--|--|--|"]
    for phase in record["phases"]:
        state = _PHASE_SIGNS.get(phase["state"], phase["state"])
        if phase["commit"]:
            sha = phase["commit"]
            state += f" [`{short(sha)}`]({repository_url}/commit/{sha})"
            own = [a["commit"] for a in phase.get("attempts", ()) if a["outcome"] == "done" and a["commit"]]
            # A person's commit in its place says nothing about those before.
            earlier = [c for c in own if c != sha] if sha in own else []
            red = [f"[`{short(c)}`]({repository_url}/commit/{c})" for c in earlier]
            state += f" (red before: {', '.join(red)})" if red else ""
        cost = usd(phase["cost_usd"]) if phase["cost_usd"] else spread(phase["forecast_usd"])
        rows.append(f"| {phase['number']} | {_cell(phase['title'])} | {cost} | {state} |")
    return "\n".join(rows)


def _line(text: str) -> str:
    """Return a quoted text on one line, for a list item or a sentence."""
    # A word before it keeps the text prose: what reads as a code block is not disarmed, and would be undone here.
    return inert(f"x {' '.join(text.split())}")[2:].replace("\n", " ")


def _cell(text: str) -> str:
    return re.sub(r"\\*\|", r"\\|", _line(text))


def _code(text: str) -> str:
    return inert("`" + " ".join(text.split()).replace("`", "'") + "`")


def _money(record: Record) -> str:
    return (
        f"Forecast {spread(record['forecast_usd'])} · cap {usd(record['budget_usd'])} · "
        f"spent {usd(record['cost_usd'])} · size {record['plan']['size'].replace('_', ' ')}"
    )


def _flags(current: Mapping[str, Any]) -> list[str]:
    found = []
    if current["feature_flag"]:
        found.append(f"**Feature flag:** {_line(current['feature_flag'])}")
    if current["red_on_base"]:
        names = ", ".join(_code(name) for name in current["red_on_base"])
        found.append(
            f"**Red on the base already:** {names}. "
            'A phase cannot turn green until that is mended, or released: `/skip-checks "check" why this is fine`.'
        )
    if current["unmatched"]:
        patterns = ", ".join(_code(pattern) for pattern in current["unmatched"])
        found.append(f"**Allowed paths that match nothing yet:** {patterns}")
    if current["open_questions"]:
        found.append("**Open questions**\n\n" + _bullets(current["open_questions"]))
    return found


def _bullets(items: Iterable[str], *, code: bool = False) -> str:
    return "\n".join(f"- {_code(item) if code else _line(item)}" for item in items)


def _phase_details(number: int, phase: Mapping[str, Any]) -> str:
    sections = [
        # This line is HTML to GitHub, where backticks protect nothing.
        f"<details><summary>Phase {number}: {_line(phase['title']).replace('<', '&lt;')}</summary>",
        inert(phase["goal"]),
        f"**Delivers**\n\n{_bullets(phase['deliverables'])}",
        f"**Done when**\n\n{_bullets(phase['criteria'])}",
        f"**May touch**\n\n{_bullets(phase['allowed_paths'], code=True)}",
    ]
    if phase["out_of_scope"]:
        sections.append(f"**Not now**\n\n{_bullets(phase['out_of_scope'])}")
    sections.append(
        f"**Tests:** {_line(phase['test_approach'])}\n\n"
        f"Serves {_line(', '.join(phase['serves']))} · {_line(phase['layer'])} · about {phase['estimated_lines']} lines"
    )
    return "\n\n".join([*sections, "</details>"])


def _requirements(current: Mapping[str, Any]) -> str:
    lines = [
        f"- **{_line(requirement['id'])}** {_line(requirement['text'])}"
        for requirement in current["requirements"]
    ]
    sections = ["<details><summary>Requirements, assumptions and risks</summary>", "\n".join(lines)]
    for title, items in (("Assumptions", current["assumptions"]), ("Risks", current["risks"])):
        if items:
            sections.append(f"**{title}**\n\n{_bullets(items)}")
    return "\n\n".join([*sections, "</details>"])


def _standing(record: Record, repository_url: str) -> str:
    state, total = record["state"], len(record["phases"])
    pull = f" in #{record['pull_request']}" if record["pull_request"] else ""
    match state:
        case "awaiting_approval":
            return (
                f"Reply `/approve-plan {short(record['plan']['hash'])}` to build it, "
                "or `/revise-plan what to change` to have it changed."
            )
        case "running":
            return f"Phase {record['phase']} of {total} is being written{pull}.{_until(record)}"
        case "awaiting_checks":
            return f"Phase {record['phase']} of {total} waits for its checks{pull}."
        case "verifying":
            return f"All phases are green{pull}. Every requirement is being checked against the result.{_until(record)}"
        case "paused":
            return f"Paused{pull}; the newest comment says why and what to reply."
        case "done":
            return f"Done{pull}."
        case "cancelled":
            return f"Cancelled by {record['ended_by']}; what was pushed stays{pull}."
        case _:
            return f"A new version of this plan is being made.{_until(record)}"


def _until(record: Record) -> str:
    """Say what a waiting attempt waits for and when it goes on by itself."""
    wait = record.get("waits")
    if not wait:
        return ""
    what = _WAITED_FOR.get(wait["for"], "what it needs to come back")
    until = datetime.fromisoformat(wait["until"])
    return (
        f" It waits for {what} and goes on by itself at {until:%H:%M:%S} UTC; "
        "`/resume model=…` goes on at once with another model."
    )


_WAITED_FOR = {
    "rate_limited": "the model's rate limit to clear",
    "overloaded": "the model's service to recover",
    "timeout": "the model to answer again",
    "connection": "the connection to come back",
}


def paused(
    record: Record,
    advice: Advice,
    *,
    where: str,
    detail: str,
    evidence: Sequence[tuple[str, str]] = (),
    attempt_usd: Decimal | None = None,
    last_good: str = "",
    repository_url: str = "",
) -> str:
    """Return the comment of a pause: what failed, the evidence, what stands, the cost and what to reply."""
    lines = [f"**Paused at {_line(where)}: {advice.happened}.**"]
    if detail:
        # A tab behind `> ` is narrower than one at the start of a line: code before would be prose after.
        lines.append("\n".join(f"> {line}" for line in inert(detail.expandtabs(4)).splitlines()))
    facts = [f"- {_line(name)}: {url}" for name, url in evidence]
    if last_good:
        facts.append(f"- Last good commit: [`{short(last_good)}`]({repository_url}/commit/{last_good})")
    spent = f"{usd(record['cost_usd'])} of {usd(record['budget_usd'])} for the build"
    facts.append(
        f"- Cost: {f'{usd(attempt_usd)} for this attempt, ' if attempt_usd is not None else ''}{spent}"
    )
    lines += ["\n".join(facts), _replies(advice)]
    return "\n\n".join(lines)


def _replies(advice: Advice) -> str:
    return "Reply with one line:\n\n" + "\n".join(
        f"- {_code(line)} – {does}" for line, does in advice.replies
    )


def gate_waits(reason: str, links: Sequence[tuple[str, str]], *, number: int) -> str:
    """Return the comment when CI waits for a person: what to do on GitHub; no reply is needed."""
    listed = "\n".join(f"- {inert(name)}: {url}" for name, url in links)
    return "\n\n".join(
        part
        for part in (
            f"**Phase {number} waits for you on GitHub.** {inert(reason)}",
            listed,
            "The clock stands still; the build goes on by itself when this clears. "
            "`/skip-checks why this is fine` goes on without it, on your word.",
        )
        if part
    )


def red_after_done(sha: str, links: Sequence[tuple[str, str]]) -> str:
    """Return what is said, once, of a finished build whose checks turn red."""
    listed = "\n".join(f"- {inert(name)}: {url}" for name, url in links)
    said = (
        f"**The checks of {short(sha)} turned red after the build was done.** Making a pull request ready starts "
        "them anew. The build is over and nothing more is written: look into it before you merge."
    )
    return f"{said}\n\n{listed}" if listed else said


def base_conflicts(base: str, files: Sequence[str]) -> str:
    """Return why a branch cannot be brought up to date: the files both sides changed."""
    listed = ", ".join(f"`{path}`" for path in files) or "files that GitHub does not name"
    return (
        f"`{base}` moved, and merging it conflicts. Both sides changed {listed}. "
        "Merge it by hand, then reply `/resume`."
    )


def base_refused(base: str, workflows: Sequence[str], words: str) -> str:
    """Return why GitHub does not let us bring a branch up to date: its words, or the workflow files it guards."""
    if workflows:
        listed = ", ".join(f"`{path}`" for path in workflows)
        return (
            f"`{base}` moved, and it changes {listed}. GitHub lets no App without the permission `workflows` "
            f"bring that to another branch. Merge `{base}` into the branch by hand, then reply `/resume`."
        )
    return (
        f"`{base}` moved, and GitHub refuses to merge it: {words}. "
        "Mend that, or merge it by hand, then reply `/resume`."
    )


def branch_gone(branch: str) -> str:
    """Return why a build pauses whose branch was deleted."""
    return f"The branch `{branch}` was deleted. Restore it, reopen its pull request and reply `/resume`, or `/cancel`."


def branch_forced(branch: str) -> str:
    """Return why a build pauses whose branch was forced elsewhere."""
    return (
        f"The branch `{branch}` was forced to a commit that is not on top of mine. "
        "`/resume` takes it as it stands now, and its checks decide."
    )


def pull_closed(number: int, words: str) -> str:
    """Return the refusal to go on while a pull request is closed that GitHub does not let us reopen."""
    return (
        f"#{number} is closed, and GitHub does not let me reopen it: {_line(words)}. "
        "Reopen the pull request, then `/resume`."
    )


def found(record: Record) -> str:
    """Return what is said on start-up about a build that waits for a person."""
    plan = record["plan"]
    done = [str(phase["number"]) for phase in record["phases"] if phase["state"] == "done"]
    if plan is None:
        said = "no plan yet. Plan again? `/resume`"
    elif record["failure"] == "gaps" and not plan["approved_by"]:
        said = f"phases to follow up are proposed. Build them? `/approve-plan {short(plan['hash'])}`"
    else:
        following = len(done) + 1
        onward = f"Resume from phase {following}?" if following <= len(record["phases"]) else "Resume?"
        said = f"{_done_phases(done)}. {onward} `/resume`"
    return f"Found an unfinished build: {said}"


def _done_phases(numbers: Sequence[str]) -> str:
    if len(numbers) < 2:
        return f"phase {numbers[0]} done" if numbers else "no phase done yet"
    return f"phases {', '.join(numbers[:-1])} and {numbers[-1]} done"


def stopped(record: Record, why: str, *, reopens: bool = False) -> str:
    """Return the comment when a build pauses because a person closed or unlabelled something."""
    onward = "to reopen it and go on" if reopens else "to go on"
    return f"Paused: {why}. Reply `/resume` {onward} or `/cancel` to end build {record['id']}."


def why_stopped(action: str, login: str) -> str:
    """Return why a build stopped: what `login` did to the issue, its pull request or the App."""
    did = {
        "closed": "closed the issue",
        "unlabeled": "took the label away",
        "deleted": "deleted the issue",
        "transferred": "moved the issue away",
        "pull_closed": "closed the pull request",
        "paused": "asked for it",
        "suspended": "suspended the App",
        "uninstalled": "uninstalled the App",
        "removed": "took the repository away from the App",
    }
    return f"{login} {did.get(action, action)}"


def matrix(rows: Sequence[Mapping[str, Any]], *, repository_url: str, head: str) -> str:
    """Return the table requirement → phase → commit → check → evidence, two columns wide for small screens.

    A row has requirement, text, verdict, phase, commit, checks (list of name, url) and evidence (path, line).
    """
    lines = ["| Requirement | Phase, commit, checks, evidence |", "|--|--|"]
    signs = {"met": "✅", "partly": "🟡", "not_met": "❌"}
    for row in rows:
        commit = (
            f"[`{short(row['commit'])}`]({repository_url}/commit/{row['commit']})" if row["commit"] else ""
        )
        checks = ", ".join(f"[{_cell(name)}]({url})" if url else _cell(name) for name, url in row["checks"])
        seen = [
            f"[{_cell(path)}:{line}]({repository_url}/blob/{head}/{quote(path)}#L{line})"
            for path, line in row["evidence"]
        ]
        made = " · ".join(part for part in (f"phase {row['phase']}", commit, checks) if part)
        sign = signs.get(row["verdict"], "❔")
        lines.append(
            f"| {sign} **{_cell(row['requirement'])}** {_cell(row['text'])} | {'<br>'.join([made, *seen])} |"
        )
    return "\n".join(lines)


def done(record: Record, table: str, *, notes: Sequence[str], ready: bool) -> str:
    """Return the comment that ends a build."""
    ending = "is ready for review" if ready else "is finished"
    press = "" if ready else "\n\nGitHub did not let me mark it ready for review: please press the button."
    return (
        f"**Done: #{record['pull_request']} {ending}.** Every requirement is matched to a commit and a "
        f"passing check.{press}\n\n{table}\n\n{_noted(notes)}"
        f"Cost {usd(record['cost_usd'])} · forecast {spread(record['forecast_usd'])}"
    )


def gaps(
    record: Record,
    table: str,
    *,
    notes: Sequence[str],
    follow_up: Sequence[Mapping[str, Any]],
    hash: str,
    first: int,
) -> str:
    """Return the comment when something is not met: what, and the phases that would close it."""
    parts = [
        "**Not every requirement is met, so the pull request stays a draft.**",
        table,
        _noted(notes).strip(),
    ]
    if follow_up:
        parts += ["Proposed follow-up phases:"]
        parts += [_phase_details(number, phase) for number, phase in enumerate(follow_up, start=first)]
        parts.append(f"Reply `/approve-plan {short(hash)}` to build them, or `/cancel` to end here.")
    else:
        parts.append("Reply `/revise-plan what is missing` to plan the rest, or `/resume` to check again.")
    return "\n\n".join(part for part in parts if part)


def _noted(notes: Sequence[str]) -> str:
    return f"**Noticed**\n\n{_bullets(notes)}\n\n" if notes else ""


def _phases(record: Record) -> str:
    total = len(record["phases"])
    return f"{total} phase{'' if total == 1 else 's'}"


def pull_title(issue_title: str) -> str:
    """Return the pull request's title: plain text, and the subject of the commit where it is squashed."""
    return scope.clean_message(" ".join(issue_title.split()))[:240]


def pull_body(record: Record, *, repository_url: str) -> str:
    """Return the body of the draft: what it is for and how far it is."""
    return scope.without_skips(
        f"Builds #{record['issue']} in {_phases(record)}, one commit each; every commit has passed this "
        "repository's own checks before the next is written.\n\n"
        f"{_table(record, repository_url)}\n\n_This draft becomes ready for review when every requirement is met._"
    )


def review_guide(
    record: Record,
    table: str,
    *,
    decisions: Mapping[int, Sequence[str]],
    notes: Sequence[str],
    repository_url: str,
) -> str:
    """Return the body of the finished pull request: phases, decisions, matrix and cost."""
    parts = [
        f"Resolves #{record['issue']} in {_phases(record)}, one commit each, readable one by one.",
        _table(record, repository_url),
        f"### Requirements\n\n{table}",
    ]
    told = [f"**Phase {number}**\n\n{_bullets(said)}" for number, said in sorted(decisions.items()) if said]
    if told:
        parts.append("### Decisions\n\n" + "\n\n".join(told))
    parts += [
        _noted(notes).strip(),
        f"Cost {usd(record['cost_usd'])} · forecast {spread(record['forecast_usd'])}",
    ]
    return scope.without_skips("\n\n".join(part for part in parts if part))


def status(record: Record, *, repository_url: str) -> str:
    """Return the answer to `/status`."""
    head = (
        f"Build {record['id']} is **{record['state'].replace('_', ' ')}**, spent {usd(record['cost_usd'])}."
    )
    if not record["plan"]:
        return head
    return f"{head}\n\n{_table(record, repository_url)}\n\n{_standing(record, repository_url)}"


def nothing_here(label: str) -> str:
    """Return the answer to a command where there is no build."""
    return f"There is no build here. Add the label `{label}` to an issue to start one."


def not_an_issue() -> str:
    """Return the refusal to build a pull request."""
    return "This is a pull request; a build starts from an issue."


def no_right(login: str) -> str:
    """Return the one sentence for a person without the right."""
    return f"{login}, only people with write permission can start or steer a build here."


def github_refuses(words: str) -> str:
    """Return the answer to a command that GitHub keeps from being done, in GitHub's own words."""
    return f"GitHub refused what this needs: {_line(words)}. Mend that, then give the command again."


def too_late(word: str, state: str) -> str:
    """Return the one line when a command does not fit the state."""
    return f"`/{word}` does not apply: the build is {state.replace('_', ' ')}."


def follow_up_waits(word: str, hash: str) -> str:
    """Return the one line when proposed follow-up phases wait for their approval."""
    return f"`/{word}` does not apply: the follow-up phases wait for `/approve-plan {short(hash)}`."


def edited_since(what: str) -> str:
    """Return the refusal to approve a plan whose issue was edited."""
    return (
        f"The issue's {what} was edited after this plan was made, so the plan may no longer be what you want. "
        "Reply `/revise-plan heed the edited issue` to have it made anew."
    )


def wrong_hash(given: str, newest: str, version: int) -> str:
    """Return the refusal to approve a plan that is not the newest."""
    return f"`{given}` is not the newest plan. That is v{version} `{short(newest)}`: `/approve-plan {short(newest)}`."


def newer_plan(version: int, hash: str) -> str:
    """Return the refusal to approve a plan that was not yet there to be read."""
    return (
        f"Plan v{version} was posted after your comment: read it, then reply `/approve-plan {short(hash)}`."
    )


def closed_path(path: str) -> str:
    """Return the refusal to open a protected path by a comment."""
    return (
        f"{_code(path)} lies in a protected place, which only a person with admin permission may open. "
        "Ask one, or change it yourself."
    )


def unknown_model(model: str, known: Iterable[str]) -> str:
    """Return the refusal of a model without a known price."""
    return f"I know no price for {_code(model)}. I know: {', '.join(f'`{name}`' for name in known)}."


def bug(where: str) -> str:
    """Return the one honest sentence about an error nobody planned for."""
    return f"Something went wrong inside Phasegate ({where}). The operator's log has the details."
