"""Tiny ImageNet from its folder or straight from its zip: all 200 classes, or any subset, named by how many.

    wnids.txt                                  the classes, one WordNet id a line; without it, the folders of train/
    train/<wnid>/images/*.JPEG                 500 images of each class (or in train/<wnid>/ itself)
    val/images/*.JPEG, val_annotations.txt     50 of each: our test split, as the official test has no labels
    val/<wnid>/[images/]*.JPEG                 the same, sorted into class folders

Labels follow the sorted ids; training images come in order of class and file name, val's by their number, so that one
set has one fingerprint in every layout. Where fewer than 200 classes are there the set is ``tiny-imagenet (25 of 200
classes)``. Asked for by that name where all 200 are there, it is made of every (200 / 25)th id in sorted order. A class
without all its images is half extracted, and refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from nvlib.data import lazy_images
from nvlib.data.lazy_images import Source
from nvlib.data.locations import how_to_fetch, located, one_line
from nvlib.errors import InputError
from nvlib.image_sets import IMAGE_SETS, subset

NAME = "tiny-imagenet"
TINY_SCALE = ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
TRAIN, VAL = 500, 50  # images of a class


def read_tiny_imagenet(root: Path, download: bool, classes: int | None = None) -> Source:
    """Read Tiny ImageNet.

    Args:
        root: folder of data sets.
        download: whether its zip may be fetched.
        classes: how many of its classes; None takes those that are there.

    Raises:
        InputError: if it is missing, damaged or half extracted, or has other classes than are asked for.
    """
    origin = located(NAME, root, download)
    try:
        names, fetch = _tree(origin)
        listed = fetch("wnids.txt").decode().split() if "wnids.txt" in names else []
        annotations = fetch("val/val_annotations.txt").decode() if "val/val_annotations.txt" in names else ""
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(origin, one_line(error)) from error
    paths = (PurePosixPath(name) for name in names if name.endswith(".JPEG"))
    images = [path for path in paths if not path.name.startswith(".")]  # as macOS leaves them beside the images
    train: dict[str, list[str]] = {}
    for path in sorted((p for p in images if p.parts[0] == "train"), key=lambda p: (p.parts[1], p.name)):
        train.setdefault(path.parts[1], []).append(str(path))
    val = _val(origin, [p for p in images if p.parts[0] == "val"], annotations)
    ids = _chosen(origin, sorted(set(listed) or train), classes)
    _whole(origin, ids, train, val, bool(listed))
    test = sorted((number, name, wnid) for wnid in ids for number, name in val[wnid])
    label = {wnid: i for i, wnid in enumerate(ids)}
    return Source(
        lazy_images.files([name for w in ids for name in train[w]], [label[w] for w in ids for _ in train[w]], fetch),
        lazy_images.files([name for _, name, _ in test], [label[wnid] for _, _, wnid in test], fetch),
        tuple(ids), TINY_SCALE, str(origin), subset(NAME, len(ids)),
    )  # fmt: skip


def _tree(origin: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """Return the names of the files within Tiny ImageNet's folder or zip, and what reads one of them."""
    if origin.is_dir():
        names = [path.relative_to(origin).as_posix() for part in ("train", "val")
                 for path in (origin / part).rglob("*.JPEG")]  # fmt: skip
        texts = [name for name in ("wnids.txt", "val/val_annotations.txt") if (origin / name).exists()]
        return names + texts, lambda name: (origin / name).read_bytes()
    opened, top = zipfile.ZipFile(origin), "tiny-imagenet-200/"
    names = [name.removeprefix(top) for name in opened.namelist() if name.startswith(top)]
    return names, lambda name: opened.read(top + name)  # checks the file's CRC


def _val(origin: Path, images: list[PurePosixPath], annotations: str) -> dict[str, list[tuple[int, str]]]:
    """Return the images of val by class, each with its number, from class folders or the annotations."""
    said = dict(line.split("\t")[:2] for line in annotations.splitlines() if line.count("\t"))
    found: dict[str, tuple[str, str]] = {}
    for path in images:
        folder = path.parts[1]
        if folder == "images" and path.name not in said:
            why = "val/val_annotations.txt does not name it" if said else "there is no val/val_annotations.txt"
            raise _damaged(origin, f"the class of {path} is unknown: {why}")
        if folder not in ("images", said.get(path.name, folder)):
            raise _damaged(origin, f"{path} lies in another class's folder than {said[path.name]}, which "
                           "val/val_annotations.txt says")  # fmt: skip
        found[path.name] = (said.get(path.name, folder), str(path))
    by_class: dict[str, list[tuple[int, str]]] = {}
    for name, (wnid, file) in found.items():
        digits = name.removesuffix(".JPEG").rpartition("_")[2]
        if not digits.isdecimal():
            raise _damaged(origin, f"{file} has no number; expected val_NUMBER.JPEG")
        by_class.setdefault(wnid, []).append((int(digits), file))
    return by_class


def _chosen(origin: Path, ids: list[str], classes: int | None) -> list[str]:
    """Return the classes that are asked for: those that are there, or an even choice of all."""
    whole = IMAGE_SETS[NAME].classes
    if not 1 <= len(ids) <= whole:
        raise _damaged(origin, f"{len(ids)} classes, expected 1 to {whole}")
    if classes in (None, len(ids)):
        return ids
    if len(ids) != whole or not 1 <= classes < whole:
        raise InputError(f"{origin} holds {len(ids)} classes, not the {classes} asked for; load "
                         f"{subset(NAME, len(ids))!r}, or have all {whole} there")  # fmt: skip
    return [ids[i * whole // classes] for i in range(classes)]


def _whole(
    origin: Path, ids: list[str], train: Mapping[str, list[str]], val: Mapping[str, list[tuple[int, str]]], listed: bool
) -> None:
    """Refuse a set of which a class lacks images; say how a subset is meant."""
    if absent := [wnid for wnid in ids if wnid not in train]:
        raise _damaged(origin, f"half extracted: {len(absent)} of the {len(ids)} classes in wnids.txt have no folder in"
                       f" train, {absent[0]} for one; if a subset is meant, list its classes alone there")  # fmt: skip
    strangers = set(val) - set(ids)
    if strangers and not listed:
        raise _damaged(origin, f"class {min(strangers)} of val has no training images; if a subset is meant, list its "
                       "classes in wnids.txt")  # fmt: skip
    for wnid in ids:
        for part, count, full in (("train", len(train[wnid]), TRAIN), ("val", len(val.get(wnid, ())), VAL)):
            if count != full:
                raise _damaged(origin, f"half extracted: class {wnid} has {count} of its {full} images in {part}")


def _damaged(origin: Path, why: str) -> InputError:
    return InputError(f"{NAME} at {origin} is damaged ({why}): delete it and {how_to_fetch(NAME)}")
