"""What a phase may touch and leave behind."""

import re
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import scope
from bot.errors import UserError
from bot.scope import Contract


@dataclass
class Change:
    path: str
    status: str = "M"
    old_mode: str = "100644"
    new_mode: str = "100644"
    added: int = 1
    removed: int = 0
    binary: bool = False


CONTRACT = Contract(
    allowed=("src/shop/cart.py", "src/shop/api/**", "tests/test_cart.py"),
    owners={"src/shop/pay/**": 3, "docs/**": 4, "src/**": 2},
)


def judged(
    *changes: Change, contract: Contract = CONTRACT, texts: Mapping[str, tuple[str | None, str | None]] = {}
) -> str:
    """Return the reasons against these changes in one text, empty when there are none."""
    return "\n".join(scope.review(changes, contract, lambda path: texts.get(path, ("", "x = 1\n"))))


# --- patterns and paths


@pytest.mark.parametrize(
    "pattern",
    [
        "src/**",
        "src/**/*.py",
        "*",
        "**",
        "a b.txt",
        ".github/**",
        r"app/\[id\]/page.tsx",
        "app/[id]/*",
        "{{name}}/x",
    ],
)
def test_a_plain_pattern_has_no_problem(pattern):
    assert scope.pattern_problem(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *("", " ", "/src/**", "../x", "a/../b", "./a", "a//b", "src/", "!src/**", "#x", "-x", "src\\x.py"),
        *("cafe\u0301/**", "a\nb", "a\u202eb", "a\u200bb", " src/**", "src/** ", "src/{a,b}.py", "x" * 501),
        "**/a/**/b/**/c/**/d",
    ],
)
def test_a_pattern_that_could_surprise_is_explained_in_a_sentence(pattern):
    problem = scope.pattern_problem(pattern)
    assert problem
    assert problem.endswith(".")
    assert problem.startswith("it ")


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("src/a.py", "src/*", True),
        ("src/a/b.py", "src/*", False),
        ("src/a/b.py", "src/**", True),
        ("a.py", "**/*.py", True),
        ("src/.hidden/x", "src/**", True),
        ("docs/x.md\n", "docs/*.md", False),
        ("src/../.github/x", "src/**", False),
        ("app/[id]/page.tsx", "app/[id]/page.tsx", True),
        ("app/i/page.tsx", r"app/\[id\]/page.tsx", False),
        ("SRC/a.py", "src/*", False),
        ("xsrc/a.py", "src/*", False),
        ("README.md", "*.md", True),
        ("docs/README.md", "*.md", False),
    ],
)
def test_a_glob_means_what_it_says(path, pattern, expected):
    assert scope.matches(path, [pattern]) is expected


def test_a_pattern_made_to_hang_does_not():
    patterns = ["**/a/**/a/**/b", "*a" * 20 + "b", "?*" * 30 + "b", "[a]*" * 20 + "b"]
    paths = ["/".join("a" * 2000), "/".join("a" * 100), "a" * 400]
    start = time.process_time()
    assert not any(scope.matches(path, [pattern]) for pattern in patterns for path in paths)
    assert time.process_time() - start < 20


PIECES = st.sampled_from(
    [".git", ".GIT", "..", ".", "", "a", "b c", "git~1", "a.", "é", "e\u0301", "x\u200b", "a\\b", "\n", "/"]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=4).map("/".join) | st.text(max_size=20))
def test_a_path_without_a_problem_is_plain(path):
    """Whatever passes stays inside the tree on every file system."""
    if scope.path_problem(path) is None:
        parts = path.split("/")
        assert not {"", ".", "..", ".git"} & {part.casefold().rstrip(". ") for part in parts}
        assert path == unicodedata.normalize("NFC", path)
        assert path.isprintable() or any(unicodedata.category(one) in {"Zs", "Co", "Cn"} for one in path)
        assert "\\" not in path


