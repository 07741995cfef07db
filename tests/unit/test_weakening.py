"""Whether a change weakens the tests that judge it."""

import pytest

from bot.weakening import is_test, weakened

PYTHON = """import pytest


def setup():
    assert ready()


def test_total():
    assert total([1]) == 1
    assert total([]) == 0


async def test_empty():
    with pytest.raises(ValueError):
        total(None)
"""
SCRIPT = """describe('cart', () => {
  it('adds up', () => { expect(total([1])).toBe(1); expect(total([])).toBe(0) })
  test.each([1, 2])("takes %s", (n) => { expect(total([n])).toBe(n) })
})
"""
GO = """func TestTotal(t *testing.T) {
\tif Total(1) != 1 {
\t\tt.Errorf("total")
\t}
\trequire.Equal(t, 0, Total())
}
"""
RUBY = """it 'adds up' do
  expect(total([1])).to eq 1
end
def test_empty
  assert_equal 0, total([])
end
"""
JAVA = """@Test
void addsUp() {
  assertEquals(1, total(1));
}
@ParameterizedTest
@ValueSource(ints = {1, 2})
void takes(int n) { assertThat(total(n)).isEqualTo(n); }
"""
EACH = {
    "tests/test_cart.py": PYTHON,
    "src/cart.test.ts": SCRIPT,
    "cart_test.go": GO,
    "spec/cart_spec.rb": RUBY,
    "src/test/java/CartTest.java": JAVA,
}


def reasons(path: str, before: str | None, after: str | None) -> str:
    return "\n".join(weakened({path: (before, after)}))


@pytest.mark.parametrize("path", EACH)
def test_the_same_tests_and_further_ones_are_not_weaker(path):
    text = EACH[path]
    assert reasons(path, text, text) == ""
    assert reasons(path, None, text) == ""
    assert reasons(path, text, text + "\n" + text.replace("adds", "more").replace("otal", "otal2")) == ""


@pytest.mark.parametrize("path", EACH)
def test_a_deleted_test_file_is_noticed(path):
    assert "is gone" in reasons(path, EACH[path], None)
    assert "is gone" in reasons(path, EACH[path], "")


@pytest.mark.parametrize("path", EACH)
def test_a_test_file_may_move(path):
    texts = {path: (EACH[path], None), path.replace("art", "arts"): (None, EACH[path])}
    assert weakened(texts) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (
            "tests/test_cart.py",
            "    assert total([]) == 0\n",
            "",
            "`test_total` in `tests/test_cart.py` lost 1 of 2",
        ),
        ("tests/test_cart.py", "assert total([]) == 0", "assert True", "lost 1 of 2"),
        ("tests/test_cart.py", "assert total([]) == 0", "# assert total([]) == 0", "lost 1 of 2"),
        ("tests/test_cart.py", "    assert ready()", "    pass", "share"),
        ("tests/test_cart.py", "def test_total", "@pytest.mark.skip\ndef test_total", "skips"),
        ("tests/test_cart.py", "def test_total", "@pytest.mark.xfail(strict=False)\ndef test_total", "skips"),
        (
            "tests/test_cart.py",
            "    assert total([1])",
            '    pytest.skip("x")\n    assert total([1])',
            "skips",
        ),
        ("tests/test_cart.py", "def test_total", "def check_total", "`test_total`"),
        ("src/cart.test.ts", "expect(total([])).toBe(0)", "", "`adds up`"),
        ("src/cart.test.ts", "expect(total([])).toBe(0)", "expect(true).toBe(true)", "`adds up`"),
        ("src/cart.test.ts", "it('adds up'", "it.skip('adds up'", "skips"),
        ("src/cart.test.ts", "it('adds up'", "xit('adds up'", "skips"),
        ("src/cart.test.ts", "describe(", "describe.only(", "skips"),
        ("src/cart.test.ts", "  it('adds", "  // it('adds", "`adds up`"),
        ("cart_test.go", '\t\tt.Errorf("total")\n', "", "`TestTotal`"),
        ("cart_test.go", "\tif Total(1)", '\tt.Skip("x")\n\tif Total(1)', "skips"),
        ("spec/cart_spec.rb", "  expect(total([1])).to eq 1\n", "", "`adds up`"),
        ("spec/cart_spec.rb", "it 'adds up'", "xit 'adds up'", "skips"),
        ("src/test/java/CartTest.java", "@Test\n", "@Disabled @Test\n", "skips"),
        ("src/test/java/CartTest.java", "assertEquals(1, total(1));", "", "`addsUp`"),
    ],
)
def test_less_is_noticed(path, old, new, told):
    assert old in EACH[path]
    assert told in reasons(path, EACH[path], EACH[path].replace(old, new))


