"""A hash that a document carries of itself, so that any edit of it shows.

No secret is in it: who edits the document and seals it anew is not found by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genmorph.files import digest, json_text, sha256_bytes

SEAL = "sealed_sha256"
_LAST_LINE = f"# {SEAL}: "


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A document of JSON values with the hash of all the others.

    Examples
    --------
    >>> sorted(sealed({"a": 1}))
    ['a', 'sealed_sha256']
    """
    values = {key: value for key, value in content.items() if key != SEAL}
    # as a reader gets them back: keys are text, tuples are lists
    return values | {SEAL: digest(json.loads(json.dumps(values, allow_nan=False)))}


def seal_holds(text: str) -> bool:
    """Whether a JSON file is, letter by letter, as it was sealed and written."""
    try:
        content = json.loads(text)
        return json_text(sealed(content)) == text
    except (AttributeError, ValueError):  # no JSON object, or with values that JSON does not have
        return False


def sealed_text(text: str) -> str:
    """A text in which `#` starts a comment (YAML), with its own hash as the last line."""
    return f"{text}{_LAST_LINE}{sha256_bytes(text.encode())}\n"


def text_seal_holds(text: str) -> bool:
    """Whether a text is, letter by letter, as `sealed_text` gave it."""
    return sealed_text(text.rpartition(_LAST_LINE)[0]) == text
