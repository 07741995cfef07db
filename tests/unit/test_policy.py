"""The policy file: its defaults, every fault with its line, and what counts over the settings."""

from contextlib import suppress
from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import policy
from bot.errors import UserError
from bot.policy import Budgets, Checks, Models, Policy, Rules, Scope, effective, parse, schema


class Operator:
    """Settings as a test needs them."""

    planner_model = "opus"
    executor_model = "sonnet"
    verifier_model = "opus"
    model_ladder = ("sonnet", "opus")
    build_budget_usd = Decimal(10)
    phase_budget_usd = Decimal(3)
    max_turns = 60
    checks_settle_seconds = 30.0
    checks_poll_seconds = 60.0
    checks_timeout_minutes = 60.0


def faults(text: str) -> list[str]:
    """The faults of a file, as the comment lists them."""
    with pytest.raises(UserError) as caught:
        parse(text)
    return [line for line in str(caught.value).splitlines() if line.startswith("- ")]


def fault(text: str) -> str:
    """The only fault of a file."""
    (only,) = faults(text)
    return only


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing yet\n", "---\n", "~", "models:\n", "line_cap:\nchecks:\n"]
)
def test_an_empty_file_means_the_defaults(text):
    assert parse(text) == Policy()


def test_every_key_can_be_set():
    text = """
models: {planner: a, executor: b, verifier: c, ladder: [a, b]}
budgets: {build_usd: 0.1, phase_usd: 2}
max_phases: 4
line_cap: 300
approve: small-auto
untrusted_authors: plan_only
repairs: 0
repair_style: append
draft: false
checks: {required: [unit tests], settle: 5, timeout: 7.5, when_none: allow}
protected: ["docs/**"]
scope: {grow: 0, siblings: false}
run_checks: {unit tests: python -m pytest}
instructions: []
update_branch: at_end
"""
    assert parse(text) == Policy(
        models=Models(planner="a", executor="b", verifier="c", ladder=("a", "b")),
        budgets=Budgets(build_usd=Decimal("0.1"), phase_usd=Decimal(2)),
        max_phases=4,
        line_cap=300,
        approve="small-auto",
        untrusted_authors="plan_only",
        repairs=0,
        repair_style="append",
        draft=False,
        checks=Checks(required=("unit tests",), settle=5, timeout=7.5, when_none="allow"),
        protected=("docs/**",),
        scope=Scope(grow=0, siblings=False),
        run_checks={"unit tests": "python -m pytest"},
        instructions=(),
        update_branch="at_end",
    )


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_key():
    assert fault("# rules\nmax_phases: 3\n\nline_cpa: 300\n") == (
        "- `.github/phasegate.yml` line 4: `line_cpa` is not a key I know. Did you mean `line_cap`?"
    )


def test_an_unknown_key_of_a_section_is_told_with_its_section():
    assert fault("checks:\n  when_none: ask\n  setle: 3\n").endswith(
        "line 3: `checks.setle` is not a key I know. Did you mean `checks.settle`?"
    )


def test_an_unknown_key_without_a_value_is_told_as_well():
    assert "`line_cpa` is not a key" in fault("line_cpa:\n")


def test_a_key_like_no_other_gets_no_guess():
    assert fault("colour: red").endswith("`colour` is not a key I know.")


