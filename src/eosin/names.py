r"""File names as text that every format can hold: UTF-8, on one line, and back to the last byte.

Linux takes any bytes for a name. Python keeps those that are not UTF-8 as lone surrogates, which
Parquet, HDF5 and web pages refuse; and line breaks and marks of writing direction in a name spoil
tables and logs. In what eosin writes and shows, `\xFC` stands for a byte, `\x0A` for a line break
and `\x{202E}` for any other character that is not shown as it is. A backslash that would start
such an escape is written as `\x5C`, so that no two names share a text.
"""

import logging
import re
from pathlib import PurePath

_ESCAPE = re.compile(r"\\x(?:([0-9A-F]{2})|\{([0-9A-F]{2,6})\})")
# Controls, line separators, marks of direction, and surrogates.
_NOT_SHOWN = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_NOT_WRITTEN = re.compile(rf"{_NOT_SHOWN.pattern}|\\(?={_ESCAPE.pattern[2:]})")
_BYTES = range(0xDC80, 0xDD00)
"""How Python stands for the bytes 80 to FF of a name that is not UTF-8 (surrogateescape)."""


def escaped(name: str) -> str:
    """Return a name as printable text on one line; ordinary names are returned as they are."""
    return _NOT_WRITTEN.sub(lambda found: _escape(found[0]), name)


def unescaped(text: str) -> str:
    """Return the name that `escaped` made a text of."""
    return _ESCAPE.sub(_character, text)


def shown(message: str) -> str:
    """Return a message on one line, with the names in it as people read them.

    Names that are `escaped` already stay so, and what is shown is not to be read back.
    """
    return _NOT_SHOWN.sub(lambda found: _escape(found[0]), message)


def get_logger(module: str) -> logging.Logger:
    """Return the logger of a module, in whose messages names are `shown`, one line a message."""
    logger = logging.getLogger(module)
    logger.addFilter(_show_names)
    return logger


def _show_names(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        # A message that is nothing but a text may have several lines, such as a table.
        breaks = "\n" if record.msg == "%s" else ""
        record.args = tuple(_shown_value(value, breaks) for value in record.args)
    return True


def _shown_value(value: object, breaks: str) -> object:
    if not isinstance(value, str | PurePath | BaseException):
        return value
    return breaks.join(map(shown, str(value).split(breaks))) if breaks else shown(str(value))


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
