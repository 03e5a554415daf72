"""Validate a crate at REQUIRED level on a machine without a network; prints JSON.

Runs under the Python of `envs/validators.txt`:

    VALIDATORS/bin/python validate_crate.py crate.zip

Two things differ from `rocrate-validator validate`: the JSON-LD contexts that it would fetch come
from the `rocrate` package beside it, and the checks of `NETWORK` are not made.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import rocrate
from rocrate_validator import services
from rocrate_validator.utils import document_loader

PROFILES = ("process-run-crate", "workflow-run-crate", "provenance-run-crate")
# whether the addresses of the contexts answer
NETWORK = ("ro-crate-1.1_3.1", "ro-crate-1.1_3.2")

CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": json.loads(
        # the package has the context of 1.3, which moved the terms of Bioschemas
        (Path(rocrate.__file__).parent / "data/ro-crate.jsonld")
        .read_text()
        .replace("https://bioschemas.org/terms/", "https://bioschemas.org/")
    ),
    "https://w3id.org/ro/terms/workflow-run/context": {"@context": {}},
}
fetch = document_loader._patched_source_to_json


def from_here(source, *arguments, **options):
    if source in CONTEXTS:
        return copy.deepcopy(CONTEXTS[source]), None
    return fetch(source, *arguments, **options)


def main() -> None:
    document_loader._patched_source_to_json = from_here
    found = {}
    for profile in PROFILES:
        result = services.validate(
            {
                "rocrate_uri": sys.argv[1],
                "profile_identifier": profile,
                "requirement_severity": "REQUIRED",
                "skip_checks": list(NETWORK),
            }
        )
        found[profile] = {
            "passed": result.passed(),
            "checks": len(result.executed_checks),
            "skipped": sorted(check.identifier for check in result.skipped_checks),
            "issues": sorted(
                {f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()}
            ),
        }
    json.dump(found, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
