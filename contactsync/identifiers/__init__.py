"""Text to identifier: the same person gives the same bytes. One room for each kind of identifier."""

from contactsync.identifiers.tel import (
    MAX_DIGITS,
    PROFILE,
    RULES,
    SCHEME,
    NumberingPlan,
    Rejected,
    Rule,
    Step,
    calling_code,
    calling_codes,
    check_region,
    default_region,
    explain,
    holds_another,
    normalise,
    numbering_plan,
)

__all__ = [
    "MAX_DIGITS",
    "PROFILE",
    "RULES",
    "SCHEME",
    "NumberingPlan",
    "Rejected",
    "Rule",
    "Step",
    "calling_code",
    "calling_codes",
    "check_region",
    "default_region",
    "explain",
    "holds_another",
    "normalise",
    "numbering_plan",
]
