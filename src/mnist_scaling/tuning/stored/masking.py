"""Masks the passwords of storage URLs in everything that is printed or written."""

from __future__ import annotations

import re

_PASSWORD = re.compile(
    r"(?P<kept>\$\{[^}]*\})"  # an interpolation names a password, but holds none
    r"|:(?!//|\$\{[^}]*\}@)[^@\s:/][^@\s]*@"  # scheme://user:password@host: up to the @, which no password may hold
    r"|(?P<key>\b(?:password|passwd|pwd|token|secret)=)(?!\$\{)[^&\s'\"]+",  # scheme://host/db?password=word
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text in which *** stands for every password of a URL; ``${oc.env:NAME}`` stays as it is.

    ``postgresql://me:word@host/db`` becomes ``postgresql://me:***@host/db``. SQLAlchemy masks a URL that it can parse;
    what is printed also holds URLs inside overrides and inside the errors of drivers.
    """

    def stars(found: re.Match[str]) -> str:
        if found["kept"]:
            return found["kept"]
        return f"{found['key']}***" if found["key"] else ":***@"

    return _PASSWORD.sub(stars, text)
