import re

import pytest

from itsdangerous.encoding import base64_decode
from itsdangerous.exc import BadSignature
from itsdangerous.keys import generate_key
from itsdangerous.keys import rotate_keys
from itsdangerous.serializer import Serializer


@pytest.mark.parametrize("nbytes", (16, 32, 33))
def test_generate_key(nbytes):
    key = generate_key(nbytes)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", key)
    assert len(base64_decode(key)) == nbytes


def test_generate_key_default_length():
    assert len(base64_decode(generate_key())) == 32


def test_generate_key_differs():
    assert len({generate_key() for _ in range(10)}) == 10


@pytest.mark.parametrize("nbytes", (-1, 0, 15))
def test_generate_key_too_short(nbytes):
    with pytest.raises(ValueError, match="at least 16 bytes"):
        generate_key(nbytes)


def test_rotate_keys_adds_newest_last():
    keys = rotate_keys(["old", "new"])
    assert keys[:2] == ["old", "new"]
    assert len(keys) == 3
    assert len(base64_decode(keys[2])) == 32


@pytest.mark.parametrize(("keep", "kept"), ((1, []), (2, ["c"]), (3, ["b", "c"])))
def test_rotate_keys_removes_oldest(keep, kept):
    assert rotate_keys(["a", "b", "c"], keep=keep)[:-1] == kept


def test_rotate_keys_leaves_the_given_list():
    keys = ["a", "b", "c"]
    rotate_keys(keys)
    assert keys == ["a", "b", "c"]


def test_rotate_keys_single_key():
    assert rotate_keys("secret")[:-1] == ["secret"]


def test_rotate_keys_nothing_yet():
    assert len(rotate_keys([])) == 1


@pytest.mark.parametrize("keep", (-1, 0))
def test_rotate_keys_must_keep_one(keep):
    with pytest.raises(ValueError, match="At least one key"):
        rotate_keys(["a"], keep=keep)


def test_signed_before_rotation():
    keys = [generate_key()]
    signed = Serializer(keys).dumps({"id": 42})

    keys = rotate_keys(keys, keep=2)
    assert Serializer(keys).loads(signed) == {"id": 42}

    keys = rotate_keys(keys, keep=2)
    with pytest.raises(BadSignature):
        Serializer(keys).loads(signed)