def test_all_faults_are_told_in_the_order_of_their_lines():
    told = faults("repairs: many\nfoo: 1\ndraft: maybe\nrepairs: 1\n")

    assert [line.split("line ")[1][0] for line in told] == ["2", "3", "4"]
    assert told[2].endswith("`repairs` is written a second time.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("line_cap: '300'", "`line_cap` must be a whole number."),
        ("line_cap: 1.5", "`line_cap` must be a whole number."),
        ("line_cap: true", "`line_cap` must be a whole number."),
        ("line_cap: 0", "`line_cap` must be greater than or equal to 1."),
        ("line_cap: 99999999999999999999", "`line_cap` must be a whole number."),
        ("draft: yes", "`draft` must be `true` or `false`."),
        ("approve: small_auto", "`approve` must be `always`, `small-auto` or `each_phase`."),
        ("models: {planner: 5}", "`models.planner` must be text; put it in quotes."),
        ("models: {ladder: []}", "`models.ladder` must have at least 1 item"),
        ("models: opus", "`models` must be a section"),
        ("budgets: {build_usd: free}", "`budgets.build_usd` must be a number."),
        ("budgets: {build_usd: '5'}", "`budgets.build_usd` must be a number."),
        ("budgets: {phase_usd: 0}", "`budgets.phase_usd` must be greater than 0."),
        ("budgets: {phase_usd: .inf}", "`budgets.phase_usd` must be a number."),
        ("checks: {settle: soon}", "`checks.settle` must be a number."),
        ("checks: {required: unit}", "`checks.required` must be a list"),
        ("protected: ['a', '!b']", "item 2 of `protected` must be a path or pattern inside the repository"),
        ("protected: ['../a']", "item 1 of `protected` must be a path or pattern"),
        ("instructions: [/etc/passwd]", "item 1 of `instructions` must be a path or pattern"),
        ("run_checks: pytest", "`run_checks` must be a section"),
        ("run_checks: {'a/b': x}", "`run_checks.a/b` must be a plain name"),
        ("run_checks: {unit: ''}", "`run_checks.unit` must be something, not empty."),
        ("run_checks: {unit: }", "`run_checks.unit` must be text"),
        ("- line_cap", "the file must hold keys and values"),
        ("words", "the file must hold keys and values"),
        ("? [a]\n: 1", "a key must be a plain word."),
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("line_cap: *x", "anchors and aliases"),
        ("line_cap: &x 3", "anchors and aliases"),
        ("<<: {line_cap: 3}", "`<<` is not a key I know."),
        ("line_cap: !!int '3'", "tags (`!`) cannot be used"),
        ("line_cap: !!python/name:os.system x", "tags (`!`) cannot be used"),
        ("checks:\n\tsettle: 3", "a tab; indent with spaces."),
        ("line_cap: 3\n---\nline_cap: 4", "a second document begins"),
        ("line_cap: [", "this is not YAML"),
        ("a: b: c", "this is not YAML: `mapping values are not allowed here`."),
        ("label: \x07", "a character that YAML does not allow"),
        ('a: "\\UFFFFFFFF"', "an escape stands for no character."),
        ('a: "\\0"', "an escape stands for no character."),
        ('"\\uD800": 1', "an escape stands for no character."),
    ],
)
def test_a_wrong_value_is_told_with_its_reason(text, reason):
    assert reason in fault(text)


@pytest.mark.parametrize("written", ["010", "+10", "10"])
def test_numbers_are_read_as_people_write_them(written):
    """YAML 1.1 would read 010 as eight."""
    assert parse(f"line_cap: {written}").line_cap == 10


def test_a_block_of_commands_keeps_its_lines():
    assert parse("run_checks:\n  lint: |\n    a\n    \tb\n").run_checks == {"lint": "a\n\tb\n"}


@pytest.mark.parametrize("text", ["[" * 20_000, "- " * 20_000, "{a: " * 15_000, "? " * 20_000])
def test_deep_nesting_is_refused_at_once(text):
    assert "nested too deeply" in fault(text)


def test_a_large_file_is_refused():
    assert "larger than 64 KiB" in fault("# " + "é" * 33_000)


def test_many_faults_are_cut():
    told = faults("\n".join(f"key{at}: 1" for at in range(50)))

    assert len(told) == policy.MAX_FAULTS + 1
    assert told[-1] == "- and 30 more."


@pytest.mark.parametrize(
    "text", ['"@someone": 1', '"`@someone`": 1', '"<b>": 1', "a: @someone", '"\\n@someone": 1']
)
def test_what_a_stranger_wrote_is_shown_as_code_only(text):
    outside = "".join(fault(text).split("`")[::2])

    assert "@" not in outside
    assert "<" not in outside


@given(st.text() | st.text(alphabet="abc:-?[]{}&*!|>'\"#%@`\\ \n\t0.\ud800"))
def test_any_text_is_a_policy_or_a_user_error(text):
    with suppress(UserError):
        assert isinstance(parse(text), Policy)


VALUES = st.recursive(
    st.sampled_from(["1", "true", "~", "x", "''", "-1.5", "[]", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from([*Policy.model_fields, "grow", "x"]), inner, max_size=3).map(
            lambda pairs: f"{{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}"
        )
    ),
)


@given(st.dictionaries(st.sampled_from([*Policy.model_fields, "x"]), VALUES))
def test_any_value_under_any_key_is_read_or_told(pairs):
    with suppress(UserError):
        assert isinstance(parse("\n".join(f"{key}: {value}" for key, value in pairs.items())), Policy)


