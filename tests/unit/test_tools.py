"""The tools: the contract recorded conversations rely on, and what each call does and answers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.errors import AttemptFailed, FailureKind
from bot.scope import Contract
from bot.tools import CHANGES, PLANNING, VERIFYING, WRITING, Toolbox
from bot.workspace import Mirror, Workspace, git

S, SS, INT, B = "string", ["string"], "integer", "boolean"
PHASE = {
    "title": S,
    "layer": "data|logic|api|interface|integration|docs|other",
    "goal": S,
    "deliverables": SS,
    "out_of_scope": SS,
    "allowed_paths": SS,
    "criteria": SS,
    "serves": SS,
    "test_approach": S,
    "estimated_lines": INT,
}
READING = {
    "list_files": {"pattern": S},
    "search": {"pattern": S, "path": S},
    "read_file": {"path": S, "start_line": INT, "end_line": INT},
}
CHANGING = {
    "edit_file": {"path": S, "old_str": S, "new_str": S},
    "create_file": {"path": S, "content": S, "executable": B},
    "delete_file": {"path": S},
    "move_file": {"from_path": S, "to_path": S},
}
CONTRACT: dict[str, dict[str, dict[str, Any]]] = {
    "planner": {
        **READING,
        "submit_plan": {
            "summary": S,
            "requirements": [{"id": S, "text": S}],
            "assumptions": SS,
            "open_questions": SS,
            "risks": SS,
            "feature_flag": S,
            "phases": [PHASE],
        },
    },
    "writer": {
        **READING,
        **CHANGING,
        "request_scope": {"path": S, "reason": S},
        "report_blocked": {"reason": S},
        "finish_phase": {"summary": S, "decisions": SS, "commit_subject": S, "commit_body": S},
    },
    "verifier": {
        **READING,
        "submit_verification": {
            "findings": [
                {
                    "requirement": S,
                    "criterion": S,
                    "verdict": "met|partly|not_met",
                    "phase": INT,
                    "evidence": [{"path": S, "line": INT}],
                    "note": S,
                }
            ],
            "conflicts": SS,
            "ambiguities": SS,
            "follow_up_phases": [PHASE],
        },
    },
}
"""Kind of attempt → tool → field → its form; a change here breaks recorded conversations."""
GIVEN = {"planner": PLANNING, "writer": WRITING, "verifier": VERIFYING}
ALWAYS = {"type", "properties", "required", "additionalProperties"}
TOOLS = [tool for tools in GIVEN.values() for tool in tools]


def form(schema: dict[str, Any]) -> Any:
    """Return a schema as the contract writes it."""
    match schema["type"]:
        case "object":
            return {name: form(inner) for name, inner in schema["properties"].items()}
        case "array":
            return [form(schema["items"])]
        case kind:
            return "|".join(schema["enum"]) if "enum" in schema else kind


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every object of a schema, the outermost first."""
    if schema["type"] == "object":
        yield schema
        for inner in schema["properties"].values():
            yield from objects(inner)
    elif schema["type"] == "array":
        yield from objects(schema["items"])


def inside(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]


def depth(schema: dict[str, Any]) -> int:
    return 1 + max((depth(inner) for inner in inside(schema)), default=0)


def words(schema: dict[str, Any]) -> set[str]:
    """Return the words of JSON Schema that a schema uses anywhere."""
    return set(schema).union(*(words(inner) for inner in inside(schema)))


# --- the contract


@pytest.mark.parametrize("kind", list(CONTRACT))
def test_each_kind_of_attempt_is_given_exactly_its_tools(kind: str) -> None:
    assert {tool["name"]: form(tool["input_schema"]) for tool in GIVEN[kind]} == CONTRACT[kind]


@pytest.mark.parametrize("kind", list(CONTRACT))
def test_tools_and_fields_keep_their_order(kind: str) -> None:
    """The order is part of the cached prefix."""
    assert [tool["name"] for tool in GIVEN[kind]] == list(CONTRACT[kind])
    for tool in GIVEN[kind]:
        assert list(tool["input_schema"]["properties"]) == list(CONTRACT[kind][tool["name"]])


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["name"])
def test_every_tool_is_strict_and_every_field_required(tool: dict[str, Any]) -> None:
    assert tool["strict"] is True
    assert set(tool) == {"name", "description", "input_schema", "strict"}
    for schema in objects(tool["input_schema"]):
        assert set(schema) == ALWAYS
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["name"])
def test_every_schema_is_flat_and_of_few_words(tool: dict[str, Any]) -> None:
    assert depth(tool["input_schema"]) <= 6
    assert len(list(objects(tool["input_schema"]))) <= 4
    assert words(tool["input_schema"]) <= {*ALWAYS, "items", "enum"}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["name"])
