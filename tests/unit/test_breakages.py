"""The list of breakages keeps up with the code; `make breakages` tries each of them."""

import ast

import pytest

from tests.breakages import BREAKAGES, ROOT


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_a_breakage_stands_once_in_its_file_and_names_tests_that_exist(breakage):
    assert (ROOT / breakage.file).read_text().count(breakage.old) == 1
    for path, _, name in (test.partition("::") for test in breakage.tests):
        tree = ast.parse((ROOT / path).read_text())
        assert name.partition("[")[0] in [
            node.name for node in tree.body if isinstance(node, ast.FunctionDef)
        ]
