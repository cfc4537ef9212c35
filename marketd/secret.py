"""Words that must never be shown.

Owns ``Secret``, whose value leaves only through ``reveal``, and the masking of passwords inside URLs and DSNs.
Refuses to be printed, formatted or pickled.
"""

import re
from typing import Final, NoReturn, final
from urllib.parse import unquote

MASK: Final = "***"

_USERINFO = re.compile(r"(?P<front>[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@]*:)\S*@")
_USERINFO_WHOLE = re.compile(r"(?P<front>^\s*[A-Za-z][A-Za-z0-9+.-]*://[^/?#:@]*:).*@", re.DOTALL)
_KEYWORD = re.compile(
    r"(?P<front>\b(?:ssl)?password\s*=\s*|\bpasswd\s*=\s*|\bpwd\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'?|\"[^\"]*\"?|[^\s&#'\"]+)",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#:@]*:(?P<password>[^@]*)@")
_PASSWORD_ASKED = re.compile(r"[?&]password=(?P<password>[^&#]*)")
_HIDDEN = rf"\g<front>{MASK}"


@final
class Secret:
    """A text that shows as ``***`` everywhere; ``reveal()`` is the one way to its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied to another process")


def masked(text: str) -> str:
    """``text`` with the password of every URL (``scheme://user:password@``) and every ``password=…`` as ``***``.

    For sentences that may hold one. A password with an unescaped ``@`` or ``/`` is hidden up to the last ``@`` of the
    word: too much is hidden rather than too little.
    """
    return _KEYWORD.sub(_HIDDEN, _USERINFO.sub(rf"{_HIDDEN}@", text))


def masked_dsn(dsn: str) -> str:
    """A PostgreSQL URL or keyword DSN with its password as ``***``; host, port, user and database stay readable.

    The whole text is one DSN here, so even a password with spaces in it is hidden.
    """
    return masked(_USERINFO_WHOLE.sub(rf"{_HIDDEN}@", dsn))


def password_of(url: str) -> Secret | None:
    """The password inside a URL, as it is and not as it is encoded; None where there is none."""
    found = _PASSWORD.match(url) or _PASSWORD_ASKED.search(url)
    return Secret(unquote(found["password"])) if found and found["password"] else None
