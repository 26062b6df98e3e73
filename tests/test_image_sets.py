"""Public layouts of the image sets, made small: as published, damaged, half extracted, with the wrong MD5, fetched."""

import builtins
import functools
import gzip
import hashlib
import http.server
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from images import check, picture
from torchvision import datasets as public

from nvlib import data, figures, image_sets
from nvlib.__main__ import main
from nvlib.data import cifar, idx, locations, tiny_imagenet
from nvlib.errors import InputError

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def served():
    """Serve a folder, or what a handler says, on this machine alone; gives its address."""
    servers = []

    def serve(folder):
        handler = folder if isinstance(folder, type) else functools.partial(Quiet, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def md5(content):
    return hashlib.md5(content).hexdigest()


def refuses(match, name, **more):
    """The set is refused in one line."""
    with pytest.raises(InputError, match=match) as error:
        data.load(name, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- CIFAR: one set of images, in both layouts

CIFAR = {
    "cifar10": ([(f"data_batch_{i}.bin", 4) for i in range(1, 6)], [("test_batch.bin", 4)], 1, 10),
    "cifar100": ([("train.bin", 20)], [("test.bin", 4)], 2, 100),
}
SIZES, SHAPE = (18, 2, 4), (3, 32, 32)


def batches(name):
    """File -> labels (n,) and pixels (n, 3072), always the same."""
    train, test, _, classes = CIFAR[name]
    rng = np.random.default_rng(0)
    return {
        file: (rng.integers(0, classes, n, dtype=np.uint8), rng.integers(0, 256, (n, 3072), dtype=np.uint8))
        for file, n in (*train, *test)
    }


def binary(name, root, monkeypatch):
    """Write the binary folder, and let the published MD5s be those of its files."""
    train, test, labels, _ = CIFAR[name]
    layout = cifar.BINARY[name]
    folder, held = root / layout.folder, {}
    folder.mkdir(parents=True)
    for file, (y, x) in batches(name).items():
        coarse = [np.full((len(y), 1), 7, np.uint8)] if labels == 2 else []
        raw = np.concatenate([*coarse, y[:, None], x], 1).tobytes()
        (folder / file).write_bytes(raw)
        held[file] = (len(y), md5(raw))
    parts = ({file: held[file] for file, _ in part} for part in (train, test))
    monkeypatch.setitem(cifar.BINARY, name, replace(layout, **dict(zip(("train", "test"), parts, strict=True))))
    return folder


def python(name, root, monkeypatch):
    """Write the same images as pickled batches, and let torchvision's MD5s be those of these files."""
    kind, classes = {
        "cifar10": (public.CIFAR10, data.CIFAR10_CLASSES), "cifar100": (public.CIFAR100, data.CIFAR100_CLASSES),
    }[name]  # fmt: skip
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    for file, (y, x) in batches(name).items():
        key = "labels" if name == "cifar10" else "fine_labels"
        (folder / file.removesuffix(".bin")).write_bytes(pickle.dumps({"data": x, key: y.tolist()}))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: list(classes)}))
    sums = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    for parts in ("train_list", "test_list"):
        monkeypatch.setattr(kind, parts, [[file, sums[file]] for file, _ in getattr(kind, parts)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})
    return folder


