"""Counter-based draws: the published vectors, addressing, and the moments."""

import hashlib

import pytest
import torch

from nvlib import InputError, philox

VECTORS = [  # Random123's known answers for philox4x32-10: counter, key, result
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_published_vectors(counter, key, answer):
    words = philox.words(key, [torch.tensor([c]) for c in counter])
    assert tuple(int(w) for w in words) == answer
    keys = tuple(torch.tensor([k]) for k in key)  # a key a row, as populations of trainings use
    assert tuple(int(w) for w in philox.words(keys, [torch.tensor([c]) for c in counter])) == answer


def test_number_is_the_word_its_address_names():
    """One number, found by hand from the layout in the module's docstring."""
    seed, index, element = (7 << 32) | 5, 11, 1002
    digest = hashlib.blake2b(b"fc1.weight", digest_size=8).digest()
    low, high = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    counter = [torch.tensor([c]) for c in (element // 4, index, low, high)]
    word = int(philox.words((5, 7), counter)[element % 4])
    assert philox.uniform(seed, index, "fc1.weight", 1003)[0, element] == (word + 0.5) / 2**32


@pytest.mark.parametrize("threads", [1, 2])
def test_a_draw_does_not_depend_on_its_company(threads, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = philox.normal(3, range(5), "a", 4099)
        monkeypatch.setitem(philox._PASS, "cpu", 257)  # another blocking
        assert torch.equal(together[4], philox.normal(3, 4, "a", 4099)[0])
        assert torch.equal(together[2, :100], philox.normal(3, 2, "a", 100)[0])
        rows = philox.normal([9, 3, 3], [0, 4, 1], "a", 4099)
        assert torch.equal(rows[1:], together[[4, 1]])
    finally:
        torch.set_num_threads(before)


def test_different_addresses_are_independent():
    n = 200_000
    base = philox.normal(0, 0, "a", n)[0]
    for other in (philox.normal(1, 0, "a", n), philox.normal(0, 1, "a", n), philox.normal(0, 0, "b", n),
                  philox.normal(1 << 32, 0, "a", n)):  # fmt: skip
        assert abs(float((base * other[0]).mean())) < 4 / n**0.5


def test_moments_within_four_standard_errors():
    z = philox.normal(1, range(8), "moments", 250_000).flatten()
    n = len(z)
    assert abs(z.mean()) < 4 / n**0.5
    assert abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert abs((z > 3).double().mean() - 0.0013499) < 4 * (0.0013499 / n) ** 0.5


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.5, True])
def test_bad_seed(seed):
    with pytest.raises(InputError, match="seed"):
        philox.uniform(seed, 0, "a", 4)


def test_bad_index():
    with pytest.raises(InputError, match="index"):
        philox.uniform(0, range(-1, 2), "a", 4)
