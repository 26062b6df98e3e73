"""Making the tables of `nvlib.papers.onchip`, piece by piece: what was interrupted goes on where it was.

``python -m nvlib.papers.making`` makes those that are not there, with names after it those; each piece is written
beside where it was computed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib.errors import InputError, unknown
from nvlib.papers.onchip import (
    AT,
    FEW,
    FIRST,
    SIZES,
    TABLES,
    TSB,
    VARIANTS,
    VGG8,
    WIDE,
    WIDE_CHIPS,
    Size,
    place,
    trained,
)
from nvlib.papers.pieces import grow, read

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nvlib.deploy.site import Site


def made(name: str, size: Size) -> pd.DataFrame:
    """Make one of the tables."""
    return pd.concat(_parts(name, size), ignore_index=True)


def _parts(name: str, size: Size, held: pd.DataFrame | None = None) -> Iterator[pd.DataFrame]:
    """Yield a table piece by piece, without those pieces that ``held`` has."""
    held = pd.DataFrame(columns=["sigma_d", "variant", "network"]) if held is None else held
    if name in ("cost", "learning"):
        yield (_cost if name == "cost" else _learning)(size)
    elif name == "sweep":
        yield from (_sweep(size, sigma_d) for sigma_d in size.sigma_d if sigma_d not in set(held.sigma_d))
    else:
        yield from _causes(size, set(zip(held.variant, held.network, held.sigma_d, strict=True)))


# -- cost, learning, SWIM --------------------------------------------------------------------------------------------


@contextmanager
def own_time() -> Iterator[None]:
    """Let seconds be those of this process on one thread, so that what else the machine does is not counted."""
    from nvlib.studies.tasks import running

    clock = time.perf_counter
    time.perf_counter = time.process_time
    try:
        with running(1):
            yield
    finally:
        time.perf_counter = clock


@own_time()
def _cost(size: Size) -> pd.DataFrame:
    from nvlib import data, deploy, methods
    from nvlib.deploy import cost

    mnist = data.load("mnist", limit=size.limit)
    records = methods.train("gaussian", "lenet3", mnist, "rram", AT, epochs=size.epochs, mapping="signed",
                            validation_chips=1)  # fmt: skip
    method, batch = deploy.get("tsb", **{**TSB, **size.tsb}), methods.Recipe().batch_size
    return cost.early_stops(records, {"tsb": method}, mnist, "rram", AT, index=range(size.chips), mapping="signed",
                            passes=len(mnist.train) // min(batch, len(mnist.train)) * batch)  # fmt: skip


def _learning(size: Size) -> pd.DataFrame:
    from nvlib import data, deploy
    from nvlib.deploy import cost

    method = deploy.get("tsb", **{**TSB, **size.tsb, "epochs": size.epochs})
    mnist = data.load("mnist", limit=size.limit)
    return cost.history(method, trained(AT), mnist, "rram", AT, index=range(size.chips), redraws=2, mapping="signed")


def _sweep(size: Size, sigma_d: float) -> pd.DataFrame:
    from nvlib import data
    from nvlib.deploy import swim

    mnist = data.load("mnist", limit=size.limit)
    found = swim.sweep(trained(sigma_d), mnist, "rram", sigma_d, index=range(size.chips), mapping="signed",
                       fractions=size.fractions, rankings=("curvature", "expected", "magnitude", "random"))
    return found.assign(sigma_d=sigma_d, network="lenet3", dataset="mnist", device="rram")


# -- what keeps TSB from the ideal -----------------------------------------------------------------------------------


def _causes(size: Size, held: set[tuple[str, str, float]]) -> Iterator[pd.DataFrame]:
    """Score variants on the same chips, but for those that are there."""
    from nvlib import data

    mnist = data.load("mnist", limit=size.limit)
    asked = [(name, "lenet3", AT) for name in (VARIANTS if size.limit is None else FEW)]
    if size.limit is None:
        asked[FIRST:FIRST] = [(name, "vgg8_tsb x0.125", 0.1) for name in WIDE]
    for name, network, sigma_d in asked:
        wide = network != "lenet3"
        if (name, network, sigma_d) not in held:
            yield variant(name, network, sigma_d, data.resize(mnist, 32) if wide else mnist,
                          range(WIDE_CHIPS if wide else size.chips), VGG8 if wide else size.tsb)


def variant(
    name: str, network: str, sigma_d: float, loaded: Any, index: range, tsb: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Score one variant on validation images.

    Returns:
        A row a chip: network, sigma_d, variant, chip, before (the same chip without a remedy), accuracy, own (the same
        network without variation), ideal (the network trained without noise; NaN where none ships), all in percent.
    """
    from nvlib import deploy
    from nvlib.deploy.normalise import retaken
    from nvlib.deploy.site import mean_scores, survey

    how = VARIANTS[name]
    model = trained(sigma_d, network=network)
    model = quantised(model, how.activation_bits, loaded.train.x[:2000]) if how.activation_bits else model
    site = survey(model, loaded, "rram", sigma_d, mapping="signed", chips=2 * len(index))
    chips = _chips(site, index, how.exact)
    before, x = site.score(chips, site.validation)[0], site.train.x[:2000]
    if how.before:
        chips = retaken(site.model, chips, x)
    if how.method is None:
        after = site.score(chips, site.validation)[0]
    else:
        own = {} if how.method != "tsb" else TSB | dict(tsb or {})
        usual = {"epochs": TSB["epochs"]} | {k: v for k, v in (tsb or {}).items() if k != "lr"}
        method = deploy.get(how.method, **(own or usual) | dict(how.parameters))
        *_, last = method.stages(site, index, chips)
        if how.after:
            module, held = last.held(0)
            after = site.score(retaken(module, held, x), site.validation, module)[0]
        else:
            after = mean_scores(site, last, 1 if how.method != "tsb" else 2, site.validation)[0]
    ideal = float("nan")
    if network == "lenet3":
        quiet = survey(trained(0.0, "none"), loaded, "rram", sigma_d, mapping="signed")
        ideal = quiet.ideal(quiet.validation)
    return pd.DataFrame({
        "network": network, "sigma_d": sigma_d, "variant": name, "chip": list(index), "before": before.numpy(),
        "accuracy": after.numpy(), "own": site.ideal(site.validation), "ideal": ideal,
    })  # fmt: skip


