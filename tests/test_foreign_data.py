"""Data as users bring them: images of other depths than 8 bits, and folders as other systems leave them."""

import numpy as np
import pytest
import torch
from PIL import Image

import nvlib
from nvlib import data
from nvlib.data.given import split_of
from nvlib.errors import InputError


def folder(root, make, kinds=("cat", "dog"), n=8, suffix="png"):
    """A folder of classes whose images are ``make(kind, i)``."""
    for c, kind in enumerate(kinds):
        (root / kind).mkdir(parents=True)
        for i in range(n):
            make(c, i).save(root / kind / f"{i}.{suffix}")
    return root


def images(found):
    return torch.cat([part.x for part in (found.train, found.validation, found.test)])


LEVELS = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_images_of_16_bits_keep_their_levels(tmp_path, suffix):
    found = data.load(folder(tmp_path / "deep", lambda c, i: Image.fromarray(LEVELS), suffix=suffix))
    expected = torch.from_numpy((LEVELS / 65535).astype(np.float32))
    assert found.shape == (1, 16, 16)
    for x in images(found):
        torch.testing.assert_close(x[0], expected, atol=1e-7, rtol=1e-6)


def test_levels_finer_than_8_bits_stay_apart(tmp_path):
    near = 30000 + np.arange(64, dtype=np.uint16).reshape(8, 8)  # all in one step of 8 bits
    found = data.load(folder(tmp_path / "deep", lambda c, i: Image.fromarray(near)))
    assert len(torch.unique(found.train.x[0])) == 64


def test_a_tiff_may_have_white_at_zero(tmp_path):
    inverted = folder(tmp_path / "inverted", lambda c, i: Image.fromarray(LEVELS), suffix="tif")
    for path in inverted.glob("*/*"):
        raw = bytearray(path.read_bytes())
        at = raw.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # PhotometricInterpretation, a short: 1
        raw[at + 8] = 0
        path.write_bytes(raw)
    x = images(data.load(inverted))[0, 0]
    torch.testing.assert_close(x, torch.from_numpy((1 - LEVELS / 65535).astype(np.float32)), atol=1e-6, rtol=0)


def test_floats_from_0_to_1_are_taken_and_others_refused(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    found = data.load(folder(tmp_path / "unit", lambda c, i: Image.fromarray(values), suffix="tif"))
    torch.testing.assert_close(images(found)[0, 0], torch.from_numpy(values))
    for name, scaled in {"bytes": values * 255, "signed": values - 0.5, "nan": np.full_like(values, np.nan)}.items():
        made = folder(tmp_path / name, lambda c, i, scaled=scaled: Image.fromarray(scaled), suffix="tif")
        with pytest.raises(InputError, match=r"tif: its values go from .* floats from 0 to 1") as error:
            data.load(made)
        assert "\n" not in str(error.value)


def test_integers_without_a_known_range_are_refused(tmp_path):
    whole = Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8))
    with pytest.raises(InputError, match="32 bits whose range is not known"):
        data.load(folder(tmp_path / "whole", lambda c, i: whole, suffix="tif"))


def test_deep_and_shallow_images_share_a_scale(tmp_path):
    eight = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    deep = Image.fromarray(eight.astype(np.uint16) * 257)  # the same greys in 16 bits
    found = data.load(folder(tmp_path / "mixed", lambda c, i: deep if c else Image.fromarray(eight)))
    for x in images(found):
        torch.testing.assert_close(x[0], torch.from_numpy(eight / np.float32(255)), atol=1e-7, rtol=1e-6)
    resized = data.load(tmp_path / "mixed", size=4)
    kinds = torch.stack([resized.train.x[resized.train.y == c].mean(0) for c in (0, 1)])
    torch.testing.assert_close(kinds[0], kinds[1], atol=1 / 255, rtol=0)  # 8 bits are rounded when resized


def test_deep_greys_beside_colours_become_colours(tmp_path):
    colour = Image.fromarray(np.full((16, 16, 3), 128, np.uint8))
    found = data.load(folder(tmp_path / "mixed", lambda c, i: Image.fromarray(LEVELS) if c else colour))
    assert found.shape == (3, 16, 16)
    deep = found.train.x[found.train.y == 1][0]
    assert all(len(torch.unique(channel)) == 256 for channel in deep)


