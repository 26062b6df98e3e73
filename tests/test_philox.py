"""Counter-based draws: the published vectors, addressing, and the moments."""

import hashlib

import pytest
import torch

from nvlib import InputError, philox
from nvlib.native import Unsupported, build
from nvlib.native.philox import kernel

VECTORS = [  # Random123's known answers for philox4x32-10: counter, key, result
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Compiled code of this test run, apart from the user's; nothing is loaded or spent before a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(philox, "_spent", 0.0)
    forget = philox._compiled.cache_clear
    forget()
    yield
    forget()


@pytest.fixture
def compiler():
    try:
        build.compiler()
    except Unsupported as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["compiled", "computed"])
def way(request, monkeypatch):
    """Either way to the numbers, whatever was spent."""
    if request.param == "compiled":
        request.getfixturevalue("compiler")
        made = kernel(make=True)
        monkeypatch.setattr(philox, "_compiled", lambda make: made)
    else:
        monkeypatch.setattr(philox, "_compiled", lambda make: None)


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_published_vectors(counter, key, answer):
    words = philox.words(key, [torch.tensor([c]) for c in counter])
    assert tuple(int(w) for w in words) == answer
    keys = tuple(torch.tensor([k]) for k in key)  # a key a row, as populations of trainings use
    assert tuple(int(w) for w in philox.words(keys, [torch.tensor([c]) for c in counter])) == answer


