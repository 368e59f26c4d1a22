r"""File names as text that every format can hold: UTF-8, on one line, and back to the last byte.

Linux takes any bytes for a name. Python keeps those that are not UTF-8 as lone surrogates, which
Parquet, HDF5 and web pages refuse; and line breaks and marks of writing direction in a name spoil
tables and logs. In what eosin writes and shows, `\xFC` stands for a byte, `\x0A` for a line break
and `\x{202E}` for any other character that is not shown as it is. A backslash that would start
such an escape is written as `\x5C`, so that no two names share a text.
"""

import re

_ESCAPE = re.compile(r"\\x(?:([0-9A-F]{2})|\{([0-9A-F]{2,6})\})")
_NOT_SHOWN = re.compile(
    # Controls, line separators, marks of direction, surrogates, and what would be an escape.
    "[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
    rf"|\\(?={_ESCAPE.pattern[2:]})"
)
_BYTES = range(0xDC80, 0xDD00)
"""How Python stands for the bytes 80 to FF of a name that is not UTF-8 (surrogateescape)."""


def escaped(name: str) -> str:
    """Return a name as printable text on one line; ordinary names are returned as they are."""
    return _NOT_SHOWN.sub(lambda found: "".join(map(_escape, found[0])), name)


def unescaped(text: str) -> str:
    """Return the name that `escaped` made a text of."""
    return _ESCAPE.sub(_character, text)


def _escape(character: str) -> str:
    code = ord(character)
    if code in _BYTES:
        return rf"\x{code - 0xDC00:02X}"
    return rf"\x{code:02X}" if code < 0x80 else rf"\x{{{code:02X}}}"


def _character(found: re.Match[str]) -> str:
    if found[1] is None:
        code = int(found[2], 16)
        return chr(code) if code <= 0x10FFFF else found[0]
    code = int(found[1], 16)
    return chr(code if code < 0x80 else 0xDC00 + code)