@settings(deadline=None)
@given(st.text(max_size=40))
def test_every_refusal_of_a_path_is_one_line(path):
    problem = scope.refusal(path, CONTRACT)
    assert problem is None or ("\n" not in problem and problem.endswith("."))


# --- protected paths


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".github/workflows/ci.yml",
            ".GitHub/x",
            "pkg/.github/x",
            ".gitlab-ci.yml",
            ".GITLAB-CI.YML",
            "Jenkinsfile",
        ),
        *(
            "jenkinsfile",
            ".circleci/config.yml",
            ".gitignore",
            "src/.gitattributes",
            ".gitmodules",
            "a/.git/config",
        ),
        *("sub/Jenkinsfile", ".circleci", ".github/**"),
    ],
)
def test_ci_and_gits_own_files_are_protected_in_any_case_and_depth(path):
    assert scope.protected(path)


@pytest.mark.parametrize(
    "path", ["src/github.py", "docs/git.md", "gitignore", "Jenkinsfile.md", "src/**", "circleci/x"]
)
def test_ordinary_paths_are_not_protected(path):
    assert not scope.protected(path)


@pytest.mark.parametrize("pattern", ["infra/**", "infra", "infra/", "INFRA/**", "infra/prod/*"])
def test_a_policy_protects_further_folders(pattern):
    assert scope.protected("infra/prod/main.tf", [pattern])
    assert not scope.protected("src/infra.py", [pattern])


# --- siblings


@pytest.mark.parametrize(
    "path",
    [
        *(
            "tests/test_cart.py",
            "tests/unit/test_cart_totals.py",
            "src/shop/cart_test.py",
            "src/shop/cart.test.py",
        ),
        *("src/shop/cart.spec.py", "src/shop/__tests__/cart.test.js", "tests/__snapshots__/test_cart.ambr"),
        *(
            "src/shop/__snapshots__/cart.test.js.snap",
            "spec/shop/cart_spec.rb",
            "tests/__snapshots__/test_cart/one.json",
        ),
    ],
)
def test_the_tests_of_an_allowed_file_are_its_siblings(path):
    paths = ["tests/test_cart.py", "src/shop/cart.test.js"]
    assert scope.sibling(path, ["src/shop/cart.py"], paths)
    assert not scope.sibling(path, ["src/shop/other.py"], paths)


def test_siblings_of_a_pattern_follow_the_files_there_are():
    assert scope.sibling("tests/test_cart.py", ["src/**"], ["src/shop/cart.py"])
    assert not scope.sibling("tests/test_cart.py", ["src/**"], ["lib/cart.py", "src/shop/pay.py"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("package-lock.json", "package.json"),
        ("yarn.lock", "packages/web/package.json"),
        ("backend/uv.lock", "backend/pyproject.toml"),
        ("go.sum", "go.mod"),
        ("Cargo.lock", "crates/core/Cargo.toml"),
        ("Gemfile.lock", "shop.gemspec"),
    ],
)
def test_the_lock_file_of_an_allowed_manifest_is_its_sibling(path, allowed):
    assert scope.sibling(path, [allowed])
    assert not scope.sibling(path, ["src/cart.py"])
    assert not scope.sibling(f"elsewhere/{path}", [allowed])


@pytest.mark.parametrize(
    "path", ["src/shop/cart_helper.py", "src/shop/test_cart.py.orig/x", "tests/cart.py", "lib/cart_test.py"]
)
def test_other_files_are_no_siblings(path):
    assert not scope.sibling(path, ["src/shop/cart.py"])


# --- the contract


def test_an_allowed_path_is_not_refused():
    assert scope.refusal("src/shop/cart.py", CONTRACT) is None
    assert scope.refusal("src/shop/api/v1/list.py", CONTRACT) is None


