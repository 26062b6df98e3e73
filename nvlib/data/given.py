"""Images and labels as users have them -> a split: float or integer tensors x (n, ...), and labels y, int64 (n,).

Taken are a `Dataset` (one of its splits), a `Split`, a pair (x, y), and what PyTorch loads images with: a `DataLoader`
or a data set of pairs, read once and in order. In a pair, x and y are tensors, arrays of numpy, or lists of either;
labels are whole numbers of any kind, or one row a label with a single 1 (one-hot).

Refused, in a line: anything else; labels that count to another class than they say (negative ones, as -100 for "not
labelled", fractions); bytes, whose scale in training nobody knows here; images that are not finite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nvlib.errors import InputError

if TYPE_CHECKING:
    from nvlib.data import Dataset, Split

FORMS = "a Dataset, a Split, a pair (x, y), a DataLoader or a data set of pairs (image, label)"


def split_of(data: Dataset | Split | tuple[Any, Any] | Iterable[Any], part: str = "test") -> Split:
    """Return the split that ``data`` stands for; of a `Dataset` its ``part``.

    Raises:
        InputError: for data of another form, or that cannot be what it says; see above.
    """
    from nvlib.data import Dataset, Split

    if isinstance(data, Dataset):
        data = getattr(data, part)
    if isinstance(data, Split):
        x, y = data.x, data.y
    elif isinstance(data, torch.utils.data.DataLoader):
        x, y = _loaded(data)
    elif isinstance(data, torch.utils.data.Dataset):
        x, y = _loaded(torch.utils.data.DataLoader(data, 256))
    elif isinstance(data, tuple | list) and len(data) == 2:
        x, y = data
    else:
        found = f"{len(data)} parts" if isinstance(data, tuple | list) else type(data).__name__
        raise InputError(f"data of {found} cannot be evaluated on; expected {FORMS}")
    images, labels = _images(x), _labels(y)
    if len(labels) == 0:
        raise InputError("the data set to evaluate on is empty; expected at least one image")
    if len(images) != len(labels):
        raise InputError(f"{len(images)} images and {len(labels)} labels do not pair; expected one label an image")
    if isinstance(data, Split) and images is data.x and labels is data.y:
        return data
    return Split(images, labels)


def _loaded(loader: torch.utils.data.DataLoader) -> tuple[Tensor, Tensor]:
    """Return the images and labels that a loader gives, in the order of its data set where it shuffles all of it."""
    sampler: Any = loader.sampler  # any iterable, and the set anything that is indexed
    xs, ys = [], []
    with torch.random.fork_rng(devices=[]):  # a loader draws a seed, whether it shuffles or not
        try:
            dataset: Any = loader.dataset
            shuffles = isinstance(sampler, torch.utils.data.RandomSampler) and not sampler.replacement
            if shuffles and len(sampler) == len(dataset):
                loader = torch.utils.data.DataLoader(dataset, loader.batch_size or 1, collate_fn=loader.collate_fn)
            for batch in loader:
                if not isinstance(batch, tuple | list) or len(batch) != 2:
                    found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
                    raise InputError(f"the data give batches of {found}; expected pairs (images, labels)")
                xs.append(_tensor(batch[0], "images"))
                ys.append(_tensor(batch[1], "labels"))
            whole = isinstance(sampler, torch.utils.data.SequentialSampler) and loader.batch_size
            if whole and len(xs) < len(loader):  # StopIteration ends a loop, and says nothing
                raise StopIteration(f"after {len(xs)} of {len(loader)} batches")
        except InputError:
            raise
        except Exception as error:
            raise _failed(loader, error, len(xs)) from error
    if not xs:
        raise InputError("the data set to evaluate on is empty; expected at least one image")
    try:
        return torch.cat(xs), torch.cat(ys)
    except RuntimeError as error:
        raise InputError(f"batches of the data differ in shape ({_line(error)}); expected one shape") from error


def _failed(loader: torch.utils.data.DataLoader, error: Exception, done: int) -> InputError:
    """Return what is said of a loader that failed: which image, where one fails by itself, and why."""
    dataset: Any = loader.dataset
    if isinstance(dataset, torch.utils.data.IterableDataset):
        return InputError(f"the data fail after {done} batches ({_cause(error)}); expected pairs (image, label)")
    try:
        count = len(dataset)
    except Exception as why:
        return InputError(f"the data do not say how many images they have ({_cause(why)}); expected a data set with "
                          "__len__, or an IterableDataset")  # fmt: skip
    in_order = isinstance(loader.sampler, torch.utils.data.SequentialSampler)
    for i in range(done * (loader.batch_size or 0) if in_order else 0, count):
        try:
            dataset[i]
        except Exception as why:
            return InputError(f"image {i} of the data cannot be loaded ({_cause(why)}); mend it or leave it out")
    # images of PIL, mostly
    return InputError(f"the data cannot be put into batches ({_cause(error)}); expected pairs (image, label) of "
                      "tensors: give the data set a transform")  # fmt: skip


def _cause(error: Exception) -> str:
    """Return an error in a line; of one from a worker process the last line of its traceback."""
    lines = str(error).strip().splitlines()
    if "Traceback" in str(error):
        return " ".join(lines[-1].split())[:160]
    said = " ".join(" ".join(lines).split())[:160]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _images(x: Any) -> Tensor:
    x = _tensor(x, "images")
    if not x.is_nested and x.ndim < 2:
        raise InputError(f"images have shape {tuple(x.shape)}; expected (n, ...), e.g. (n, channels, height, width)")
    if x.dtype in (torch.uint8, torch.bool):
        raise InputError(f"images are {_name(x.dtype)}; expected floats on the scale that the network was trained on, "
                         "e.g. x.float() / 255")  # fmt: skip
    if x.is_meta or x.is_nested:
        kind = "on the meta device, without values" if x.is_meta else "nested, of several shapes"
        raise InputError(f"images are {kind}; expected one tensor (n, ...) of numbers")
    x = x.to_dense() if x.layout != torch.strided else x
    x = x.detach() if x.requires_grad else x
    finite = x.sum().isfinite()[None] if x.is_floating_point() else torch.ones(1)  # a finite sum says it of all
    if not finite and not (finite := torch.isfinite(x).flatten(1).all(1)).all():
        first, count = int((~finite).nonzero()[0]), int((~finite).sum())
        raise InputError(f"{count} of {len(x)} images are not finite, the first is image {first}; expected numbers: "
                         "leave them out or mend them")  # fmt: skip
    return x


def _labels(y: Any) -> Tensor:
    y = _tensor(y, "labels")
    if y.is_meta or y.is_nested:
        kind = "on the meta device, without values" if y.is_meta else "nested, of several lengths"
        raise InputError(f"labels are {kind}; expected one tensor (n,) of whole numbers")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    elif y.ndim == 2 and y.shape[1] > 1 and bool((((y == 0) | (y == 1)).all()) & ((y == 1).sum(1) == 1).all()):
        y = y.to(torch.float32).argmax(1)
    if y.ndim != 1:
        raise InputError(f"labels have shape {tuple(y.shape)}; expected (n,), or one row a label with a single 1")
    whole = y if y.dtype == torch.int64 else y.to(torch.int64)
    if y.is_complex() or (y.is_floating_point() and not torch.equal(whole.to(y.dtype), y)):
        raise InputError("labels are not whole numbers; expected the number of a class, 0, 1, ...")
    if len(whole) and int(whole.min()) < 0:
        first = int((whole < 0).nonzero()[0])
        raise InputError(f"label {int(whole[first])} (of image {first}) is no class; expected 0, 1, ...: leave out "
                         "images that have none")  # fmt: skip
    return whole


def _tensor(values: Any, what: str) -> Tensor:
    """Return values as a tensor; lists may hold tensors, arrays or numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, tuple | list) and values and all(isinstance(v, Tensor) for v in values):
            return torch.stack([v.detach() for v in values])
        if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
            raise TypeError("some of its entries are masked")
        array = np.asarray(values)
        if array.dtype == object or array.dtype.kind not in "biufc":
            raise TypeError(f"a {type(values).__name__} of {array.dtype}")
        narrow = array.dtype == np.float64 and not isinstance(values, np.ndarray)  # Python's numbers, as torch has them
        array = array.astype(np.float32) if narrow else array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} of type {type(values).__name__} cannot be used ({_line(error)}); expected a tensor, "
                         "an array of numbers, or a list of equal shapes") from error  # fmt: skip


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
