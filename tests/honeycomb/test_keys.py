"""Kinds of keys, judged by their form."""

import pytest

from hooks.honeycomb.auth import configuration_key_error, kind_of


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("hcaik_" + "k" * 58, "ingest"),
        ("hcaik_" + "k" * 26, "ingest key's id"),
        ("hcaic_" + "k" * 58, "Classic"),
        ("0123456789abcdef" * 2, "Classic"),
        ("hcamk_0123:4567", "management"),
        ("<paste-your-api-key-here>", "placeholder"),
        ("YOUR_API_KEY", "placeholder"),
        ("aB3dE6gH9jK2mN5pQ8sT1v", "configuration"),
        ("something-else", "unknown"),
    ],
)
def test_kind_of_a_key_is_recognised_by_its_form(key: str, kind: str) -> None:
    assert kind_of(key) == kind
    error = configuration_key_error(key, ("boards",))
    assert (error is None) == (kind in ("configuration", "unknown"))
    assert error is None or (key not in error and "Manage Public Boards" in error)
