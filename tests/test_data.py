import time

import numpy as np
import pytest
import torch
from images import check, picture

from nvlib import data
from nvlib.errors import InputError

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module")
def mnist():
    return data.load("mnist")


# ---- MNIST, embedded


def test_mnist(mnist):
    check(mnist, (55_000, 5_000, 10_000), (1, 28, 28), 10)
    assert mnist.train.x.min() == 0 and mnist.train.x.max() == 1
    # published: mean 0.1307, deviation 0.3081 of the 60,000 training images; 5923 zeros, 980 in the test
    x = torch.cat([mnist.train.x, mnist.validation.x])
    mean, square = (v.mean(dtype=torch.float64).item() for v in (x, x.square()))
    assert (round(mean, 4), round((square - mean**2) ** 0.5, 4)) == (0.1307, 0.3081)
    zeros = [int((s.y == 0).sum()) for s in (mnist.train, mnist.validation, mnist.test)]
    assert (zeros[0] + zeros[1], zeros[2]) == (5923, 980)
    # the splits every shipped result was computed on
    assert mnist.fingerprint == "e9f69f72f33d16d3ee8d7682d708ee1048aecf26c5c94311c4fc79bda090b3a3"


def test_mnist_images_belong_to_one_split(mnist):
    whole = np.concatenate([s.x.numpy().reshape(len(s), -1) for s in (mnist.train, mnist.validation)])
    assert len({row.tobytes() for row in whole}) == 60_000  # MNIST's training images are all different


def test_mnist_loads_fast():
    start = time.perf_counter()
    data.load("mnist")
    assert time.perf_counter() - start < 8  # 0.6 s on an idle machine


def test_limit_is_the_beginning_of_each_split(mnist):
    few = data.load("mnist", limit=32)
    check(few, (32, 32, 32), (1, 28, 28), 10)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(few, part).x, getattr(mnist, part).x[:32])
        assert torch.equal(getattr(few, part).y, getattr(mnist, part).y[:32])
    assert few.fingerprint != mnist.fingerprint


def test_seed_and_fingerprint():
    a, b, c = (data.load("mnist", seed=seed, limit=20) for seed in (0, 0, 1))
    assert a.fingerprint == b.fingerprint != c.fingerprint and torch.equal(a.train.x, b.train.x)


def test_resize(mnist):
    few = data.load("mnist", limit=10)
    large = data.resize(few, 32)
    check(large, (10, 10, 10), (1, 32, 32), 10)
    assert large.fingerprint != few.fingerprint and few.shape == (1, 28, 28)
    naive = torch.nn.functional.interpolate(few.test.x, (32, 32), mode="bilinear")
    torch.testing.assert_close(large.test.x, naive)
    again = data.load("mnist", limit=10, size=32)
    assert again.fingerprint == large.fingerprint and torch.equal(again.train.x, large.train.x)
    assert data.load("mnist", limit=10, size=28).fingerprint == few.fingerprint


def test_damaged_mnist_is_reported(monkeypatch):
    monkeypatch.setitem(data.MNIST_FILES, "t10k-labels-idx1-ubyte", "0" * 32)
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        data.load("mnist")


# ---- a user's folder


def image_folder(root, mode="RGB", size=(8, 8), n=10):
    for c, kind in enumerate(["cat", "dog"]):
        (root / kind).mkdir(parents=True)
        for i in range(n):
            value = 100 * c + i if mode == "L" else (100 * c + i, 0, i)
            (root / kind / f"{i}.png").write_bytes(picture(value, size, mode, "PNG"))
    return root


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(image_folder(tmp_path / "pets"))
    assert data.load(".").classes
    with pytest.raises(InputError, match="unknown data set ''"):
        data.load("")


def test_image_folder(tmp_path):
    folder = image_folder(tmp_path / "pets")
    found = data.load(folder)
    check(found, (17, 1, 2), (3, 8, 8), 2)
    assert found.name == str(folder) and found.class_names == ("cat", "dog")
    assert data.load(str(folder)).fingerprint == found.fingerprint != data.load(folder, seed=1).fingerprint
    # colour is standardised by the training split
    torch.testing.assert_close(found.train.x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.train.x[:, 0].std(correction=0), torch.tensor(1.0))


def test_grey_folder_stays_grey_and_keeps_its_labels(tmp_path):
    found = data.load(image_folder(tmp_path / "pets", "L"))
    check(found, (17, 1, 2), (1, 8, 8), 2)
    everything = [found.train, found.validation, found.test]
    x = torch.cat([s.x for s in everything])[:, 0, 0, 0] * 255
    assert torch.equal((x >= 99).long(), torch.cat([s.y for s in everything]))
    assert len(x.round().unique()) == 20  # each image in one split


def test_folder_with_images_of_many_sizes(tmp_path):
    folder = image_folder(tmp_path / "pets")
    (folder / "cat" / "0.png").write_bytes(picture((1, 2, 3), (30, 20), "RGB", "PNG"))
    with pytest.raises(InputError, match=r"differ in size .* give size="):
        data.load(folder)
    check(data.load(folder, size=16), (17, 1, 2), (3, 16, 16), 2)


def test_folders_that_are_no_data_set(tmp_path):
    with pytest.raises(InputError, match="0 images in 0 class folders"):
        data.load(tmp_path)
    folder = image_folder(tmp_path / "pets")
    (folder / "eel").mkdir()
    with pytest.raises(InputError, match=r"class folder .*eel holds no images"):
        data.load(folder)
    (folder / "eel" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"1\.png is not a readable image"):
        data.load(folder)
    cut = picture((1, 2, 3), (8, 8), "RGB", "PNG")
    (folder / "eel" / "1.png").write_bytes(cut[: len(cut) // 2 + 10])
    with pytest.raises(InputError, match=r"1\.png cannot be read|1\.png is not a readable"):
        data.load(folder)


# ---- what is not there


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fashion-mnist", "fashion-mnist"),
        ("cifar10", "cifar-10-batches-bin"),
        ("cifar100", "cifar-100-binary"),
        ("tiny-imagenet", "tiny-imagenet-200"),
    ],
)
def test_missing_data_name_the_path_and_the_remedy(name, place, elsewhere):
    with pytest.raises(InputError) as error:
        data.load(name)
    says = str(error.value)
    assert str(elsewhere / place) in says and "NVLIB_DATA" in says and "\n" not in says
    assert "download=True" in says and f"python -m nvlib data {name} --download" in says
    assert data.available()[name] == f"not found at {elsewhere / place}"


def test_available_lists_every_name():
    assert tuple(sorted(data.available())) == tuple(sorted(data.NAMES))
    assert data.available()["mnist"] == "embedded"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "mnits"}, "did you mean 'mnist'"),
        ({"name": "cifar10-jpeg"}, "did you mean 'cifar10'"),
        ({"name": "mnist (5 of 10 classes)"}, "unknown data set"),
        ({"name": "no/such/folder"}, "no folder at no/such/folder"),
        ({"limit": 0}, "limit=0"),
        ({"limit": -3}, "limit=-3"),
        ({"size": 0}, "size=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(InputError, match=says) as error:
        data.load(**{"name": "mnist"} | arguments)
    assert "\n" not in str(error.value)
