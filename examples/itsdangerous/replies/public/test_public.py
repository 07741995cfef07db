import pytest

import itsdangerous
from itsdangerous import keys


@pytest.mark.parametrize("name", ("generate_key", "rotate_keys"))
def test_keys_are_public(name):
    assert getattr(itsdangerous, name) is getattr(keys, name)
