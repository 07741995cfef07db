"""Names of branches: what a title becomes, and that Git takes every one of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slugs import branch_name, free_name


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Cache the count", "phasegate/issue-7-cache-the-count"),
        ("Übergrößen für Zoë", "phasegate/issue-7-ubergroen-fur-zoe"),
        ("  -- a/b..c~d --  ", "phasegate/issue-7-a-b-c-d"),
        ("通知を追加", "phasegate/issue-7"),
        ("", "phasegate/issue-7"),
        ("x" * 100, f"phasegate/issue-7-{'x' * 40}"),
        (f"{'x' * 39} tail", f"phasegate/issue-7-{'x' * 39}"),
    ],
)
def test_a_branch_is_named_after_the_issue(title: str, branch: str) -> None:
    assert branch_name(7, title) == branch


@given(st.integers(1, 10**9), st.text())
def test_any_title_gives_a_name_that_git_takes(issue: int, title: str) -> None:
    name = branch_name(issue, title)

    assert re.fullmatch(rf"phasegate/issue-{issue}(-[a-z0-9]+)*", name)
    assert len(name) <= len(f"phasegate/issue-{issue}-") + 40


def test_a_name_that_is_taken_gets_the_first_free_number() -> None:
    assert free_name("a", set()) == "a"
    assert free_name("a", {"a"}) == "a-2"
    assert free_name("a", {"a", "a-2", "a-4"}) == "a-3"


def test_the_same_title_gives_the_same_name() -> None:
    assert branch_name(7, "Cache") == branch_name(7, "Cache")
