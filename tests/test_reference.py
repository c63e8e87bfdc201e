"""The reference is what the docstrings say today."""

from pathlib import Path

from sdd.apps.reference import page


def test_the_reference_is_current():
    kept = (Path(__file__).parents[1] / "docs" / "reference.md").read_text(encoding="utf-8")
    assert kept == page(), "write it again: python -m sdd.apps.reference"


def test_what_users_import_is_there():
    import sdd

    text = page()
    for name in sdd.__all__:
        if callable(getattr(sdd, name)):
            assert f"### `sdd.{name}`\n" in text, name
    assert "#### `Editor.load`" in text and "* `seed`: the same seed" in text
