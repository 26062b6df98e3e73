import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as public

from nvlib import data
from nvlib.errors import InputError


@pytest.fixture(scope="module")
def mnist():
    return data.load("mnist")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No data of this machine: NVLIB_DATA is an empty folder."""
    monkeypatch.setenv("NVLIB_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def served():
    """Serve a folder on this machine alone; gives its address."""
    servers = []

    def serve(folder):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def picture(value, size=(8, 8), mode="RGB", kind="JPEG"):
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, kind)
    return file.getvalue()


def check(found, sizes, shape, classes):
    """What holds for every data set."""
    assert (len(found.train), len(found.validation), len(found.test)) == sizes
    assert found.shape == shape and found.classes == classes == len(found.class_names)
    for split in (found.train, found.validation, found.test):
        assert split.x.dtype == torch.float32 and split.y.dtype == torch.int64
        assert len(split.x) == len(split.y) == len(split) and split.x.shape[1:] == shape
        assert torch.isfinite(split.x).all() and 0 <= split.y.min() and split.y.max() < classes
    assert len(found.fingerprint) == 64


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


# ---- CIFAR, in the public layout


def cifar10(root, n=4):
    """A small cifar-10-batches-py: five training batches and a test batch of n images each."""
    folder, rng = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        batch = {"data": pixels, "labels": rng.integers(0, 10, n).tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.CIFAR10_CLASSES)}))
    return folder


def trust(monkeypatch, folder, kind):
    """Let torchvision's list of MD5 sums be that of this folder."""
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for parts in ("train_list", "test_list"):
        monkeypatch.setattr(kind, parts, [[name, md5[name]] for name, _ in getattr(kind, parts)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5[kind.meta["filename"]]})


def test_cifar10(monkeypatch, elsewhere):
    folder = cifar10(elsewhere)
    trust(monkeypatch, folder, public.CIFAR10)
    found = data.load("cifar10")
    check(found, (18, 2, 4), (3, 32, 32), 10)
    assert found.class_names == data.CIFAR10_CLASSES and data.available()["cifar10"] == f"found at {folder}"
    batch = pickle.loads((folder / "test_batch").read_bytes())
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in data.CIFAR10_SCALE)
    pixels = {tuple(p): label for p, label in zip(batch["data"].tolist(), batch["labels"], strict=True)}
    for x, y in zip(found.test.x, found.test.y, strict=True):
        assert pixels[tuple(((x * std + mean) * 255).round().int().flatten().tolist())] == y
    assert data.load("cifar10", root=elsewhere).fingerprint == found.fingerprint


def test_cifar10_from_its_archive(monkeypatch, elsewhere, tmp_path):
    folder = cifar10(tmp_path / "made")
    trust(monkeypatch, folder, public.CIFAR10)
    elsewhere.mkdir()
    archive = elsewhere / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    monkeypatch.setattr(public.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(public.CIFAR10, "url", "file:///nowhere")  # nothing is fetched
    check(data.load("cifar10"), (18, 2, 4), (3, 32, 32), 10)


def test_cifar10_that_fails_its_integrity_check(elsewhere):
    folder = cifar10(elsewhere)
    with pytest.raises(InputError, match=r"cifar10 at .* is damaged") as error:
        data.load("cifar10")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_archive_is_neither_read_nor_replaced(elsewhere):
    elsewhere.mkdir()
    archive = elsewhere / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half a download")
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz is damaged"):
        data.load("cifar10")
    assert archive.read_bytes() == b"half a download"


def test_a_download_that_fails(monkeypatch, elsewhere):
    monkeypatch.setattr(public.CIFAR10, "url", "file:///nowhere/cifar-10-python.tar.gz")
    monkeypatch.setattr(data.places, "TINY_URL", "file:///nowhere/tiny-imagenet-200.zip")
    with pytest.raises(InputError, match=r"cifar10 at .* cannot be fetched"):
        data.load("cifar10", download=True)
    with pytest.raises(InputError, match="cannot fetch file:///nowhere"):
        data.load("tiny-imagenet", download=True)


def test_cifar100(monkeypatch, elsewhere):
    folder, rng = elsewhere / "cifar-100-python", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, n in (("train", 20), ("test", 5)):
        batch = {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), "fine_labels": list(range(n))}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {i}" for i in range(100)]}))
    trust(monkeypatch, folder, public.CIFAR100)
    check(data.load("cifar100"), (18, 2, 5), (3, 32, 32), 100)


# ---- Tiny ImageNet, folder and zip


