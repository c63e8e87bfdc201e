"""What a prompt means among the avatars, and on whom its edit shows."""

import pytest

from sdd.domains import avatars
from sdd.domains.avatars.phrases import COLOR_OF, PHRASES


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("white hair", {"hair_color": "white"}),
        ("A man with snow-white hair", {"hair_color": "white"}),
        ("long red hair", {"hair": "long", "hair_color": "red"}),
        ("make her smile", {"mouth": "smile"}),
        ("wearing a pink beanie", {"hat": "beanie", "hat_color": "pink"}),
        ("surprised eyes", {"eyes": "wide"}),
        ("surprised", {"mouth": "surprised"}),
        ("white hair and sunglasses", {"hair_color": "white", "accessories": "sunglasses"}),
        ("head tilted left", {"tilt": "left"}),
        ("zebra", {}),
        ("", {}),
    ],
)
def test_phrases_are_understood(prompt, wanted):
    assert avatars.meaning(prompt) == wanted


def test_every_wording_means_the_value_it_is_a_wording_of():
    shared = {"sad": "mouth", "angry": "brows"}
    for attribute, table in PHRASES.items():
        for value, texts in table.items():
            for text in texts:
                found = avatars.meaning(text.replace("{c}", "white" if "{c}" in text else ""))
                assert found.get(attribute) == value or text in shared, (attribute, value, text, found)
                if "{c}" in text:
                    assert found[COLOR_OF[attribute]] == "white"


@pytest.mark.parametrize(
    "prompt", ["white hair", "a beard", "glasses", "a pink beanie", "white beard", "head tilted left"]
)
def test_an_edit_shows_where_there_is_something_to_change_and_to_see(prompt):
    wanted = avatars.meaning(prompt)
    people = avatars.sample(300, 5)
    chosen = [person for person in people if avatars.shows(person, wanted)]
    assert 16 <= len(chosen) < 300
    for person in chosen[::4]:
        assert not person.round_crop
        if prompt == "white hair":
            assert person.visible("hair_color") and person.attributes["hair_color"] not in ("white", "platinum")
        if prompt == "glasses":
            assert person.attributes["accessories"] != "glasses"
        if "tilt" not in wanted:
            assert (person.render() != person.replace(**wanted).render()).any()