def packed(folder, archive):
    """Write a folder as .tar.gz."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_in_every_layout_is_the_same_set(name, monkeypatch, tmp_path):
    first = binary(name, tmp_path / "bin", monkeypatch)
    other = python(name, tmp_path / "py", monkeypatch)
    archive = packed(first, tmp_path / "tar" / f"{name.replace('r1', 'r-1')}-binary.tar.gz")
    pickled = packed(other, tmp_path / "pytar" / f"{name.replace('r1', 'r-1')}-python.tar.gz")
    kind = {"cifar10": public.CIFAR10, "cifar100": public.CIFAR100}[name]
    monkeypatch.setattr(kind, "tgz_md5", md5(pickled.read_bytes()))
    monkeypatch.setattr(kind, "url", "file:///nowhere")  # nothing is fetched
    for place in (first, other, archive, pickled):
        assert data.available(place.parent)[name] == f"found at {place}"
        found = data.load(name, root=place.parent)
        check(found, SIZES, SHAPE, CIFAR[name][3])
        assert found.source == str(place) and found.name == name
        assert found.fingerprint == data.load(name, root=first.parent).fingerprint
    # the pixels and labels are those that were written, channel by channel, row by row
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in getattr(data, f"{name.upper()}_SCALE"))
    y, x = batches(name)[CIFAR[name][1][0][0]]
    written = {tuple(pixels): label for pixels, label in zip(x.tolist(), y.tolist(), strict=True)}
    for image, label in zip(found.test.x, found.test.y, strict=True):
        assert written[tuple(((image * std + mean) * 255).round().int().flatten().tolist())] == label
    names = data.CIFAR10_CLASSES if name == "cifar10" else data.CIFAR100_CLASSES
    assert found.class_names == names and len(set(names)) == len(names)


def test_the_binary_layout_is_read_before_the_python_one_and_without_torchvision(monkeypatch, elsewhere):
    binary("cifar10", elsewhere, monkeypatch)
    folder = elsewhere / "cifar-10-batches-py"
    folder.mkdir()
    usual = builtins.__import__

    def without(name, *rest):
        if name.startswith("torchvision"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(pickle, "loads", None)
    check(data.load("cifar10"), SIZES, SHAPE, 10)
    shutil.rmtree(elsewhere / "cifar-10-batches-bin")
    refuses("Python layout, which only torchvision reads .*--download", "cifar10")


def test_reading_the_binary_layout_imports_no_torchvision_and_no_pickle_is_loaded(elsewhere):
    code = (
        "import sys; from nvlib import data\n"
        "try: data.load('cifar10')\n"
        "except data.InputError as error: print(error)\n"
        "print(sorted({'torchvision', 'PIL'} & set(sys.modules)))"
    )
    folder = elsewhere / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "half extracted" in out and out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_half_extracted(name, monkeypatch, elsewhere):
    folder = binary(name, elsewhere, monkeypatch)
    file = CIFAR[name][0][-1][0]
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-100])
    says = refuses(rf"{file} has {len(whole) - 100:,} bytes, expected {len(whole):,}", name)
    assert str(folder) in says and f"python -m nvlib data {name} --download" in says
    (folder / file).unlink()
    refuses(rf"half extracted, it lacks {file}", name)


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_with_the_wrong_md5(name, monkeypatch, elsewhere):
    folder = binary(name, elsewhere, monkeypatch)
    file = CIFAR[name][1][0][0]
    raw = bytearray((folder / file).read_bytes())
    raw[1000] ^= 1
    (folder / file).write_bytes(raw)
    refuses(rf"the MD5 of {file} is {md5(raw)}, not the published {cifar.BINARY[name].test[file][1]}", name)
    packed(folder, elsewhere / cifar.BINARY[name].folder.replace("batches-bin", "binary").__add__(".tar.gz"))
    shutil.rmtree(folder)
    refuses(rf"binary\.tar\.gz is damaged \(the MD5 of {file}", name)


def test_published_md5s_are_of_sets_of_the_published_size():
    for name, layout in cifar.BINARY.items():
        for part, images in ((layout.train, 50_000), (layout.test, 10_000)):
            assert sum(n for n, _ in part.values()) == images, name
            assert all(len(digest) == 32 and int(digest, 16) for _, digest in part.values())


def test_a_damaged_archive_is_neither_read_nor_replaced(monkeypatch, elsewhere, tmp_path):
    archive = packed(binary("cifar10", tmp_path, monkeypatch), elsewhere / "cifar-10-binary.tar.gz")
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"half a download", whole[:-20_000]):
        archive.write_bytes(damaged)
        refuses(r"cifar-10-binary\.tar\.gz is damaged", "cifar10")
        refuses(r"cifar-10-binary\.tar\.gz is damaged", "cifar10", download=True)
        assert archive.read_bytes() == damaged
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-bin" / "test_batch.bin", "cifar-10-batches-bin/test_batch.bin")
    refuses(r"the archive lacks data_batch_1\.bin, ", "cifar10")


def test_a_python_layout_that_fails_its_integrity_check(monkeypatch, elsewhere):
    folder = python("cifar10", elsewhere, monkeypatch)
    (folder / "data_batch_2").write_bytes(b"altered")
    assert str(folder) in refuses("cifar10 at .* is damaged", "cifar10")


def test_cifar_is_fetched_over_http_checked_and_read(monkeypatch, tmp_path, elsewhere, served, capsys):
    expected = binary("cifar10", tmp_path / "made", monkeypatch)
    archive = packed(expected, tmp_path / "public" / "cifar-10-binary.tar.gz")
    url, place = f"{served(archive.parent)}/{archive.name}", elsewhere / archive.name
    monkeypatch.setitem(locations.SOURCES, "cifar10", {archive.name: (url, "0" * 32)})
    refuses("is not the published 0000", "cifar10", download=True)
    assert not list(elsewhere.iterdir())  # nothing of what was fetched is kept
    monkeypatch.setitem(locations.SOURCES, "cifar10", {archive.name: (url, md5(archive.read_bytes()))})
    assert main(["data", "cifar10", "--download"]) == 0
    fingerprint = data.load("cifar10", root=expected.parent).fingerprint
    said = capsys.readouterr().out
    assert "18 train, 2 validation, 4 test; 10 classes, guessing scores 10 %" in said and fingerprint[:12] in said
    assert [path.name for path in elsewhere.iterdir()] == [archive.name]
    archive.unlink()  # what is there and sound is not fetched again
    assert main(["data", "cifar10", "--download"]) == 0
    locations.fetch(url, place, md5(place.read_bytes()))


def test_a_download_that_is_cut_off_leaves_nothing(monkeypatch, elsewhere, tmp_path, served):
    archive = packed(binary("cifar10", tmp_path, monkeypatch), tmp_path / "cifar-10-binary.tar.gz")
    whole = archive.read_bytes()

    class Cut(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:1000])

    url = f"{served(Cut)}/{archive.name}"
    monkeypatch.setitem(locations.SOURCES, "cifar10", {archive.name: (url, md5(whole))})
    refuses("cannot fetch|gave 1000 bytes", "cifar10", download=True)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["cifar10", "tiny-imagenet", "fashion-mnist"])
def test_a_download_that_fails(name, monkeypatch, capsys):
    nowhere = {place: ("http://127.0.0.1:9/nowhere", known) for place, (_, known) in locations.SOURCES[name].items()}
    monkeypatch.setitem(locations.SOURCES, name, nowhere)
    refuses("cannot fetch http://127.0.0.1:9/nowhere", name, download=True)
    assert main(["data", name, "--download"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---- Fashion-MNIST: idx files


def fashion(folder, monkeypatch, zipped=True):
    """Twenty training and four test images, as idx files."""
    folder.mkdir(parents=True)
    rng, sums = np.random.default_rng(0), {}
    for file in data.FASHION_FILES:
        n = 20 if file.startswith("train") else 4
        shape = (n, 28, 28) if "images" in file else (n,)
        array = rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
        raw = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes() + array.tobytes()
        (folder / (f"{file}.gz" if zipped else file)).write_bytes(gzip.compress(raw, mtime=0) if zipped else raw)
        sums[file] = md5(raw)
    monkeypatch.setattr(idx, "FASHION_FILES", sums)
    return folder


def test_fashion_mnist_gzipped_or_not(monkeypatch, tmp_path, elsewhere, served):
    first = fashion(tmp_path / "a" / "fashion-mnist", monkeypatch)
    other = fashion(tmp_path / "b" / "FashionMNIST" / "raw", monkeypatch, zipped=False)
    found = data.load("fashion-mnist", root=tmp_path / "a")
    check(found, SIZES, (1, 28, 28), 10)
    assert found.class_names[0] == "T-shirt/top" and found.source == str(first)
    assert data.load("fashion-mnist", root=tmp_path / "b").fingerprint == found.fingerprint
    raw = (other / "t10k-images-idx3-ubyte").read_bytes()[16:]
    shown = {(image * 255).round().to(torch.uint8).numpy().tobytes() for image in found.test.x}
    assert shown == {raw[784 * i : 784 * (i + 1)] for i in range(4)}

    url = served(first)
    here = {f"fashion-mnist/{p.name}": (f"{url}/{p.name}", md5(p.read_bytes())) for p in first.iterdir()}
    monkeypatch.setitem(locations.SOURCES, "fashion-mnist", here)
    assert data.load("fashion-mnist", download=True).fingerprint == found.fingerprint
    assert len(list((elsewhere / "fashion-mnist").iterdir())) == 4
    assert data.load("fashion-mnist", size=32).shape == (1, 32, 32)


def test_damaged_fashion_mnist(monkeypatch, elsewhere):
    folder = fashion(elsewhere / "fashion-mnist", monkeypatch)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-6])
    refuses(r"t10k-labels-idx1-ubyte\.gz cannot be read", "fashion-mnist")
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-1] + b"\x0b"))
    refuses("is damaged: the MD5 of its bytes is .*, not the published", "fashion-mnist")
    path.unlink()
    refuses("lacks t10k-labels-idx1-ubyte and .*--download", "fashion-mnist")


def test_fashion_is_published_under_both_its_md5s():
    assert [place.rpartition("/")[2] for place in locations.SOURCES["fashion-mnist"]] == [f"{f}.gz" for f in
                                                                                       data.FASHION_FILES]  # fmt: skip


# ---- Tiny ImageNet: folder and zip, val as published or sorted, any of its classes


@pytest.fixture
def small(monkeypatch):
    """Tiny ImageNet has four classes of ten training images and three of validation."""
    monkeypatch.setattr(tiny_imagenet, "TRAIN", 10)
    monkeypatch.setattr(tiny_imagenet, "VAL", 3)
    whole = image_sets.IMAGE_SETS["tiny-imagenet"]
    monkeypatch.setitem(image_sets.IMAGE_SETS, "tiny-imagenet", replace(whole, classes=4))


IDS = ("n02", "n01", "n04", "n03")


def tiny(root, ids=IDS, wnids=True):
    """Write classes (one of whose images is grey, as some are) in the published layout; colours follow the class."""
    top = root / "tiny-imagenet-200"
    (top / "val" / "images").mkdir(parents=True)
    lines = []
    for c, wnid in enumerate(IDS):
        if wnid not in ids:
            continue
        folder = top / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for i in range(10):
            jpeg = picture(9 * i, (64, 64), "L") if i == 0 else picture((40 * c, 9 * i, 0), (64, 64))
            (folder / f"{wnid}_{i}.JPEG").write_bytes(jpeg)
        for i in range(3):
            name = f"val_{4 * i + c}.JPEG"
            (top / "val" / "images" / name).write_bytes(picture((40 * c, 0, 200), (64, 64)))
            lines.append((4 * i + c, f"{name}\t{wnid}\t0\t32\t44\t62"))
    (top / "val" / "val_annotations.txt").write_text("\n".join(line for _, line in sorted(lines)) + "\n")
    if wnids:
        (top / "wnids.txt").write_text("\n".join(ids) + "\n")
    return top


def sorted_val(top, inner="images"):
    """Sort val into class folders, as many scripts do; the annotations may go."""
    for line in (top / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        folder = top / "val" / wnid / inner
        folder.mkdir(parents=True, exist_ok=True)
        (top / "val" / "images" / name).rename(folder / name)
    (top / "val" / "images").rmdir()
    (top / "val" / "val_annotations.txt").unlink()


def zipped(top, archive):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(top.rglob("*")):
            file.write(path, path.relative_to(top.parent))
    return archive


@pytest.mark.usefixtures("small")
def test_tiny_imagenet_in_every_layout_is_the_same_set(tmp_path):
    top = tiny(tmp_path / "a")
    found = data.load("tiny-imagenet", root=tmp_path / "a")
    check(found, (36, 4, 12), (3, 64, 64), 4)
    assert found.name == "tiny-imagenet" and found.class_names == ("n01", "n02", "n03", "n04")
    # labels follow the sorted ids: n02 was written first, with no red
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in data.TINY_SCALE)
    red = (found.test.x * std + mean)[:, 0].mean((1, 2)) * 255
    written = torch.tensor([40.0 * IDS.index(found.class_names[y]) for y in found.test.y])
    assert (red - written).abs().max() < 4  # JPEG moves a colour a little

    zipped(top, tmp_path / "zip" / "tiny-imagenet-200.zip")
    for inner in ("images", "."):
        sorted_val(tiny(tmp_path / f"sorted {inner}"), inner)
    flat = tiny(tmp_path / "flat", wnids=False)
    (flat / "train" / "n01" / "images" / "._n01_0.JPEG").write_bytes(b"left by macOS")
    for path in list(flat.glob("train/*/images/*.JPEG")):
        path.rename(path.parents[1] / path.name)
    for place in ("zip", "sorted images", "sorted .", "flat"):
        assert data.load("tiny-imagenet", root=tmp_path / place).fingerprint == found.fingerprint, place


@pytest.mark.usefixtures("small")
def test_some_classes_are_a_set_of_their_own(tmp_path):
    part = tiny(tmp_path / "part", ("n01", "n03"))
    found = data.load("tiny-imagenet", root=tmp_path / "part")
    check(found, (18, 2, 6), (3, 64, 64), 2)
    assert found.name == "tiny-imagenet (2 of 4 classes)" and found.chance == 50
    # by that name too; and from all classes, of which they are the even choice: the same images in the same order
    tiny(tmp_path / "whole")
    for root in ("part", "whole"):
        again = data.load(found.name, root=tmp_path / root)
        assert (again.name, again.fingerprint, again.class_names) == (found.name, found.fingerprint, ("n01", "n03"))
    assert data.load("tiny-imagenet", root=tmp_path / "whole").fingerprint != found.fingerprint
    refuses("holds 2 classes, not the 3 asked for", "tiny-imagenet (3 of 4 classes)", root=tmp_path / "part")
    # val may hold more than the classes that wnids.txt lists
    top = tiny(tmp_path / "listed")
    (top / "wnids.txt").write_text("n03\nn01\n")
    assert data.load("tiny-imagenet", root=tmp_path / "listed").fingerprint == found.fingerprint
    sorted_val(part)
    assert data.load("tiny-imagenet", root=tmp_path / "part").fingerprint == found.fingerprint


@pytest.mark.usefixtures("small")
def test_half_extracted_tiny_imagenet(elsewhere):
    top = tiny(elsewhere)
    (top / "train" / "n02" / "images" / "n02_7.JPEG").unlink()
    refuses("half extracted: class n02 has 9 of its 10 images in train", "tiny-imagenet")
    shutil.rmtree(top / "train" / "n02")
    refuses("half extracted: 1 of the 4 classes in wnids.txt have no folder in train, n02", "tiny-imagenet")
    (top / "wnids.txt").unlink()
    refuses("class n02 of val has no training images; if a subset is meant", "tiny-imagenet")
    (top / "wnids.txt").write_text("n01\nn03\nn04\n")
    assert data.load("tiny-imagenet").name == "tiny-imagenet (3 of 4 classes)"
    (top / "val" / "images" / "val_2.JPEG").unlink()
    refuses("half extracted: class n04 has 2 of its 3 images in val", "tiny-imagenet")


@pytest.mark.usefixtures("small")
def test_damaged_tiny_imagenet(elsewhere, tmp_path):
    top = tiny(elsewhere)
    note = top / "val" / "val_annotations.txt"
    text = note.read_text()
    note.unlink()
    refuses(r"damaged .*the class of val/images/val_\d+\.JPEG is unknown: there is no val/val_annotations\.txt",
            "tiny-imagenet")  # fmt: skip
    note.write_text(text.replace("val_4.JPEG", "val_400.JPEG"))
    refuses(r"the class of val/images/val_4\.JPEG is unknown: val/val_annotations\.txt does not name", "tiny-imagenet")
    note.write_text(text)
    (top / "val" / "n01").mkdir()
    (top / "val" / "images" / "val_0.JPEG").rename(top / "val" / "n01" / "val_0.JPEG")
    refuses(r"val/n01/val_0\.JPEG lies in another class's folder than n02", "tiny-imagenet")
    (top / "val" / "n01" / "val_0.JPEG").rename(top / "val" / "images" / "val_0.JPEG")
    broken = top / "train" / "n01" / "images" / "n01_3.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    refuses(r"image train/n01/images/n01_3\.JPEG cannot be read", "tiny-imagenet")
    shutil.rmtree(top / "train")
    (top / "wnids.txt").unlink()
    refuses("0 classes, expected 1 to 4", "tiny-imagenet")


@pytest.mark.usefixtures("small")
def test_tiny_imagenet_is_fetched_as_its_zip(monkeypatch, tmp_path, elsewhere, served):
    found = data.load("tiny-imagenet", root=tiny(tmp_path / "a").parent)
    archive = zipped(tmp_path / "a" / "tiny-imagenet-200", tmp_path / "public" / "tiny-imagenet-200.zip")
    url = f"{served(archive.parent)}/{archive.name}"
    monkeypatch.setitem(locations.SOURCES, "tiny-imagenet", {archive.name: (url, "0" * 32)})
    refuses("is not the published", "tiny-imagenet", download=True)
    assert not list(elsewhere.iterdir())
    monkeypatch.setitem(locations.SOURCES, "tiny-imagenet", {archive.name: (url, md5(archive.read_bytes()))})
    assert data.load("tiny-imagenet", download=True).fingerprint == found.fingerprint


def test_zip_cut_short(elsewhere):
    elsewhere.mkdir()
    (elsewhere / "tiny-imagenet-200.zip").write_bytes(b"PK\x03\x04 half of it")
    refuses(r"tiny-imagenet-200\.zip is damaged", "tiny-imagenet")


# ---- names


def test_names_of_subsets():
    name = "tiny-imagenet (25 of 200 classes)"
    assert image_sets.subset("tiny-imagenet", 25) == name and image_sets.subset("tiny-imagenet", 200) == "tiny-imagenet"
    assert image_sets.parted(name) == ("tiny-imagenet", 25) and image_sets.parted("cifar10") == ("cifar10", None)
    assert image_sets.parted("tiny-imagenet (25 of 100 classes)") == ("tiny-imagenet (25 of 100 classes)", None)
    assert (image_sets.classes_of(name), image_sets.classes_of("cifar100"), image_sets.classes_of("/pets")) == (
        25, 100, None)  # fmt: skip
    assert figures.name(name) == "Tiny ImageNet (25 of 200 classes)" and figures.name("cifar10") == "CIFAR-10"
    assert tuple(image_sets.IMAGE_SETS) == data.NAMES


def test_an_empty_set_is_refused(monkeypatch, elsewhere):
    folder = binary("cifar100", elsewhere, monkeypatch)
    (folder / "test.bin").write_bytes(b"")
    layout = cifar.BINARY["cifar100"]
    monkeypatch.setitem(cifar.BINARY, "cifar100", replace(layout, test={"test.bin": (0, md5(b""))}))
    refuses("data set cifar100 is empty: 20 training and 0 test images", "cifar100")