def test_a_refusal_names_the_phase_that_owns_the_path():
    assert "belongs to phase 4" in (scope.refusal("docs/guide.md", CONTRACT) or "")
    assert "belongs to phases 2 and 3" in (scope.refusal("src/shop/pay/card.py", CONTRACT) or "")


def test_a_refusal_of_a_free_path_says_how_to_ask():
    reason = scope.refusal("setup.cfg", CONTRACT) or ""
    assert "request_scope" in reason
    assert "3 of 3" in reason
    full = Contract(allowed=("a",), grow=0)
    assert "/allow setup.cfg" in (scope.refusal("setup.cfg", full) or "")


def test_a_sibling_is_not_refused_unless_the_policy_says_so_or_another_phase_names_it():
    assert scope.refusal("tests/unit/test_cart_more.py", CONTRACT) is None
    strict = Contract(allowed=("src/shop/cart.py",), siblings=False)
    assert scope.refusal("tests/unit/test_cart_more.py", strict)
    named = Contract(allowed=("src/shop/cart.py",), owners={"tests/test_cart.py": 2})
    assert "phase 2" in (scope.refusal("tests/test_cart.py", named) or "")


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", "src/shop/api/.gitignore", "infra/x"])
def test_a_protected_path_is_refused_inside_the_allowed_ones_too(path):
    contract = Contract(allowed=("**",), protected=("infra/**",))
    assert "protected" in (scope.refusal(path, contract) or "")


@pytest.mark.parametrize(
    ("pattern", "opens"),
    [("**", False), ("*/workflows/*", False), (".github/**", True), (".github/workflows/ci.yml", True)],
)
def test_only_a_person_who_names_it_opens_a_protected_path(pattern, opens):
    contract = Contract(allowed=("**",), allowed_by_person=(pattern,))
    assert (scope.refusal(".github/workflows/ci.yml", contract) is None) is opens


def test_what_a_person_allowed_is_allowed():
    contract = Contract(allowed=("src/**",), allowed_by_person=("docs/*.md",), owners={"docs/**": 4})
    assert scope.refusal("docs/guide.md", contract) is None


@pytest.mark.parametrize(
    "path", ["src/shop/../../.github/x", "/etc/passwd", "src/shop/api/.git/config", "src\\shop\\cart.py", ""]
)
def test_a_path_that_leaves_the_tree_is_refused_first(path):
    assert scope.refusal(path, Contract(allowed=("**",), allowed_by_person=("**", path)))


def test_a_free_path_is_granted_a_few_times():
    contract = CONTRACT
    for number in range(3):
        contract = scope.grant(f"extra/{number}.py", contract)
    assert contract.granted == ("extra/0.py", "extra/1.py", "extra/2.py")
    assert scope.refusal("extra/1.py", contract) is None
    with pytest.raises(UserError, match="used up"):
        scope.grant("extra/3.py", contract)


def test_a_grant_of_what_is_allowed_costs_nothing():
    assert scope.grant("src/shop/cart.py", CONTRACT) is CONTRACT
    once = scope.grant("extra.py", CONTRACT)
    assert scope.grant("extra.py", once) is once


@pytest.mark.parametrize("path", ["docs/guide.md", ".github/x", "../x", "extra/*.py", "extra/?.py", ""])
def test_owned_protected_and_vague_paths_are_not_granted(path):
    with pytest.raises(UserError):
        scope.grant(path, CONTRACT)


def test_a_granted_path_is_exactly_one():
    contract = scope.grant("app/[id]/page.tsx", CONTRACT)
    assert scope.refusal("app/[id]/page.tsx", contract) is None
    assert scope.refusal("app/i/page.tsx", contract)


# --- the review


def test_a_change_inside_the_contract_passes():
    assert judged(Change("src/shop/cart.py"), Change("tests/test_cart.py", "A", "000000")) == ""


def test_no_change_is_no_phase():
    assert "Nothing was changed" in judged()


