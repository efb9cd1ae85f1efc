"""Cases of a test of which some run always, the others with --slow."""

import pytest


def slow(*values, **options):
    """One case that runs with --slow only."""
    return pytest.param(*values, marks=pytest.mark.slow, **options)


def sometimes(cases, always):
    """Cases, those that are not among `always` slow."""
    return [case if case in always else slow(case) for case in cases]
