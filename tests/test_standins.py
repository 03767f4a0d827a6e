"""Files in whose place something else lies."""

import pytest

from sdbuild.standins import stand_in, text_instead


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 12\n", "is a pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s1--2.safetensors\n", "is a pointer of git-annex"),
        (b"<!doctype html>\n<title>Sign in</title>", "is a web page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is XML"),
        (b"\0" * 512, "begins with nothing but zeros"),
    ],
)
def test_stand_ins(start: bytes, told: str) -> None:
    assert (stand_in(start) or "").startswith(told)


@pytest.mark.parametrize(
    "start", [b'{"a": 1}', b"#version: 0.2\nb c</w>\n", b"< a\n", b"PK\x03\x04", b"\x58\0\0\0\0\0\0\0{", b"version 3"]
)
def test_what_may_be_the_file(start: bytes) -> None:
    assert stand_in(start) is None


def test_text_where_none_can_be() -> None:
    assert text_instead(b"Invalid username or password.") == (
        'is text ("Invalid username or password."), such as a server\'s error: download the file itself'
    )
    assert text_instead(b"\n../../blobs/0123456789") is not None
    assert text_instead(b"\x58\0\0\0\0\0\0\0{") is None
