"""Blocks of no known kind that cannot be looked into: raw samples, or data coded in ways that nobody told.

A face of 32 x 32 px has 1,024 gray samples, and nothing tells them from other data. So of what is of no known kind only
text stays, and what is shorter than that.
"""

from __future__ import annotations

import re

from facecloak.photos.metadata.embedded import holds_picture

MOST_OPAQUE_BYTES = 1024
_MOST_COMMENT_BYTES = 8 * 1024
_LONG_WORD, _MOST_CODED, _FEWEST_LETTERS = 40, 1000, 8
_MOST_CODED_IN_KNOWN = 2000
_CONTROLS = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CODED_WORD = re.compile(rb"[A-Za-z0-9+/_=\-]+")


def may_hide_picture(block: bytes) -> bool:
    """Whether a block of no known kind holds a picture, or more than can be looked into."""
    return holds_picture(block) or is_opaque(block)


def comment_may_hide_picture(comment: bytes) -> bool:
    """The same of a JPEG's comments, which are text for people."""
    return len(comment) > _MOST_COMMENT_BYTES or may_hide_picture(comment)


def is_opaque(block: bytes) -> bool:
    """Whether a block has MOST_OPAQUE_BYTES and more that are no text, or text that codes so many."""
    content = block.strip(b"\0")
    if len(content) < MOST_OPAQUE_BYTES:
        return False
    return not is_text(content) or codes_data(content)


def is_opaque_text(text: bytes) -> bool:
    """The same of a text that is said to be one, in Latin-1 or UTF-8: other programs' settings have long words, too."""
    return len(text) >= MOST_OPAQUE_BYTES and (_CONTROLS.search(text) is not None or value_codes_data(text))


def is_text(content: bytes) -> bool:
    """Whether all of it is text in UTF-8; lines may end in zeros."""
    if _CONTROLS.search(content) is not None:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return content.count(b"\0") * 16 <= len(content)


def codes_data(text: bytes, *, most: int = _MOST_CODED) -> bool:
    """Whether a text has ``most`` letters and more of base64 or hex one behind the other, with lines' ends between."""
    run = bytearray()
    for word in text.split():
        coded = len(word) >= _LONG_WORD and _longest_coded(word)
        if coded:
            run += coded
        elif run and not _CODED_WORD.fullmatch(word):
            run.clear()
        if len(run) >= most and len(set(run)) >= _FEWEST_LETTERS:
            return True
    return False


def value_codes_data(value: bytes) -> bool:
    """Whether the value of a known property codes data of which nobody knows what it is."""
    return len(value) >= _MOST_CODED_IN_KNOWN and codes_data(value, most=_MOST_CODED_IN_KNOWN)


def _longest_coded(word: bytes) -> bytes:
    """The longest part of a word in letters of base64, where it is long."""
    longest = max(_CODED_WORD.findall(word), key=len, default=b"")
    return longest if len(longest) >= _LONG_WORD else b""