def test_every_tool_says_what_it_does_in_a_sentence(tool: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].{8,250}[.)]", tool["description"])


def test_what_changes_files_is_what_is_made_again_after_a_crash() -> None:
    assert set(CHANGES) == set(CHANGING)


# --- the toolbox

FILES = {
    "README.md": "# Shop\n",
    "src/cart.py": "def total(items):\n    return sum(items)\n\n\ndef count(items):\n    return len(items)\n",
    "src/empty.py": "",
    "src/twice.py": "a = 1\nb = 2\na = 1\n",
    "docs/a.md": "page\n",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bare repository with one commit, and that commit."""
    folder = tmp_path_factory.mktemp("shop") / "7.git"
    git("init", "--quiet", "--bare", "--template=", str(folder), git_dir=None)
    files = "".join(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n" for path, text in FILES.items())
    link = "M 120000 inline link\ndata 9\nREADME.md\n"
    head = "commit refs/heads/main\ncommitter T <t@example.org> 0 +0000\ndata 1\nx\n"
    git("fast-import", "--quiet", git_dir=folder, stdin=f"{head}{files}{link}".encode())
    return folder, git("rev-parse", "main", git_dir=folder).decode().strip()


@pytest.fixture
def space(repository: tuple[Path, str], tmp_path: Path) -> Iterator[Workspace]:
    folder, commit = repository
    with Workspace(Mirror(folder, "https://github.com/acme/shop.git"), commit, tmp_path) as opened:
        yield opened


@pytest.fixture
def box(space: Workspace) -> Toolbox:
    """The tools of a phase that may touch `src/`, with two further paths to ask for."""
    contract = Contract(allowed=("src/**",), owners={"docs/**": 2}, grow=2)
    return Toolbox(
        space, "finish_phase", lambda given: ["Not yet."] if given["summary"] == "no" else [], contract
    )


@pytest.fixture
def reader(space: Workspace) -> Toolbox:
    """The tools of a planner."""
    return Toolbox(space, "submit_plan", lambda _given: [])


def said(box: Toolbox, name: str, **given: Any) -> str:
    """Return the answer of a call that goes well."""
    answer = box.execute(name, given)
    assert not answer.is_error, answer.text
    return answer.text


def refused(box: Toolbox, name: str, **given: Any) -> str:
    """Return the answer of a call that is refused."""
    answer = box.execute(name, given)
    assert answer.is_error, answer.text
    assert not answer.finished
    return answer.text


FINISH = {"summary": "s", "decisions": ["d"], "commit_subject": "fix: x", "commit_body": "b"}


def test_files_are_listed_by_glob(box: Toolbox) -> None:
    assert said(box, "list_files", pattern="src/*.py") == "src/cart.py\nsrc/empty.py\nsrc/twice.py"
    assert said(box, "list_files", pattern="").splitlines() == sorted(
        [*FILES, "link (symlink, not followed)"]
    )
    assert said(box, "list_files", pattern="*.rs") == "No file matches '*.rs'."


def test_contents_are_searched_by_expression_and_place(box: Toolbox) -> None:
    assert said(box, "search", pattern="def (total|count)", path="") == (
        "src/cart.py:1: def total(items):\nsrc/cart.py:5: def count(items):"
    )
    assert said(box, "search", pattern="def", path="docs/**") == "Nothing found."


def test_a_search_that_is_no_expression_is_refused(box: Toolbox) -> None:
    assert refused(box, "search", pattern="(", path="")


def test_a_file_is_read_with_its_line_numbers(box: Toolbox) -> None:
    assert (
        said(box, "read_file", path="src/twice.py", start_line=0, end_line=0)
        == "1\ta = 1\n2\tb = 2\n3\ta = 1"
    )
    assert said(box, "read_file", path="src/twice.py", start_line=2, end_line=2) == "2\tb = 2"
    assert said(box, "read_file", path="src/twice.py", start_line=3, end_line=99) == "3\ta = 1"
    assert said(box, "read_file", path="src/twice.py", start_line=3, end_line=-1) == "3\ta = 1"
    assert said(box, "read_file", path="src/empty.py", start_line=0, end_line=0) == "(empty file)"


def test_lines_that_are_not_there_are_refused(box: Toolbox) -> None:
    assert (
        refused(box, "read_file", path="src/twice.py", start_line=4, end_line=0)
        == "src/twice.py has 3 lines."
    )
    assert (
        refused(box, "read_file", path="src/twice.py", start_line=3, end_line=2)
        == "Line 2 lies before line 3."
    )


def test_lines_are_counted_as_a_search_counts_them(box: Toolbox) -> None:
    said(box, "create_file", path="src/odd.py", content="a = '\x0c\u2028'\nfound = 1\n", executable=False)

    assert said(box, "search", pattern="found", path="") == "src/odd.py:2: found = 1"
    assert said(box, "read_file", path="src/odd.py", start_line=2, end_line=2) == "2\tfound = 1"


def test_what_cannot_be_read_is_refused_with_the_reason(box: Toolbox) -> None:
    assert "There is no file `src/card.py`" in refused(
        box, "read_file", path="src/card.py", start_line=0, end_line=0
    )
    assert "symlink" in refused(box, "read_file", path="link", start_line=0, end_line=0)


def test_a_long_answer_is_cut_in_the_middle(box: Toolbox) -> None:
    said(box, "create_file", path="src/long.txt", content="word\n" * 20_000, executable=False)
    text = said(box, "read_file", path="src/long.txt", start_line=0, end_line=0)

    assert len(text) <= 40_000
    assert "characters cut" in text
    assert text.endswith("20000\tword")


def test_an_edit_replaces_the_one_place(box: Toolbox) -> None:
    assert said(
        box, "edit_file", path="src/cart.py", old_str="sum(items)", new_str="sum(i.price for i in items)"
    )
    assert box.workspace.read("src/cart.py").splitlines()[1] == "    return sum(i.price for i in items)"


def test_an_edit_with_two_places_is_refused(box: Toolbox) -> None:
    assert refused(box, "edit_file", path="src/twice.py", old_str="a = 1", new_str="a = 2") == (
        "old_str stands 2 times in src/twice.py; give more of its surroundings so that it stands once."
    )
    assert box.workspace.changes() == []


def test_an_edit_without_a_place_is_answered_with_the_nearest_lines(box: Toolbox) -> None:
    text = refused(
        box, "edit_file", path="src/cart.py", old_str="def count(things, items):\n    pass", new_str=""
    )

    assert text == (
        "old_str does not stand in src/cart.py. The nearest lines are:\n"
        "3\t\n4\t\n5\tdef count(items):\n6\t    return len(items)"
    )


@pytest.mark.parametrize(
    ("path", "old", "reason"),
    [
        ("src/cart.py", "", "old_str is empty; to make a new file use create_file."),
        ("src/empty.py", "a", "old_str does not stand in src/empty.py; the file is empty."),
        ("src/gone.py", "a", "There is no file `src/gone.py`."),
        ("README.md", "# Shop", "`README.md` is outside this phase"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_with_the_reason(
    box: Toolbox, path: str, old: str, reason: str
) -> None:
    assert refused(box, "edit_file", path=path, old_str=old, new_str="b").startswith(reason)


def test_a_file_is_created_once(box: Toolbox) -> None:
    said(box, "create_file", path="src/new.sh", content="#!/bin/sh\n", executable=True)

    assert [(c.path, c.status, c.new_mode) for c in box.workspace.changes()] == [
        ("src/new.sh", "A", "100755")
    ]
    assert "exists already" in refused(box, "create_file", path="src/new.sh", content="", executable=False)


def test_a_file_is_deleted(box: Toolbox) -> None:
    said(box, "delete_file", path="src/cart.py")

    assert [(c.path, c.status) for c in box.workspace.changes()] == [("src/cart.py", "D")]
    assert "There is no file" in refused(box, "delete_file", path="src/cart.py")


def test_a_file_is_moved_only_between_allowed_places(box: Toolbox) -> None:
    said(box, "move_file", from_path="src/cart.py", to_path="src/basket.py")

    assert {c.path for c in box.workspace.changes()} == {"src/cart.py", "src/basket.py"}
    assert "outside this phase" in refused(box, "move_file", from_path="src/twice.py", to_path="x.py")
    assert "outside this phase" in refused(box, "move_file", from_path="README.md", to_path="src/x.md")


@pytest.mark.parametrize(
    "path", [".github/workflows/ci.yml", "docs/a.md", "../x", "/etc/passwd", "src/../x", ""]
)
def test_nothing_is_written_outside_the_contract(box: Toolbox, path: str) -> None:
    assert refused(box, "create_file", path=path, content="x", executable=False)
    assert box.workspace.changes() == []


# --- growing the contract


def test_a_free_path_is_granted_and_can_be_written(box: Toolbox) -> None:
    assert said(box, "request_scope", path="README.md", reason="it is named there") == (
        "You may write README.md in this phase."
    )
    said(box, "edit_file", path="README.md", old_str="# Shop", new_str="# Store")


@pytest.mark.parametrize("path", ["docs/a.md", ".github/workflows/ci.yml"])
def test_what_only_a_person_may_allow_ends_the_attempt(box: Toolbox, path: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        box.execute("request_scope", {"path": path, "reason": "it is needed"})

    assert caught.value.kind is FailureKind.SCOPE
    assert caught.value.detail.startswith(f"It asks for `{path}`: it is needed\n")
    assert caught.value.paths == path


def test_only_so_many_further_paths_are_granted(box: Toolbox) -> None:
    for name in ("a.py", "b.py"):
        said(box, "request_scope", path=name, reason="")

    with pytest.raises(AttemptFailed):
        box.execute("request_scope", {"path": "c.py", "reason": ""})


# --- the end


def test_finishing_is_refused_with_every_reason(box: Toolbox) -> None:
    assert refused(box, "finish_phase", **{**FINISH, "summary": "no"}) == "Not accepted yet:\n- Not yet."
    assert box.result == {}


def test_finishing_keeps_what_was_given(box: Toolbox) -> None:
    answer = box.execute("finish_phase", FINISH)

    assert (answer.text, answer.is_error, answer.finished) == ("Accepted.", False, True)
    assert box.result == FINISH


def test_a_model_that_is_blocked_ends_its_attempt(box: Toolbox) -> None:
    with pytest.raises(AttemptFailed, match="no key") as caught:
        box.execute("report_blocked", {"reason": "no key"})

    assert caught.value.kind is FailureKind.BLOCKED


# --- calls that are wrong


def test_an_unknown_tool_is_said_to_be_none(box: Toolbox) -> None:
    assert refused(box, "run_shell", command="ls") == "There is no tool 'run_shell' here."
    assert refused(box, "submit_plan", summary="") == "There is no tool 'submit_plan' here."


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("read_file", {"path": "README.md"}),
        ("read_file", {"path": "README.md", "start_line": "1", "end_line": 0}),
        ("read_file", {"path": "README.md", "start_line": True, "end_line": 0}),
        ("list_files", {"pattern": "", "deep": True}),
        ("list_files", {"pattern": None}),
        ("search", {"pattern": ["a"], "path": ""}),
        ("create_file", {"path": "src/x.py", "content": 5, "executable": False}),
        ("create_file", {"path": "src/x.py", "content": "", "executable": "no"}),
        ("edit_file", {"path": None, "old_str": "a", "new_str": "b"}),
        ("finish_phase", {"summary": "s"}),
        ("finish_phase", {**FINISH, "decisions": "d"}),
        ("finish_phase", {**FINISH, "decisions": [1]}),
    ],
)
def test_fields_that_are_not_as_the_schema_says_are_refused(
    box: Toolbox, name: str, given: dict[str, Any]
) -> None:
    assert refused(box, name, **given) == f"The fields of {name} are not as its schema says."
    assert box.workspace.changes() == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("edit_file", {"path": "src/cart.py", "old_str": "sum", "new_str": "max"}),
        ("create_file", {"path": "src/x.py", "content": "", "executable": False}),
        ("delete_file", {"path": "src/cart.py"}),
        ("move_file", {"from_path": "src/cart.py", "to_path": "src/x.py"}),
        ("request_scope", {"path": "src/x.py", "reason": ""}),
        ("report_blocked", {"reason": ""}),
        ("finish_phase", FINISH),
    ],
)
def test_a_planner_cannot_write(reader: Toolbox, name: str, given: dict[str, Any]) -> None:
    assert refused(reader, name, **given) == f"There is no tool {name!r} here."
    assert reader.workspace.changes() == []


def test_a_planner_reads_and_submits(reader: Toolbox) -> None:
    assert said(reader, "read_file", path="README.md", start_line=0, end_line=0) == "1\t# Shop"
    assert reader.execute("submit_plan", {"summary": "s"}).finished


# --- after a crash


def test_replaying_the_accepted_calls_gives_the_same_tree(
    box: Toolbox, repository: tuple[Path, str], tmp_path: Path
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("request_scope", {"path": "README.md", "reason": ""}),
        ("edit_file", {"path": "README.md", "old_str": "Shop", "new_str": "Store"}),
        ("create_file", {"path": "src/new.sh", "content": "#!/bin/sh\n", "executable": True}),
        ("move_file", {"from_path": "src/cart.py", "to_path": "src/basket.py"}),
        ("delete_file", {"path": "src/twice.py"}),
        ("read_file", {"path": "README.md", "start_line": 0, "end_line": 0}),
    ]
    for name, given in calls:
        said(box, name, **given)

    with Workspace(
        Mirror(repository[0], "https://github.com/acme/shop.git"), repository[1], tmp_path / "2"
    ) as fresh:
        again = Toolbox(fresh, "finish_phase", lambda _given: [], Contract(allowed=("src/**",), grow=2))
        for name, given in calls:
            again.replay(name, given)

        assert fresh.tree() == box.workspace.tree()
        assert again.contract is not None
        assert again.contract.granted == ("README.md",)