def test_palettes_are_read_by_their_colours(tmp_path):
    """Indices 0, 1, 2 stand for colours, whose order says nothing of their brightness."""
    indices = np.tile(np.array([0, 1, 2, 1], np.uint8), (4, 1))

    def image(colours):
        made = Image.fromarray(indices, "P")
        made.putpalette(colours)
        return made

    grey = data.load(folder(tmp_path / "grey", lambda c, i: image([250, 250, 250, 10, 10, 10, 90, 90, 90])))
    assert grey.shape == (1, 4, 4)
    torch.testing.assert_close(grey.test.x[0, 0, 0] * 255, torch.tensor([250.0, 10.0, 90.0, 10.0]))
    colours = [0, 0, 255, 255, 0, 0, 0, 255, 0]
    found = data.load(folder(tmp_path / "colour", lambda c, i: image(colours)))
    assert found.shape == (3, 4, 4)
    assert found.test.x[0, :, 0, 0].argmax() == 2 and found.test.x[0, :, 0, 1].argmax() == 0  # blue, then red


def test_what_macos_leaves_is_no_image_and_no_class(tmp_path):
    pets = folder(tmp_path / "pets", lambda c, i: Image.new("L", (8, 8), 100 * c + i))
    before = data.load(pets)
    for kind in ("cat", "dog"):
        (pets / kind / "._0.png").write_bytes(b"\x00\x05\x16\x07 resource fork")
        (pets / kind / ".DS_Store").write_bytes(b"")
    (pets / "__MACOSX").mkdir()
    (pets / "__MACOSX" / "._cat.png").write_bytes(b"\x00\x05\x16\x07")
    after = data.load(pets)
    assert after.fingerprint == before.fingerprint and after.class_names == ("cat", "dog")


def test_images_lie_in_memory_as_networks_expect():
    found = data.load("mnist", limit=8)
    for part in (found.train, found.validation, found.test):
        assert part.x.stride() == (784, 784, 28, 1)
        activations = torch.nn.Conv2d(1, 6, 5)(part.x)
        assert activations.view(len(part), -1).shape == (8, 6 * 24 * 24)


# ---- forms of images and labels


torch.manual_seed(0)
X, Y = torch.randn(24, 8), torch.randint(0, 4, (24,))
NET = torch.nn.Linear(8, 4)
PAIRS = [(x, int(y)) for x, y in zip(X, Y, strict=True)]


