"""What training costs, in stage one and in stage two: early stops, and the total (TSB Sec. 4.5, Fig. 4).

Stage one trains the backbone; after a share of its epochs (15, 30, 50 %) it is stopped, put on chips, and stage two
trains TSB, or any deployment method that trains. Costs are counted twice: in image-passes (an image run forward and
backward through the network once; a method with several forwards an image counts each) and in seconds on this machine.
The unit of both is the whole of stage one, as in the paper.

Deviation from the paper: it reads accuracies on chips of its own choice and does not say how a stopped training's
learning rate had been scheduled; here backbone and stage two are scored on the same chips, on validation data, and the
schedule is the full training's, cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import nn

from nvlib.conditions import LEFT_OUT, Conditions, Crossbar
from nvlib.data import Dataset
from nvlib.deploy.context import BLOCK, Trains, mean_scores, prepare
from nvlib.devices import Device
from nvlib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from nvlib.methods.loop import Epoch

STOPS = (0.15, 0.3, 0.5)


def history(
    method: Trains, model: nn.Module, data: Dataset, crossbar: Crossbar | Device | str | None = None,
    sigma_d: float | None = LEFT_OUT, *, index: range, redraws: int = 1, seed: int = 0, on: str | torch.device = "cpu",
    **conditions: Unpack[Conditions],
) -> pd.DataFrame:  # fmt: skip
    """Train a deployment method on some chips and score them on validation data after each epoch.

    Returns:
        A row a chip and epoch (0: before): chip, epoch, accuracy (percent), loss (of training, nats), passes,
        seconds (of training, for one chip).
    """
    import pandas as pd

    context = prepare(model, data, crossbar, sigma_d, seed=seed, on=on, chips=len(index) * redraws,
                  **conditions)  # fmt: skip
    at_once, rows = max(1, min(BLOCK, method.chips_at_once(context))), []

    def add(part: range, epoch: int, accuracy: np.ndarray, loss: object, passes: int, seconds: float) -> None:
        rows.append(pd.DataFrame({"chip": np.array(part), "epoch": epoch, "accuracy": accuracy, "loss": loss,
                                  "passes": passes, "seconds": seconds}))  # fmt: skip

    for start in range(0, len(index), at_once):
        part = index[start : start + at_once]
        chips = context.program(part)
        add(part, 0, context.score(chips, context.validation)[0].numpy(), np.nan, 0, 0.0)
        for stage in method.stages(context, part, chips):
            accuracy = mean_scores(context, stage, redraws, context.validation)[0].numpy()
            tuned = stage.tuned
            add(part, tuned.epoch, accuracy, tuned.loss, tuned.passes, tuned.seconds / len(part))
    return pd.concat(rows, ignore_index=True)


def early_stops(
    records: Iterable[Epoch], methods: Mapping[str, Trains], data: Dataset,
    crossbar: Crossbar | Device | str | None = None, sigma_d: float | None = LEFT_OUT, *, index: range, passes: int,
    stops: Sequence[float] = STOPS, forwards: int = 1, member: int = 0, **options: Any,
) -> pd.DataFrame:  # fmt: skip
    """Stop a training early, deploy what there is, and count the cost: the table behind TSB's Fig. 4.

    Args:
        records: of `nvlib.train`, all epochs.
        methods: name -> deployment method that trains, run from each stop and from the full training.
        data: train and validation splits.
        crossbar: of the chips: the conditions, or a device with ``sigma_d`` and ``options`` beside it.
        sigma_d: of the chips.
        index: which chips.
        passes: images of an epoch of stage one.
        stops: shares of the epochs; the full training is always among them.
        forwards: runs of the network for an image in stage one (N + 1 for OVF, 3 for TRICE, 1 for most).
        member: of the training's population.
        options: seed, on and conditions, as `history` takes them.

    Returns:
        A row a stage and epoch: stage ("backbone" or the method's name), stop, epoch (of the stage), accuracy (mean
        over the chips, validation, percent), passes and seconds from the beginning of stage one, and both as shares
        of the full stage one (share_passes, share_seconds).

    Raises:
        InputError: for a stop outside (0, 1].
    """
    import pandas as pd

    if bad := [s for s in stops if not 0 < s <= 1]:
        raise InputError(f"stop {bad[0]!r} is not usable; expected a share of the epochs above 0, at most 1")
    rows, models, seconds = [], {}, 0.0
    for record in records:
        seconds += record.seconds / len(record.loss)
        model = record.model(member)
        context = prepare(model, data, crossbar, sigma_d, chips=len(index), **options)
        accuracy = float(context.score(context.program(index), context.validation)[0].mean())
        spent = record.epoch * passes * forwards
        rows.append(("backbone", record.epoch / record.epochs, record.epoch, accuracy, spent, seconds))
        for stop in {*stops, 1.0}:
            if record.epoch == max(1, round(stop * record.epochs)):
                models[stop] = (model, spent, seconds)
    whole = rows[-1]
    for stop, (model, spent, before) in sorted(models.items()):
        for name, method in methods.items():
            found = history(method, model, data, crossbar, sigma_d, index=index, **options)
            for epoch, part in found.groupby("epoch"):
                cost = (spent + part["passes"].iloc[0], before + part["seconds"].mean())
                rows.append((name, stop, epoch, part["accuracy"].mean(), *cost))
    table = pd.DataFrame(rows, columns=["stage", "stop", "epoch", "accuracy", "passes", "seconds"])
    return table.assign(share_passes=table["passes"] / whole[4], share_seconds=table["seconds"] / whole[5])


def totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return what each early stop came to: a row a method and stop.

    Columns: stage, stop, accuracy (at the end), gain (points over the fully trained backbone), share_passes and
    share_seconds (at the end), reached_passes and reached_seconds (the shares at which the fully trained backbone's
    accuracy was reached; NaN where it was not).
    """
    import pandas as pd

    goal = table[table["stage"] == "backbone"].sort_values("epoch")["accuracy"].iloc[-1]
    rows = []
    for (stage, stop), part in table[table["stage"] != "backbone"].groupby(["stage", "stop"]):
        part = part.sort_values("epoch")
        reached, last = part[part["accuracy"] >= goal].head(1), part.iloc[-1]
        when = (reached["share_passes"].iloc[0], reached["share_seconds"].iloc[0]) if len(reached) else (np.nan,) * 2
        end = (last["accuracy"], last["accuracy"] - goal, last["share_passes"], last["share_seconds"])
        rows.append((stage, stop, *end, *when))
    names = ["accuracy", "gain", "share_passes", "share_seconds", "reached_passes", "reached_seconds"]
    return pd.DataFrame(rows, columns=["stage", "stop", *names])
