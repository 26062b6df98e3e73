"""Small images for tests of data sets, and what holds for every set."""

import io

import torch
from PIL import Image


def picture(value, size=(8, 8), mode="RGB", kind="JPEG"):
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, kind)
    return file.getvalue()


def check(found, sizes, shape, classes):
    """What holds for every data set."""
    assert (len(found.train), len(found.validation), len(found.test)) == sizes
    assert found.shape == shape and found.classes == classes == len(found.class_names)
    assert found.chance == 100 / classes
    for split in (found.train, found.validation, found.test):
        assert split.x.dtype == torch.float32 and split.y.dtype == torch.int64
        assert len(split.x) == len(split.y) == len(split) and split.x.shape[1:] == shape
        assert torch.isfinite(split.x).all() and 0 <= split.y.min() and split.y.max() < classes
    assert len(found.fingerprint) == 64
