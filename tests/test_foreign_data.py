"""Data as users bring them: images of other depths than 8 bits, and folders as other systems leave them."""

import numpy as np
import pytest
import torch
from PIL import Image

from nvlib import data
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