def test_new_tests_do_not_pay_for_lost_ones():
    more = "".join(f"def test_{n}():\n    assert {n}\n\n" for n in range(9))
    after = PYTHON.replace("def test_total", "def check_total").replace("assert total", "total") + more
    assert "`test_total`" in reasons("tests/test_cart.py", PYTHON, after)


def test_a_test_may_be_renamed_and_its_expectation_corrected():
    after = PYTHON.replace("test_total", "test_sum").replace("total([]) == 0", "total([]) == 1")
    assert reasons("tests/test_cart.py", PYTHON, after) == ""


def test_a_moved_test_may_be_rewritten_but_not_lose_assertions():
    old, new = (
        "def test_a():\n    x = 1\n    assert x\n",
        "def test_a():\n    y = 2\n    z = 3\n    assert y < z\n",
    )
    assert weakened({"tests/test_a.py": (old, None), "tests/test_b.py": (None, new)}) == []
    bare = new.replace("assert y < z", "print(y)")
    assert "lost 1 of 1" in "".join(
        weakened({"tests/test_a.py": (old, None), "tests/test_b.py": (None, bare)})
    )


def test_ordinary_code_is_not_taken_for_tests():
    assert reasons("src/cart.py", "def test_drive():\n    assert x\n", "") == ""


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        (
            "pyproject.toml",
            "[tool.coverage.report]\nfail_under = 95\n",
            "[tool.coverage.report]\nfail_under = 80\n",
        ),
        ("pyproject.toml", "fail_under = 95\n", ""),
        ("tox.ini", "pytest --cov-fail-under=90", "pytest --cov-fail-under=9"),
        (
            "jest.config.js",
            "coverageThreshold: { global: { branches: 80 } }",
            "coverageThreshold: { global: { branches: 8 } }",
        ),
        ("spec/spec_helper.rb", "SimpleCov.minimum_coverage 90", "SimpleCov.minimum_coverage 50"),
        ("pom.xml", "jacoco <minimum>0.80</minimum>", "jacoco <minimum>0.10</minimum>"),
    ],
)
def test_a_lower_threshold_is_noticed_and_a_higher_one_is_not(path, before, after):
    assert "threshold" in reasons(path, before, after)
    assert reasons(path, after, before) == ""


def test_a_threshold_may_move_to_another_file():
    texts = {".coveragerc": ("fail_under = 90\n", None), "pyproject.toml": ("", "fail_under = 90\n")}
    assert weakened(texts) == []


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("package.json", '{"scripts": {"test": "echo ok"}}'),
        ("package.json", '{"scripts": {"test": "jest --passWithNoTests"}}'),
        ("Makefile", "test:\n\tpytest || true\n"),
        ("pyproject.toml", 'addopts = "--deselect tests/test_cart.py"'),
        ("tests/conftest.py", 'collect_ignore = ["test_cart.py"]'),
    ],
)
def test_a_test_run_that_ignores_failures_is_noticed(path, after):
    assert "ignore" in reasons(path, "", after)
    assert reasons(path, after, after) == ""


@pytest.mark.parametrize(
    "path", [*EACH, "tests/data/x.json", "conftest.py", "web/__tests__/a.js", "a_test.py", "e2e/a.cy.ts"]
)
def test_tests_are_known_by_name_or_folder(path):
    assert is_test(path)


@pytest.mark.parametrize(
    "path", ["src/cart.py", "contest.py", "latest/a.py", "src/testing.py", "attest.go", "Testament.md"]
)
def test_other_files_are_no_tests(path):
    assert not is_test(path)