class Pairs(torch.utils.data.Dataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


class Failing(Pairs):
    """A data set with one image that cannot be had."""

    def __init__(self, error, at=7):
        super().__init__(PAIRS)
        self.error, self.at = error, at

    def __getitem__(self, i):
        if i == self.at:
            raise self.error
        return super().__getitem__(i)


class Unending(torch.utils.data.Dataset):
    def __getitem__(self, i):
        return PAIRS[i]


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from PAIRS[:5]
        raise OSError("no such file")


def broken(batch):
    raise ValueError("these do not\nstack")


FORMS = {
    "int32": (X, Y.int()),
    "uint8 labels": (X, Y.byte()),
    "whole floats": (X, Y.float()),
    "numpy": (X.numpy(), Y.numpy()),
    "numpy float64": (X.double().numpy(), Y.numpy().astype(np.uint16)),
    "big endian": (X.numpy().astype(">f4"), Y.numpy().astype(">i8")),
    "read only": (np.frombuffer(X.numpy().tobytes(), np.float32).reshape(24, 8), Y.numpy()),
    "lists": (X.tolist(), Y.tolist()),
    "lists of tensors": (list(X), list(Y)),
    "lists of arrays": [list(X.numpy()), list(Y.numpy())],
    "one-hot": (X, torch.nn.functional.one_hot(Y, 4)),
    "one-hot floats": (X, torch.nn.functional.one_hot(Y, 4).float()),
    "column": (X, Y[:, None]),
    "half": (X.half().float().half(), Y),
    "a graph": (X.clone().requires_grad_() * 1.0, Y),
    "Split": data.Split(X.numpy(), Y.int()),
    "TensorDataset": torch.utils.data.TensorDataset(X, Y),
    "data set of pairs": Pairs(PAIRS),
    "DataLoader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 5),
    "shuffled, incomplete": torch.utils.data.DataLoader(Pairs(PAIRS), 5, shuffle=True, drop_last=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_data_gives_the_same_samples(form):
    expected = nvlib.monte_carlo(NET, (X, Y), "rram", 0.1, chips=3, bits=8)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = nvlib.monte_carlo(NET, FORMS[form], "rram", 0.1, chips=3, bits=8)
    assert found.accuracy.tolist() == expected.accuracy.tolist()
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-3 if form == "half" else 1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loader_of_some_images_gives_those():
    few = torch.utils.data.SubsetRandomSampler([1, 3, 5], torch.Generator().manual_seed(0))
    split = split_of(torch.utils.data.DataLoader(Pairs(PAIRS), 2, sampler=few))
    assert sorted(map(tuple, split.x.tolist())) == sorted(map(tuple, X[[1, 3, 5]].tolist()))


NAN = X.clone()
NAN[5, 2] = float("nan")
REFUSED = {
    "labels from 1": ((X, Y + 1), r"label 4 \(of image \d+\) is none of the 4 classes of Linear; expected 0 .. 3"),
    "not labelled": ((X, torch.where(Y == 2, -100, Y)), r"label -100 \(of image \d+\) is no class"),
    "fractions": ((X, Y + 0.5), "labels are not whole numbers"),
    "soft labels": ((X, torch.softmax(torch.randn(24, 4), 1)), r"labels have shape \(24, 4\); expected \(n,\)"),
    "fewer labels": ((X, Y[:10]), "24 images and 10 labels do not pair"),
    "names": ((X, ["cat", "dog"] * 12), "labels of type list cannot be used"),
    "no labels": ((X, None), "labels of type NoneType cannot be used"),
    "bytes": (((X * 50).abs().byte(), Y), r"images are uint8; expected floats .* x.float\(\) / 255"),
    "ragged": (([[1.0, 2.0], [3.0]], [0, 1]), "images of type list cannot be used"),
    "NaN": ((NAN, Y), "1 of 24 images are not finite, the first is image 5"),
    "infinite": ((X * torch.inf, Y), "24 of 24 images are not finite"),
    "empty": ((X[:0], Y[:0]), "is empty"),
    "images alone": (X, "data of Tensor cannot be evaluated on; expected a Dataset, a Split, a pair"),
    "three parts": ((X, Y, Y), "data of 3 parts"),
    "a path": ("data/mnist", "data of str"),
    "batches of dicts": (torch.utils.data.DataLoader([{"image": X[0], "label": 1}] * 4, 2), "batches of dict"),
    "batches of three": (torch.utils.data.TensorDataset(X, Y, Y), "batches of 3 parts"),
    "pictures": (Pairs([(Image.new("L", (8, 8)), 0)] * 4), "give the data set a transform"),
    "several sizes": (torch.utils.data.DataLoader(Pairs([(X[0], 0), (X[0, :4], 1)]), 1), "differ in shape"),
    "an image that is missing": (Failing(FileNotFoundError(2, "No such file", "a.png")),
                                 r"image 7 of the data cannot be loaded \(FileNotFoundError.*a\.png'\); mend it or"),
    "shuffled, an image missing": (torch.utils.data.DataLoader(Failing(KeyError("a")), 5, shuffle=True),
                                   r"image 7 of the data cannot be loaded \(KeyError: 'a'\)"),
    "missing in a worker": (torch.utils.data.DataLoader(Failing(OSError("gone")), 5, num_workers=1),
                            r"image 7 of the data cannot be loaded \(OSError: gone\)"),
    "stops early": (torch.utils.data.DataLoader(Failing(StopIteration()), 5),
                    r"image 7 of the data cannot be loaded \(StopIteration\)"),
    "fewer than they say": (Failing(IndexError("out of range"), 23), "image 23 of the data cannot be loaded"),
    "without a length": (Unending(), "the data do not say how many images they have"),
    "a stream that fails": (torch.utils.data.DataLoader(Stream(), 2),
                            r"fail after 2 batches \(OSError: no such file\)"),
    "not stacked": (torch.utils.data.DataLoader(Pairs(PAIRS), 5, collate_fn=broken),
                    r"cannot be put into batches \(ValueError: these do not stack\)"),
    "labels without values": ((X, Y.to("meta")), "labels are on the meta device"),
    "another shape": ((X[:, :5], Y), r"Linear does not run on images of shape \(5,\), float32: RuntimeError"),
    "whole numbers": (((X * 50).long(), Y), r"Linear does not run on images of shape \(8,\), int64"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_other_forms_are_refused_in_a_line(form):
    given, says = REFUSED[form]
    with pytest.raises(InputError, match=says) as error:
        nvlib.monte_carlo(NET, given, "rram", 0.1, chips=2, bits=8)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