def test_without_a_policy_the_settings_count():
    rules = effective(Policy(), Operator())

    assert (rules.planner_model, rules.executor_model, rules.ladder) == ("opus", "sonnet", ("sonnet", "opus"))
    assert (rules.build_budget, rules.phase_budget, rules.max_turns) == (10, 3, 60)
    assert (rules.settle, rules.poll, rules.timeout) == (30, 60, 3600)
    assert (rules.approve, rules.when_none, rules.protected) == ("always", "ask", policy.PROTECTED)


def test_a_policy_speaks_for_its_repository():
    text = "models: {executor: haiku, ladder: [haiku]}\nchecks: {settle: 1, timeout: 2, required: [ci]}"
    rules = effective(parse(text), Operator())

    assert (rules.executor_model, rules.verifier_model, rules.ladder) == ("haiku", "opus", ("haiku",))
    assert (rules.settle, rules.timeout, rules.checks_required) == (1, 120, ("ci",))


def test_a_policy_lowers_budgets():
    rules = effective(parse("budgets: {build_usd: 4, phase_usd: 0.5}"), Operator())

    assert (rules.build_budget, rules.phase_budget) == (4, Decimal("0.5"))


def test_a_policy_never_raises_budgets():
    rules = effective(parse("budgets: {build_usd: 1000, phase_usd: 500}"), Operator())

    assert (rules.build_budget, rules.phase_budget) == (10, 3)


def test_a_phase_may_not_cost_more_than_its_build():
    assert effective(parse("budgets: {build_usd: 2}"), Operator()).phase_budget == 2


def test_protected_patterns_are_added_to_and_never_taken_away():
    rules = effective(parse("protected: ['db/**', '.github/**']"), Operator())

    assert rules.protected == (*policy.PROTECTED, "db/**")


def test_every_key_of_the_policy_reaches_the_rules():
    """A key that is read and then forgotten would be a promise broken in silence."""
    changed = {
        "models: {planner: z}": "planner_model",
        "models: {verifier: z}": "verifier_model",
        "max_phases: 2": "max_phases",
        "line_cap: 2": "line_cap",
        "approve: each_phase": "approve",
        "untrusted_authors: each_phase": "untrusted_authors",
        "repairs: 0": "repairs",
        "repair_style: append": "repair_style",
        "draft: false": "draft",
        "checks: {when_none: allow}": "when_none",
        "scope: {grow: 0}": "scope_grow",
        "scope: {siblings: false}": "scope_siblings",
        "run_checks: {a: b}": "run_checks",
        "instructions: []": "instructions",
        "update_branch: at_end": "update_branch",
    }
    usual = effective(Policy(), Operator())
    for text, name in changed.items():
        rules = effective(parse(text), Operator())
        different = [
            one.name for one in fields(Rules) if getattr(rules, one.name) != getattr(usual, one.name)
        ]
        assert different == [name]


@pytest.mark.parametrize("place", ["planner: m-1", "executor: m-1", "verifier: m-1", "ladder: [m-1]"])
def test_a_model_of_no_known_price_is_refused_wherever_the_policy_names_it(place: str):
    class Known(Operator):
        planner_model = executor_model = verifier_model = "claude-opus-5-5"
        model_ladder = ("claude-opus-5-5",)

    policy.check(effective(Policy(), Known()))
    with pytest.raises(UserError, match="no price for the model `m-1`"):
        policy.check(effective(parse(f"models: {{{place}}}"), Known()))


@pytest.mark.parametrize(
    "key", ["approve: each_phase", "untrusted_authors: each_phase", "run_checks: {unit: make test}"]
)
def test_what_is_not_built_yet_is_refused_rather_than_left_out(key: str):
    with pytest.raises(
        UserError, match=rf"asks for `{key.partition(' {')[0].rstrip(':')}`, which I cannot do yet"
    ):
        policy.check(effective(parse(key), Operator()))


def test_the_schema_lists_every_key_with_its_default():
    rows = schema().splitlines()

    assert "| `line_cap` | `400` | the most changed lines of a phase |" in rows
    assert "| `checks.when_none` | `ask`, or `allow` | what follows when no check shows up |" in rows
    assert "| `models.planner` | settings | the model that writes plans |" in rows
    assert len(rows) == 2 + sum(
        len(type(field.default).model_fields) if isinstance(field.default, policy.BaseModel) else 1
        for field in Policy.model_fields.values()
    )
