"""Which words of a prompt a teacher knows, and which prompts are refused for it."""

import pytest

from sdd.apps.words import check_words, colours, language
from sdd.domains.avatars.captions import words
from sdd.domains.embedded import EMBEDDED, weights_folder
from sdd.domains.words import STOP, content, embedded_vocabulary, unknown_content
from sdd.errors import SddError
from toy import ToyTeacher

AVATARS = embedded_vocabulary()


class Fluent:
    """A teacher of general English, which has a word for everything."""

    def unknown_words(self, prompt):
        return []


def test_content_words_leave_out_what_says_nothing_of_a_picture():
    assert content("Make HIM wear a red hat, with more of it!") == ["red", "hat"]
    assert content("a person wearing the") == [] and content("") == []
    assert {"a", "an", "the", "with", "of", "make", "him", "her", "it", "wearing", "more"} <= STOP


@pytest.mark.parametrize(
    "prompt", ["white hair", "make her wear more glasses", "A PERSON WITH A BEARD", "snow-white hair"]
)
def test_known_prompts_pass_without_a_word(prompt):
    assert check_words(prompt, AVATARS) == []


def test_unknown_words_are_named_with_the_nearest():
    (warning,) = check_words("make him smille with white hair", AVATARS)
    assert "'smille'" in warning and "smile" in warning
    assert len(check_words("purple red zebra", ToyTeacher())) == 2


@pytest.mark.parametrize("prompt", ["zebra", "make it a zebra", "of the with", "a person", "白髪", "!!!", "smille"])
def test_a_prompt_of_which_nothing_is_known_is_refused_unless_forced(prompt):
    with pytest.raises(SddError, match="--force") as error:
        check_words(prompt, AVATARS)
    assert "sdd words" in str(error.value)
    check_words(prompt, AVATARS, force=True)


def test_the_refusal_names_the_nearest_words_and_stays_one_sentence():
    with pytest.raises(SddError, match="smile"):
        check_words("smille", AVATARS)
    with pytest.raises(SddError) as error:
        check_words("zzz " * 25_000, AVATARS)
    assert len(str(error.value)) < 600


def test_a_teacher_of_many_words_knows_every_prompt():
    for prompt in ("zebra", "白髪", "a person", "qwertzuiop"):
        assert check_words(prompt, Fluent()) == []


def test_every_word_of_the_language_is_known():
    for table in language().values():
        for texts in table.values():
            for text in texts:
                for colour in colours()["hair"] + colours()["cloth"]:
                    assert AVATARS.unknown_words(text.replace("{c}", colour)) == []
    assert AVATARS.unknown_words("zebra hair")[0][0] == "zebra"
    assert AVATARS.words == set(words())


def test_endings_of_words_are_no_words_of_the_embedded_teacher():
    """Its tokenizer has tokens for "air" and "king"; asked as a teacher, from Python too, it does not know them."""

    class Named(Fluent):
        name = str(weights_folder(EMBEDDED) / "teacher")

    assert [word for word, _ in unknown_content("make him an air king with white hair", Named())] == ["air", "king"]
    assert unknown_content("zebra", Fluent()) == []
    with pytest.raises(SddError, match="air"):
        check_words("air king", Named())