def _chips(site: Site, index: range, exact: str) -> dict[str, Tensor]:
    """Return programmed chips; layers whose names begin with ``exact`` hold what they were programmed to."""
    chips = site.program(index)
    clean = site.program(index, 0.0) if exact else {}
    return {name: clean[name] if exact and name.startswith(exact) else w for name, w in chips.items()}


def quantised(model: nn.Module, bits: int, x: Tensor) -> nn.Module:
    """Return a LeNet-3 with its activations quantised, their ranges calibrated on images at clean weights."""
    import torch

    from nvlib import models

    made = models.build("lenet3", activation_bits=bits)
    made.load_state_dict(model.state_dict(), strict=False)
    made.eval()
    for layer in (made.quant1, made.quant2):
        layer.train()
    with torch.no_grad():
        for part in x.split(100):
            made(part)
    return made.eval()


# -- writing ---------------------------------------------------------------------------------------------------------


def write(name: str) -> Path:
    """Make what a table at the size that ships lacks, piece by piece."""
    target = place(name)
    parts = _parts(name, SIZES["full"][name], read(target))
    return grow(target, ((_named(name, part), part) for part in parts))


def _named(name: str, part: pd.DataFrame) -> str:
    """Return the name of a piece: the table's, and what tells it from the others."""
    return " ".join([name, *(str(part[c].iloc[0]) for c in ("variant", "network", "sigma_d") if c in part)])


if __name__ == "__main__":
    try:
        for asked in sys.argv[1:] or [n for n in TABLES if not place(n).is_file()]:
            if asked not in TABLES:
                raise unknown("table of programmed chips", asked, TABLES)
            print(write(asked))
    except InputError as error:
        sys.exit(f"error: {error}")
