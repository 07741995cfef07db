"""Plans: what can be read, what can be built, the hash, the size and the forecast."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import plans, pricing
from bot.errors import UserError
from bot.plans import Plan, Size
from tests.world import phase, plan

LADDER = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")


def one(**changes: Any) -> Plan:
    """Return a plan of one phase that serves everything, changed."""
    return plans.read(plan(phase(1, **{"serves": ["R1", "R2"], **changes})))


def problems(made: Plan, **limits: Any) -> list[str]:
    return plans.problems(made, **{"max_phases": 8, "line_cap": 400, **limits})


# --- reading


def test_a_submitted_plan_is_read_as_it_is() -> None:
    assert plans.read(plan()).model_dump(mode="json") == plan()


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(UserError) as caught:
        plans.read({**plan(phase(1, estimated_lines="many")), "summary": 3, "extra": 1})

    assert all(name in str(caught.value) for name in ("`summary`", "`extra`", "`phases.0.estimated_lines`"))


@pytest.mark.parametrize("name", list(plan()))
def test_no_field_of_a_plan_may_be_missing(name: str) -> None:
    with pytest.raises(UserError, match=f"`{name}`"):
        plans.read({key: value for key, value in plan().items() if key != name})


@pytest.mark.parametrize("name", list(phase(1)))
def test_no_field_of_a_phase_may_be_missing(name: str) -> None:
    cut = {key: value for key, value in phase(1).items() if key != name}

    with pytest.raises(UserError, match=rf"`phases\.0\.{name}`"):
        plans.read(plan(cut))
    with pytest.raises(UserError, match=f"follow-up phase cannot be read.*{name}"):
        plans.read_phases([cut])


def test_follow_up_phases_are_read_like_those_of_a_plan() -> None:
    assert plans.read_phases([phase(1), phase(2)]) == plans.read(plan()).phases


# --- what is wrong with a plan


def test_a_good_plan_has_no_problem() -> None:
    assert problems(plans.read(plan())) == []
    assert problems(one()) == []


def test_a_plan_without_requirements_or_phases_is_refused() -> None:
    empty = plans.read({**plan(), "requirements": [], "phases": []})

    assert problems(empty) == [
        "The plan names no requirement: quote what the issue asks for as R1, R2, ….",
        "The plan has no phase.",
    ]


def test_more_phases_than_the_policy_allows_are_refused() -> None:
    assert problems(plans.read(plan()), max_phases=2) == []
    assert problems(plans.read(plan()), max_phases=1) == ["The plan has 2 phases; at most 1 are allowed."]


def test_every_requirement_must_be_served_by_a_phase() -> None:
    assert problems(one(serves=["R1"])) == ["No phase serves requirement R2."]


def test_a_requirement_id_stands_once() -> None:
    twice = [{"id": "R1", "text": "a"}, {"id": "R1", "text": "b"}]

    assert problems(plans.read(plan(phase(1), requirements=twice))) == ["Requirement id R1 stands twice."]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"title": " "}, "it needs a title and a goal."),
        ({"goal": ""}, "it needs a title and a goal."),
        ({"criteria": []}, "it has no criterion, so nobody could tell when it is done."),
        ({"serves": ["R1", "R2", "R9"]}, "it serves R9, which is no requirement."),
        (
            {"layer": "magic"},
            "layer 'magic' is none of data, logic, api, interface, integration, docs, other.",
        ),
        ({"deliverables": ["docs/x.md: a page"]}, "deliverable docs/x.md lies outside its allowed paths."),
        ({"estimated_lines": 0}, "0 estimated lines; a phase has 1 to 400. Split it."),
        ({"estimated_lines": 401}, "401 estimated lines; a phase has 1 to 400. Split it."),
        ({"allowed_paths": ["/tally/**"]}, "'/tally/**': it is absolute"),
        (
            {"allowed_paths": [], "deliverables": ["the part"]},
            "it allows no path, so nothing could be written.",
        ),
    ],
)
def test_what_is_wrong_with_a_phase_is_said_with_its_number(changes: dict[str, Any], reason: str) -> None:
    (found,) = problems(one(**changes))

    assert found.startswith(f"Phase 1: {reason}")


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", ".gitlab-ci.yml", "sub/.gitattributes"])
def test_a_protected_place_is_refused_in_the_plan_already(path: str) -> None:
    found = problems(one(allowed_paths=["tally/*.py", "tests/*.py", path]))

    assert found == [f"Phase 1: '{path}' lies in a protected place; only a person may allow that."]


def test_the_policys_own_protected_paths_count_too() -> None:
    assert "'tally/part1.py' lies in a protected place" in problems(one(), protected=("tally/**",))[0]


def test_a_broad_pattern_is_held_back_at_each_write_and_not_in_the_plan() -> None:
    assert problems(one(allowed_paths=["**"])) == []


def test_a_finished_phase_is_not_judged_again() -> None:
    old = plans.read(plan(phase(1, estimated_lines=900), phase(2, estimated_lines=901)))

    assert [reason.partition(":")[0] for reason in problems(old)] == ["Phase 1", "Phase 2"]
    assert [reason.partition(":")[0] for reason in problems(old, finished=1)] == ["Phase 2"]


def test_patterns_that_match_neither_a_file_nor_a_deliverable_are_flagged() -> None:
    made = one(allowed_paths=["tally/part1.py", "tests/*.py", "src/**", "docs/*.md"])

    assert plans.unmatched(made, ["docs/a.md"]) == ["src/**"]
    assert plans.unmatched(made, []) == ["docs/*.md", "src/**"]


# --- deliverables


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("app/models.py: the Notification model", "app/models.py"),
        ("`app/models.py` – the model", "app/models.py"),
        ("app/models.py — the model", "app/models.py"),
        ("app/models.py (new)", "app/models.py"),
        ("  app/models.py  ", "app/models.py"),
        ("README.md", "README.md"),
        ("`pages/[id].tsx`: the page", "pages/[id].tsx"),
        ("src/routes/+page.svelte, the page", "src/routes/+page.svelte"),
        ("Makefile: a target", None),
        ("The model in app/models.py", None),
        ("e.g. a test", None),
        ("", None),
    ],
)
def test_the_path_of_a_deliverable_stands_first(text: str, path: str | None) -> None:
    assert one(deliverables=[text]).phases[0].paths() == ([path] if path else [])


@pytest.mark.parametrize(
    ("path", "promised"),
    [
        ("tests/test_part1.py", True),
        ("tally/test_part1.py", True),
        ("web/cart.spec.ts", True),
        ("src/test/java/CartTest.java", True),
        ("tally/contest.py", False),
        ("tally/latest.py", False),
    ],
)
def test_tests_are_promised_where_a_deliverable_lies_among_them(path: str, promised: bool) -> None:
    assert one(deliverables=[f"{path}: it"]).phases[0].expects_tests is promised


# --- hash


def _digest(made: Plan, **changes: str) -> str:
    return plans.digest(made, **{"title": "Cache", "body": "Please.", "base": "b" * 40, **changes})


def test_the_same_plan_has_the_same_hash() -> None:
    assert _digest(plans.read(plan())) == _digest(plans.read(plan()))
    assert len(_digest(one())) == 40


@pytest.mark.parametrize("part", ["title", "body", "base"])
def test_the_hash_covers_what_the_planner_saw(part: str) -> None:
    assert _digest(one(), **{part: "other"}) != _digest(one())


@pytest.mark.parametrize("name", list(plan()))
def test_the_hash_covers_every_part_of_the_plan(name: str) -> None:
    changed: dict[str, Any] = {
        "summary": "x",
        "requirements": [{"id": "R1", "text": "other"}],
        "assumptions": ["x"],
        "open_questions": ["x"],
        "risks": ["x"],
        "feature_flag": "x",
        "phases": [phase(2)],
    }

    assert _digest(plans.read({**plan(), name: changed[name]})) != _digest(plans.read(plan()))


@pytest.mark.parametrize("name", list(phase(1)))
def test_the_hash_covers_every_part_of_a_phase(name: str) -> None:
    old = phase(1)[name]
    new: Any = old + 1 if isinstance(old, int) else [*old, "x"] if isinstance(old, list) else old + "x"

    assert _digest(one(**{name: new})) != _digest(one(**{name: old}))


def test_no_text_can_pass_for_another_part() -> None:
    assert _digest(one(), title="a", body="b") != _digest(one(), title="a\nb", body="")


# --- size


def sized(lines: int, files: int) -> Size:
    names = [f"src/f{number}.py: it" for number in range(files)]
    return plans.size(one(estimated_lines=lines, deliverables=names))


@pytest.mark.parametrize(
    ("lines", "files", "size"),
    [
        (120, 4, Size.SMALL),
        (121, 4, Size.LARGE),
        (120, 5, Size.LARGE),
        (1600, 40, Size.LARGE),
        (1601, 40, Size.VERY_LARGE),
        (1600, 41, Size.VERY_LARGE),
    ],
)
def test_the_size_class_changes_right_after_its_border(lines: int, files: int, size: Size) -> None:
    assert sized(lines, files) is size


def test_the_size_counts_the_whole_plan_and_each_file_once() -> None:
    same = [phase(n, estimated_lines=61, deliverables=["src/a.py: it"]) for n in (1, 2)]
    made = plans.read(plan(*same))

    assert (made.lines, made.files) == (122, 1)
    assert plans.size(made) is Size.LARGE


# --- forecast


@given(st.integers(1, 5000), st.sampled_from(pricing.models()))
def test_a_forecast_is_a_range_above_zero(lines: int, model: str) -> None:
    low, high = plans.forecast(one(estimated_lines=lines).phases[0], model)

    assert 0 < low < high


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_more_lines_never_cost_less(some: int, more: int) -> None:
    cheap, dear = (
        plans.forecast(one(estimated_lines=lines).phases[0], LADDER[1])
        for lines in sorted((some, some + more))
    )

    assert cheap < dear


def test_a_stronger_model_is_forecast_to_cost_more() -> None:
    costs = [plans.forecast(one().phases[0], model) for model in LADDER]

    assert all(weak < strong for weak, strong in pairwise(costs))


def test_the_plans_forecast_is_the_sum_of_the_phases_to_come() -> None:
    made = plans.read(plan())
    first, second = (plans.forecast(item, LADDER[1]) for item in made.phases)

    assert plans.forecast_plan(made, LADDER[1]) == (first[0] + second[0], first[1] + second[1])
    assert plans.forecast_plan(made, LADDER[1], after=1) == second
    assert plans.forecast_plan(made, LADDER[1], after=2) == (Decimal(0), Decimal(0))