def test_number_is_the_word_its_address_names(way):
    """One number, found by hand from the layout in the module's docstring."""
    seed, index, element = (7 << 32) | 5, 11, 1002
    digest = hashlib.blake2b(b"fc1.weight", digest_size=8).digest()
    low, high = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
    counter = [torch.tensor([c]) for c in (element // 4, index, low, high)]
    word = int(philox.words((5, 7), counter)[element % 4])
    assert philox.uniform(seed, index, "fc1.weight", 1003)[0, element] == (word + 0.5) / 2**32


@pytest.mark.parametrize("threads", [1, 2])
def test_a_draw_does_not_depend_on_its_company(way, threads, monkeypatch):
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


def test_different_addresses_are_independent(way):
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


@pytest.mark.parametrize(("seed", "index"), [([1, 2], [0, 1, 2]), ([1, 2, 3], range(2)), ([], 0), (0, [])])
def test_seeds_and_indices_that_do_not_pair(seed, index):
    with pytest.raises(InputError, match="do not pair"):
        philox.uniform(seed, index, "a", 4)


# -- compiled code ---------------------------------------------------------------------------------------------------

TOP = (1 << 64) - 1


def both(monkeypatch, *arguments):
    """The same draws with compiled code and without."""
    made, found = kernel(make=True), []
    for way in (made, None):
        monkeypatch.setattr(philox, "_compiled", lambda make, way=way: way)
        found.append(philox.uniform(*arguments))
    return found


def built(target, monkeypatch):
    """Whether this processor can run code for a target; the kernel is then compiled for it."""
    able = {"avx512": 2, "avx2": 1}
    name = build.machine().name
    if able.get(target, 0) > able.get(name, 0):
        pytest.skip(f"a processor without {target}")
    monkeypatch.setattr("nvlib.native.philox.machine", lambda: build.MACHINES[target])


@pytest.mark.parametrize("target", ["avx512", "avx2", "plain"])
@pytest.mark.parametrize(("seed", "index"), [
    (0, 0), (TOP, (1 << 32) - 1), (1 << 32, 1 << 31), (0x9E3779B97F4A7C15, 12345),
    (5, range(7)), (3, [9, 0, (1 << 32) - 1]), ([TOP, 0, 1 << 63], 2), ([7, 8, TOP], [4, 4, (1 << 32) - 1]),
    ([6], range(2)), ([6, 7], [1]),
], ids=str)  # fmt: skip
def test_compiled_code_draws_the_same_bits(compiler, monkeypatch, target, seed, index):
    """Sizes round the 4, 8 and 16 blocks of a step, with a rest and without; the last takes PyTorch several passes."""
    built(target, monkeypatch)
    monkeypatch.setitem(philox._PASS, "cpu", 1 << 10)
    for size in (0, 1, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1002, 9001):
        compiled, computed = both(monkeypatch, seed, index, "fc1.weight", size)
        assert compiled.shape == computed.shape and compiled.stride() == computed.stride()
        assert torch.equal(compiled, computed), size


def test_compiled_code_has_the_published_vector(compiler):
    """The third vector's key and counter, but that a draw's blocks start at 0: words by `words`, exact as they are."""
    (_, i, low, high), (k0, k1), _ = VECTORS[2]
    out = torch.empty(1, 4 * 40, dtype=torch.float64)
    kernel(make=True).fill(out, [k1 << 32 | k0], [i], (low, high))
    counter = [torch.arange(40), *(torch.full((40,), c) for c in (i, low, high))]
    expected = torch.stack(philox.words((k0, k1), counter), 1).flatten()
    assert torch.equal((out[0] * 2.0**32 - 0.5).long(), expected)


def test_memory_beside_the_draws_is_left_alone(compiler):
    out = torch.full((2, 4 * 21 + 8), -1.0, dtype=torch.float64)
    with pytest.raises(ValueError, match="do not fit"):
        kernel(make=True).fill(out[:, : 4 * 21], [0], [0, 1], (0, 0))  # not contiguous
    with pytest.raises(ValueError, match="do not fit"):
        kernel(make=True).fill(out, [0, 1, 2], [0, 1], (0, 0))
    flat = out.flatten()
    kernel(make=True).fill(flat[8 : 8 + 2 * 4 * 21].view(2, 4 * 21), [0], [0, 1], (0, 0))
    assert (flat[:8] == -1).all() and (flat[8 + 2 * 4 * 21 :] == -1).all() and (flat[8 : 8 + 2 * 4 * 21] > 0).all()


def test_code_is_compiled_once_it_pays(compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = philox.uniform(1, 2, "a", 100)
    assert not list(tmp_path.glob("nvlib/*")) and philox._spent > 0
    monkeypatch.setattr(philox, "_spent", 1e9)
    assert torch.equal(philox.uniform(1, 2, "a", 100), before)
    assert len(list(tmp_path.glob("nvlib/*/kernel.so"))) == 1
    philox._compiled.cache_clear()  # as in a new process: it is there, and used at once
    monkeypatch.setattr(philox, "_spent", 0.0)
    assert torch.equal(philox.uniform(1, 2, "a", 100), before)
    assert philox._spent == 0 and philox._compiled(False) is not None


@pytest.mark.parametrize("damage", [b"", b"not a library"])
def test_a_damaged_cache_is_made_again(compiler, monkeypatch, tmp_path, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = philox.uniform(1, 2, "a", 100)
    kernel(make=True)
    (library,) = tmp_path.glob("nvlib/*/kernel.so")
    library.unlink()  # a new file: this process has the old one mapped
    library.write_bytes(damage)
    philox._compiled.cache_clear()
    assert torch.equal(philox.uniform(1, 2, "a", 100), expected) and philox._compiled(False) is None
    monkeypatch.setattr(philox, "_spent", 1e9)
    assert torch.equal(philox.uniform(1, 2, "a", 100), expected) and philox._compiled(True) is not None
    assert build._whole(library.parent)


def test_code_that_draws_otherwise_is_not_used(compiler, monkeypatch):
    """A compiler's error must not become a result."""
    expected = philox.uniform(1, 2, "a", 100)
    wrong = "double* out, void*, long, void*, long, long, unsigned, unsigned"
    monkeypatch.setattr("nvlib.native.philox.SOURCE", f'extern "C" void uniform({wrong}) {{ *out = 0.5; }}')
    monkeypatch.setattr(philox, "_spent", 1e9)
    assert torch.equal(philox.uniform(1, 2, "a", 100), expected) and philox._compiled(True) is None


@pytest.mark.parametrize("lacking", ["compiler", "cache"])
def test_without_a_compiler_or_a_cache_nothing_is_said(monkeypatch, tmp_path, capfd, recwarn, lacking):
    expected = philox.uniform(1, [2, 3], "a", 6)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    if lacking == "compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
    philox._compiled.cache_clear()
    monkeypatch.setattr(philox, "_spent", 1e9)
    assert torch.equal(philox.uniform(1, [2, 3], "a", 6), expected)
    assert philox._compiled(True) is None
    assert not recwarn.list and capfd.readouterr() == ("", "")
