"""Which tokens belong together: as published, and as meant where that differs."""

import pytest
import torch

from parity import fixture
from sdd.errors import SddError
from sdd.methods import alignment
from sdd.methods.alignment import Tokens


@pytest.fixture(scope="module")
def recorded():
    return fixture("p2p_alignment")


def told(recorded, text):
    found = recorded.meta["tokens"].get(text)
    if found is None:  # prompts of which nothing is asked but their words
        pieces = ["<|startoftext|>", *text.split(), "<|endoftext|>"]
        found = [[-i, piece] for i, piece in enumerate(pieces)]
    ids, pieces = zip(*found, strict=True)
    return Tokens(text, ids, pieces)


def test_mappers_are_the_published_ones(recorded):
    for k, (first, *others) in enumerate(recorded.meta["replace"]):
        source = told(recorded, first)
        made = [alignment.replacement(source, told(recorded, text), 77, published=True) for text in others]
        recorded.check(f"replace_{k}", torch.stack(made))
    for k, (first, *others) in enumerate(recorded.meta["refine"]):
        source = told(recorded, first)
        made = [alignment.refinement(source, told(recorded, text), 77, published=True) for text in others]
        recorded.check(f"refine_{k}", torch.stack([torch.stack([index.float(), alphas]) for index, alphas in made]))


def test_words_are_found_as_published(recorded):
    for k, (text, word) in enumerate(recorded.meta["words"]):
        found = alignment.word_tokens(told(recorded, text), word, published=True)
        recorded.check(f"word_{k}", torch.tensor(found or [-1]))


def test_times_and_weights_are_the_published_ones(recorded):
    for k, (prompts, steps, bounds) in enumerate(recorded.meta["time_alphas"]):
        targets = [told(recorded, text) for text in prompts[1:]]
        recorded.check(f"time_alphas_{k}", alignment.time_shares(targets, steps, bounds, 77, published=True))
    for k, (text, words, values) in enumerate(recorded.meta["equalizer"]):
        weights = dict(zip(words, values, strict=False))
        recorded.check(f"equalizer_{k}", alignment.equalizer(told(recorded, text), weights, 77, published=True))
    for k, (text, words, values) in enumerate(recorded.meta["equalizer_rows"]):
        rows = alignment.equalizer_rows(told(recorded, text), words, values, 77, published=True)
        recorded.check(f"equalizer_rows_{k}", rows)


def test_replacing_keeps_what_follows_in_place(recorded):
    """ "hippopotamus" is three tokens, "lion" one: "burger" is token 7 of the source and 5 of the target."""
    source = told(recorded, "a hippopotamus eating a burger")
    target = told(recorded, "a lion eating a burger")
    meant, published = (alignment.replacement(source, target, 77, flag) for flag in (False, True))
    assert meant[7, 5] == 1 and published[7, 5] == 0
    assert meant[2:5, 2].tolist() == [1, 1, 1]
    for pair in ((source, target), (target, source)):
        assert torch.equal(alignment.replacement(*pair, 77).sum(1), torch.ones(77))  # no attention is lost


def test_refining_keeps_the_padding_in_place(recorded):
    source, target = told(recorded, "a person with hair"), told(recorded, "a person with curly hair and sunglasses")
    index, alphas = alignment.refinement(source, target, 77)
    assert index[:9].tolist() == [0, 1, 2, 3, -1, 4, -1, -1, 5] and alphas[:9].tolist() == [1, 1, 1, 1, 0, 1, 0, 0, 1]
    assert index[9] == 6 and index[76] == 73
    assert alignment.refinement(source, target, 77, published=True)[0][9] == 9


def test_a_word_is_found_beside_its_comma(recorded):
    prompt = told(recorded, "a cat, asleep on a chair")
    assert alignment.word_tokens(prompt, "Cat") == [2]
    with pytest.raises(SddError, match="no word 'dog'"):
        alignment.word_tokens(prompt, "dog")
    with pytest.raises(SddError, match="no word 'dog'"):
        alignment.time_shares([prompt], 10, {"dog": 0.5}, 77)
    with pytest.raises(SddError, match="has 6 words, and no word 6"):
        alignment.word_tokens(prompt, 6)


def test_times_are_shares_of_the_steps(recorded):
    target = told(recorded, "a tiger sitting")
    shares = alignment.time_shares([target], 10, {"default_": 1.0, "tiger": [0.2, 0.7]}, 77)
    assert shares[:, 0, 2].tolist() == [0] * 2 + [1] * 5 + [0] * 4
    assert shares[:, 0, 1].tolist() == [1] * 10 + [0]


def test_prompts_of_other_lengths_are_not_replaced(recorded):
    with pytest.raises(SddError, match="has 4 and"):
        alignment.replacement(told(recorded, "a person with hair"), told(recorded, "soup"), 77)
