"""A hash that a document carries of itself, so that an edit of any of its values shows.

No secret is in it: who edits the document and seals it anew is not found by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genmorph.files import digest

SEAL = "sealed_sha256"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A document of JSON values with the hash of all the others.

    Examples
    --------
    >>> sorted(sealed({"a": 1}))
    ['a', 'sealed_sha256']
    """
    return dict(content) | {SEAL: _hash(content)}


def seal_holds(content: Mapping[str, Any]) -> bool:
    """Whether a document is as it was sealed; False where it has no seal."""
    try:
        return content.get(SEAL) == _hash(content)
    except (TypeError, ValueError):  # values that JSON does not have, as YAML reads some
        return False


def _hash(content: Mapping[str, Any]) -> str:
    values = {key: value for key, value in content.items() if key != SEAL}
    # as a reader gets them back: keys are text, tuples are lists
    return digest(json.loads(json.dumps(values, allow_nan=False)))