def test_a_change_outside_is_named():
    reasons = judged(
        Change("src/shop/cart.py"), Change("docs/guide.md"), Change(".github/workflows/ci.yml", "D")
    )
    assert "`docs/guide.md` belongs to phase 4" in reasons
    assert "`.github/workflows/ci.yml` is protected" in reasons


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Change("src/shop/cart.py", "A", "000000", "120000"), "symbolic link"),
        (Change("src/shop/cart.py", "D", "120000", "000000"), "symbolic link"),
        (Change("src/shop/api/x", "A", "000000", "160000"), "submodule"),
        (Change("src/shop/cart.py", "M", "100644", "100755"), "executable"),
        (Change("src/shop/api/x", "A", "000000", "100755"), "executable"),
        (Change("src/shop/api/x.png", "A", "000000", binary=True), "binary"),
    ],
)
def test_only_plain_text_files_come_out_of_a_phase(change, word):
    assert word in judged(change)


def test_a_script_may_be_executable():
    texts = {"src/shop/api/run": (None, "#!/bin/sh\n")}
    assert judged(Change("src/shop/api/run", "A", "000000", "100755"), texts=texts) == ""


def test_the_line_cap_counts_what_people_read():
    assert "401 lines" in judged(Change("src/shop/cart.py", added=200, removed=201))
    assert judged(Change("src/shop/cart.py", added=200, removed=200)) == ""
    contract = Contract(allowed=("**",))
    generated = [
        "uv.lock",
        "web/package-lock.json",
        "web/app.min.js",
        "x/__snapshots__/a.snap",
        "api/shop_pb2.py",
    ]
    assert judged(*(Change(path, added=5000) for path in generated), contract=contract) == ""
    assert "lines" in judged(Change("src/generated.py", added=401), contract=contract)


def test_promised_tests_are_missed():
    contract = Contract(allowed=("**",), expects_tests=True)
    assert "tests" in judged(Change("src/shop/cart.py"), contract=contract)
    assert "promises" in judged(
        Change("src/a.py"), Change("tests/test_a.py", "D", new_mode="000000"), contract=contract
    )
    assert judged(Change("src/a.py"), Change("src/a.test.ts", "A", "000000"), contract=contract) == ""


@pytest.mark.parametrize(
    "path", [".travis.yml", "azure-pipelines.yml", ".buildkite/pipeline.yml", "codecov.yml"]
)
def test_ci_that_is_not_protected_is_not_edited_either(path):
    assert "CI" in judged(Change(path), contract=Contract(allowed=("**",)))
    assert judged(Change(path), contract=Contract(allowed=("**",), allowed_by_person=(path,))) == ""


def test_weaker_tests_are_told():
    before, after = "def test_total():\n    assert total() == 0\n", "def test_total():\n    total()\n"
    reasons = judged(Change("tests/test_cart.py"), texts={"tests/test_cart.py": (before, after)})
    assert "lost 1 of 1 assertions" in reasons


