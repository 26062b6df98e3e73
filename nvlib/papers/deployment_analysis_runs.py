"""Computing the tables of `nvlib.papers.deployment_analyses`: which analyses each consists of, and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from nvlib import clock
from nvlib.papers.deployment_analyses import (
    ANALYSES,
    AT,
    FEW,
    FIRST,
    TSB,
    VARIANTS,
    VGG8,
    WIDE,
    WIDE_CHIPS,
    Size,
    trained,
    training_of,
)  # fmt: skip
from nvlib.records import Analysis
from nvlib.store import Store
from nvlib.studies.analyses import Make, run
from nvlib.studies.plan import running

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nvlib.data import Dataset
    from nvlib.deploy.context import Context

RANKINGS = ("curvature", "expected", "magnitude", "random")


def made(name: str, size: Size, store: Store | None = None) -> pd.DataFrame:
    """Return one of the tables at a size, making what of it is not stored."""
    return pd.concat([tables[name] for tables in run(planned(name, size), store, progress=False)], ignore_index=True)


def planned(name: str, size: Size) -> list[tuple[Analysis, Make]]:
    """Return the analyses that a table consists of, each with what makes it, in the order of its rows.

    Raises:
        InputError: if a model that it is of is not stored.
    """
    from nvlib import data

    mnist = data.load("mnist", limit=size.limit)
    base = {"dataset": "mnist", "fingerprint": mnist.fingerprint, "device": "rram", "reference": "full_scale",
            "mapping": "signed", "size": asdict(size)}  # fmt: skip

    def one(of: tuple[str, ...], make: Callable[[], pd.DataFrame], **parameters: Any) -> tuple[Analysis, Make]:
        return Analysis(ANALYSES[name], of, {**base, **parameters}), lambda record, store: {name: make()}

    if name == "cost":
        parameters = {"network": "lenet3", "sigma_d": AT, "tsb": {**TSB, **size.tsb}}
        return [one((), partial(_cost, size, mnist), method="gaussian", **parameters)]
    if name == "learning":
        parameters = {"sigma_d": AT, "tsb": {**TSB, **size.tsb, "epochs": size.epochs}, "redraws": 2}
        return [one((training_of(AT),), partial(_learning, size, mnist), **parameters)]
    if name == "sweep":
        return [
            one((training_of(s),), partial(_sweep, size, s, mnist), sigma_d=s, rankings=RANKINGS) for s in size.sigma_d
        ]
    wanted = []
    for which, network, sigma_d in _variants(size):
        how = {key: value for key, value in asdict(VARIANTS[which]).items() if key != "says"}
        wide = network != "lenet3"
        of = (training_of(sigma_d, network=network), *(() if wide else (training_of(0.0, "none"),)))
        tsb, index = (VGG8, range(WIDE_CHIPS)) if wide else (size.tsb, range(size.chips))
        make = partial(variant, which, network, sigma_d, data.resize(mnist, 32) if wide else mnist, index, tsb)
        wanted.append(one(of, make, network=network, sigma_d=sigma_d, variant=which, changed=how,
                          tsb={**TSB, **tsb}, chips=len(index)))  # fmt: skip
    return wanted


# -- cost, learning, SWIM --------------------------------------------------------------------------------------------


def _cost(size: Size, mnist: Dataset) -> pd.DataFrame:
    """Count seconds of this process on one thread, so that what else the machine does is not counted."""
    from nvlib import deploy, methods
    from nvlib.deploy import cost

    method, batch = deploy.get("tsb", **{**TSB, **size.tsb}), methods.Recipe().batch_size
    with running(1), clock.of_process():
        records = methods.train("gaussian", "lenet3", mnist, "rram", AT, epochs=size.epochs, mapping="signed",
                                validation_chips=1)  # fmt: skip
        return cost.early_stops(records, {"tsb": method}, mnist, "rram", AT, index=range(size.chips), mapping="signed",
                                passes=len(mnist.train) // min(batch, len(mnist.train)) * batch)  # fmt: skip


def _learning(size: Size, mnist: Dataset) -> pd.DataFrame:
    from nvlib import deploy
    from nvlib.deploy import cost

    method = deploy.get("tsb", **{**TSB, **size.tsb, "epochs": size.epochs})
    return cost.history(method, trained(AT), mnist, "rram", AT, index=range(size.chips), redraws=2, mapping="signed")


def _sweep(size: Size, sigma_d: float, mnist: Dataset) -> pd.DataFrame:
    from nvlib.deploy import swim

    found = swim.sweep(trained(sigma_d), mnist, "rram", sigma_d, index=range(size.chips), mapping="signed",
                       fractions=size.fractions, rankings=RANKINGS)
    return found.assign(sigma_d=sigma_d, network="lenet3", dataset="mnist", device="rram")


# -- what keeps TSB from the ideal -----------------------------------------------------------------------------------


def _variants(size: Size) -> list[tuple[str, str, float]]:
    """Return the variants, each with its network and sigma_d, in order: VGG-8's after the first of LeNet-3's."""
    asked = [(name, "lenet3", AT) for name in (VARIANTS if size.limit is None else FEW)]
    if size.limit is None:
        asked[FIRST:FIRST] = [(name, "vgg8_tsb x0.125", 0.1) for name in WIDE]
    return asked


def variant(
    name: str, network: str, sigma_d: float, loaded: Any, index: range, tsb: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Score one variant on validation images.

    Returns:
        A row a chip: network, sigma_d, variant, chip, before (the same chip without a remedy), accuracy, own (the same
        network without variation), ideal (the network trained without noise; NaN where none ships), all in percent.
    """
    from nvlib import deploy
    from nvlib.deploy.batchnorm_recalibration import retaken
    from nvlib.deploy.context import mean_scores, prepare

    how = VARIANTS[name]
    model = trained(sigma_d, network=network)
    model = quantised(model, how.activation_bits, loaded.train.x[:2000]) if how.activation_bits else model
    site = prepare(model, loaded, "rram", sigma_d, mapping="signed", chips=2 * len(index))
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
        quiet = prepare(trained(0.0, "none"), loaded, "rram", sigma_d, mapping="signed")
        ideal = quiet.ideal(quiet.validation)
    return pd.DataFrame({
        "network": network, "sigma_d": sigma_d, "variant": name, "chip": list(index), "before": before.numpy(),
        "accuracy": after.numpy(), "own": site.ideal(site.validation), "ideal": ideal,
    })  # fmt: skip


def _chips(site: Context, index: range, exact: str) -> dict[str, Tensor]:
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
    for layer in ("quant1", "quant2"):
        made.get_submodule(layer).train()
    with torch.no_grad():
        for part in x.split(100):
            made(part)
    return made.eval()