def tiny_imagenet(root):
    """Two classes, each with ten training images (one of them grey, as some are) and two of validation."""
    top = root / "tiny-imagenet-200"
    (top / "val" / "images").mkdir(parents=True)
    lines = []
    for c, wnid in enumerate(["n02", "n01"]):
        folder = top / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for i in range(10):
            jpeg = picture(9 * i, (64, 64), "L") if i == 0 else picture((40 * c, 9 * i, 0), (64, 64))
            (folder / f"{wnid}_{i}.JPEG").write_bytes(jpeg)
        for i in range(2):
            name = f"val_{2 * c + i}.JPEG"
            (top / "val" / "images" / name).write_bytes(picture((40 * c, 0, 200), (64, 64)))
            lines.append(f"{name}\t{wnid}\t0\t32\t44\t62")
    (top / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return top


def test_tiny_imagenet_as_folder_and_as_zip(monkeypatch, elsewhere, tmp_path, served):
    top = tiny_imagenet(elsewhere)
    found = data.load("tiny-imagenet")
    check(found, (18, 2, 4), (3, 64, 64), 2)
    assert found.class_names == ("n01", "n02")  # labels follow the sorted ids: n02 is 1, and its red is 0
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in data.TINY_SCALE)
    red = (found.test.x * std + mean)[:, 0].mean((1, 2)) * 255
    assert (red - torch.where(found.test.y == 0, 40, 0)).abs().max() < 4  # JPEG moves a colour a little

    archive = tmp_path / "public" / "tiny-imagenet-200.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(top.rglob("*")):
            file.write(path, path.relative_to(elsewhere))
    assert data.load("tiny-imagenet", root=archive.parent).fingerprint == found.fingerprint

    home = tmp_path / "new"
    monkeypatch.setattr(data.places, "TINY_URL", f"{served(archive.parent)}/{archive.name}")
    with pytest.raises(InputError, match="cannot fetch"):  # the MD5 is not the published one
        data.load("tiny-imagenet", root=home, download=True)
    assert not list(home.iterdir())
    monkeypatch.setattr(data.places, "TINY_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert data.load("tiny-imagenet", root=home, download=True).fingerprint == found.fingerprint


def test_damaged_tiny_imagenet(elsewhere):
    (tiny_imagenet(elsewhere) / "val" / "val_annotations.txt").unlink()
    with pytest.raises(InputError, match=r"damaged .*val_annotations\.txt"):
        data.load("tiny-imagenet")


def test_zip_cut_short(elsewhere):
    elsewhere.mkdir()
    (elsewhere / "tiny-imagenet-200.zip").write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(InputError, match=r"tiny-imagenet-200\.zip is damaged"):
        data.load("tiny-imagenet")


# ---- CIFAR-10 as JPEG


def cifar10_jpeg(root, sizes=(15, 5, 4)):
    folder = root / "cifar10-jpeg"
    folder.mkdir(parents=True)
    for part, n in zip(("train_a", "train_b", "test"), sizes, strict=True):
        images = [picture((20 * (i % 10), 0, 100), (32, 32)) for i in range(n)]
        offsets = np.cumsum([0] + [len(image) for image in images])
        jpeg = np.frombuffer(b"".join(images), np.uint8)
        np.savez(folder / f"{part}.npz", jpeg=jpeg, offsets=offsets, labels=np.arange(n, dtype=np.uint8) % 10)
    return folder


def test_cifar10_jpeg(elsewhere):
    cifar10_jpeg(elsewhere)
    found = data.load("cifar10-jpeg")
    check(found, (18, 2, 4), (3, 32, 32), 10)
    assert (found.name, found.label) == ("cifar10-jpeg", "cifar10 (jpeg)")
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in data.CIFAR10_SCALE)
    red = (found.train.x * std + mean)[:, 0].mean((1, 2)) * 255
    assert (
        red - 20 * found.train.y
    ).abs().max() < 4  # images kept their labels; JPEG moves a colour a little


def test_damaged_cifar10_jpeg(elsewhere):
    folder = cifar10_jpeg(elsewhere)
    np.savez(
        folder / "test.npz", jpeg=np.zeros(3, np.uint8), offsets=np.arange(9), labels=np.zeros(3, np.uint8)
    )
    with pytest.raises(InputError, match=r"test\.npz is damaged: 3 labels, 9 offsets, 3 bytes"):
        data.load("cifar10-jpeg")
    (folder / "test.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"test\.npz cannot be read"):
        data.load("cifar10-jpeg")
    (folder / "test.npz").unlink()
    with pytest.raises(InputError, match=r"test\.npz cannot be read"):
        data.load("cifar10-jpeg")


# ---- a user's folder


def image_folder(root, mode="RGB", size=(8, 8), n=10):
    for c, kind in enumerate(["cat", "dog"]):
        (root / kind).mkdir(parents=True)
        for i in range(n):
            value = 100 * c + i if mode == "L" else (100 * c + i, 0, i)
            (root / kind / f"{i}.png").write_bytes(picture(value, size, mode, "PNG"))
    return root


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
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("tiny-imagenet", "tiny-imagenet-200"),
        ("cifar10-jpeg", "cifar10-jpeg"),
    ],
)
def test_missing_data_name_the_path_and_the_remedy(name, place, elsewhere):
    with pytest.raises(InputError) as error:
        data.load(name)
    says = str(error.value)
    assert str(elsewhere / place) in says and "NVLIB_DATA" in says and "\n" not in says
    assert (
        ("download=True" in says)
        == (f"python -m nvlib data {name} --download" in says)
        == (name != "cifar10-jpeg")
    )
    assert data.available()[name] == f"not found at {elsewhere / place}"


def test_available_lists_every_name():
    assert tuple(sorted(data.available())) == tuple(sorted(data.NAMES))
    assert data.available()["mnist"] == "embedded"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "mnits"}, "did you mean 'mnist'"),
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


def test_empty_data_set(elsewhere):
    folder = cifar10_jpeg(elsewhere)
    none = np.zeros(0, np.uint8)
    np.savez(folder / "test.npz", jpeg=none, offsets=np.zeros(1, np.int64), labels=none)
    with pytest.raises(InputError, match="data set cifar10-jpeg is empty: 20 training and 0 test images"):
        data.load("cifar10-jpeg")