SECRETS = {
    "an AWS key": "AKIA" + "QWERTYUIOPASDFGH",
    "a GitHub token": "ghs_" + "123_eyJhbGciOi.J9-x.abc" * 3,
    "an Anthropic key": "sk-ant-" + "api03-abcdefghijklmnop",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "a Slack token": "xoxb-" + "123456789012-abcdefgh",
    "a Google API key": "AIza" + "B" * 35,
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_an_added_line_is_found_and_not_repeated(kind):
    secret = SECRETS[kind]
    reasons = judged(
        Change("src/shop/cart.py"), texts={"src/shop/cart.py": ("a = 1\n", f'a = 1\nkey = "{secret}"\n')}
    )
    assert f"line 2 looks like {kind}" in reasons
    assert secret not in reasons


def test_a_secret_that_was_there_before_or_is_an_example_is_left():
    old = f'key = "{SECRETS["an AWS key"]}"\n'
    example = 'key = "AKIAIOSFODNN7EXAMPLE"\n'
    assert judged(Change("src/shop/cart.py"), texts={"src/shop/cart.py": (old, old + example)}) == ""


def test_a_secret_of_this_process_is_found_in_pieces_too():
    secret = "wh-Zk93jfLQx8Wm2vN4pRt7"
    text = 'a = "wh-Zk93jfLQ" + \\\n    "x8Wm2vN4pRt7"\n'
    change = [Change("src/shop/cart.py")]
    reasons = scope.review(change, CONTRACT, lambda path: ("", text), secrets=[secret])
    assert "a secret of this bot" in "\n".join(reasons)


# --- commit messages


@pytest.mark.parametrize(
    "subject",
    [
        "feat: add carts",
        "fix(cart): total of nothing",
        "refactor(api)!: drop v1",
        "docs: say why",
        "test(a/b): x",
    ],
)
def test_a_conventional_subject_passes(subject):
    assert scope.commit_message_problem(subject, "Because it was asked for.") is None


@pytest.mark.parametrize(
    "subject",
    [
        "",
        " ",
        "Add carts",
        "feature: carts",
        "feat add carts",
        "feat:",
        "feat:carts",
        "feat: a\nb",
        " feat: a",
        "feat: " + "x" * 67,
    ],
)
def test_another_subject_is_explained(subject):
    problem = scope.commit_message_problem(subject, "")
    assert problem
    assert problem.endswith(".")


def test_a_body_has_an_end():
    assert scope.commit_message_problem("feat: a", "x" * 5001)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("docs [skip ci]", "docs (skip ci)"),
        ("a [CI SKIP] b", "a (CI SKIP) b"),
        ("[no ci][skip actions] [actions skip] [skip-ci]", "(no ci)(skip actions) (actions skip) (skip-ci)"),
        ("[skip\u200b ci]", "(skip ci)"),
        ("skip-checks: true", "skip checks - true"),
        ("skip-checks:true", "skip checks -true"),
        ("Closes #12", "Closes issue 12"),
        ("fixes: #3, #4", "fixes: issue 3, issue 4"),
        ("Resolves acme/shop#7", "Resolves acme/shop issue 7"),
        ("closes GH-9", "closes issue 9"),
        ("Fixes https://github.com/acme/shop/issues/5#c1", "Fixes acme/shop issue 5"),
        ("thanks @maria and @acme/team", "thanks (at)maria and (at)acme/team"),
        ("mail maria@example.org", "mail maria@example.org"),
        ("Co-authored-by: M <m@example.org>", "Co authored by - M <m@example.org>"),
        ("Phasegate-Cost: $0", "Phasegate Cost - $0"),
        ("  phasegate-build : 12", "  phasegate build - 12"),
        ("Signed-off-by: M", "Signed off by - M"),
        ("why: because\n- a: b", "why: because\n- a: b"),
        ("array[skip] &#39; colour #fff", "array[skip] &#39; colour #fff"),
    ],
)
def test_a_message_is_neutralised_where_github_would_act_on_it(text, cleaned):
    assert scope.clean_message(text) == cleaned


LIVE = st.sampled_from(
    [
        "[skip ci]",
        "[",
        "]",
        "skip",
        " ",
        "@",
        "maria",
        "#",
        "12",
        "\n",
        "Phasegate-Plan:",
        "Closes",
        "GH-",
        "a/b",
        "\u200b",
    ]
)


@settings(deadline=None)
@given(st.lists(LIVE, max_size=10).map("".join))
def test_a_cleaned_message_is_clean(text):
    cleaned = scope.clean_message(text)
    assert scope.clean_message(cleaned) == cleaned
    assert "[skip ci]" not in cleaned
    assert not re.search(r"(?<![A-Za-z0-9_])@maria", cleaned)
    assert not re.search(r"#12\b", cleaned)
    assert not any(line.lstrip().lower().startswith("phasegate-plan:") for line in cleaned.split("\n"))
