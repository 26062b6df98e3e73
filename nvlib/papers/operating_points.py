"""At which sigma_d a large network is computed: where a Gauss model's curve falls on validation images.

    A(s)    mean accuracy on validation images of the model trained and tested at sigma_d = s with Gaussian injection,
            over the few chips that a training looks at after its last epoch (`nvlib.train`)
    h(s) = (A(s) - c) / (max A - c)                                         c: what guessing scores
    second  the first rung of `presets.LADDER` with h < 0.6; where there is none, the last rung
    first   the first rung with h < 0.9; the one below ``second`` where that is not lower

Rungs are trained upwards until h < 0.6 and no further. No other method and no test image decides anything: the two
sigma_d are written down, in the study's file with A, before the others are trained (`nvlib.papers.write_studies`). The
trainings are those of the study itself: at the two rungs nothing is trained twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvlib.errors import InputError
from nvlib.papers.presets import LADDER, Entry, as_study
from nvlib.records import digest
from nvlib.store import Store, atomic_write, project_root

if TYPE_CHECKING:
    from nvlib.studies import Study

FALLING, FALLEN = 0.9, 0.6  # of the height above guessing
Run = Callable[[Sequence["Study"]], object]


@dataclass(frozen=True)
class Climb:
    """One panel's ladder: the study of its Gauss models, A(s) in percent so far, and what guessing scores."""

    study: Study
    curve: Mapping[float, float]
    chance: float


def points(curve: Mapping[float, float], chance: float) -> tuple[float, float] | None:
    """Return the two sigma_d of a curve A(s), sigma_d -> percent; None while it has not fallen and rungs are left.

    Args:
        curve: accuracies on validation images at rungs of `LADDER`, from its first on.
        chance: what guessing scores, in percent.
    """
    rungs = sorted(curve)
    top = max(curve.values(), default=chance) - chance
    height = {s: (curve[s] - chance) / top if top > 0 else 0.0 for s in rungs}
    fallen = next((i for i, s in enumerate(rungs) if height[s] < FALLEN), None)
    if fallen is None and rungs != list(LADDER):
        return None
    second = len(rungs) - 1 if fallen is None else fallen
    first = next((i for i, s in enumerate(rungs) if height[s] < FALLING), second)
    first = first if first < second else second - 1
    return (rungs[first], rungs[second]) if first >= 0 else (rungs[second], rungs[second])


def climb(entries: Mapping[str, Entry], where: Store, run: Run) -> Iterator[tuple[str, Climb]]:
    """Train Gauss models rung by rung, all panels side by side, and yield each panel once it has fallen.

    Args:
        entries: of studies, by the name of their file.
        where: the store; what it has is not trained again.
        run: carries out studies.
    """
    studies = {name: _gauss(entry) for name, entry in entries.items()}
    loaded = {name: study.data() for name, study in studies.items()}
    going = {name: Climb(replace(study, dataset=loaded[name].name), {}, loaded[name].chance)
             for name, study in studies.items()}  # fmt: skip
    for rung in LADDER:
        at = {name: replace(held.study, sigma_d=(rung,)) for name, held in going.items()}
        if at:
            run(list(at.values()))
        for name, study in at.items():
            ((training, _),) = study.pairs(loaded[name])
            found = float(where.history(digest(training))["noisy"].iloc[-1])
            held = replace(going[name], curve={**going[name].curve, rung: found})
            going[name] = held
            if points(held.curve, held.chance) is not None:
                del going[name], loaded[name]
                yield name, held


def settle(entries: Sequence[Entry], where: Store, run: Run) -> list[Entry]:
    """Return entries with the sigma_d of their operating points, as written down, else as a ladder says now."""
    wanted = {entry["operating_points"][0]: entry for entry in entries if "operating_points" in entry}
    found = {name: written(name) for name in wanted}
    for name, held in climb({name: wanted[name] for name, at in found.items() if at is None}, where, run):
        found[name] = points(held.curve, held.chance)
    known = {name: at for name, at in found.items() if at is not None}
    return [_settled(entry, known) if "operating_points" in entry else entry for entry in entries]


def written(name: str) -> tuple[float, float] | None:
    """Return the two sigma_d that a study's file holds; None where there is no file."""
    from nvlib.studies import files

    path = _place(name)
    if path is None or not path.is_file():
        return None
    at = files.load(path).sigma_d
    if len(at) not in (1, 2) or sorted(at) != list(at):
        raise InputError(f"{path}: sigma_d={list(at)}; expected the two operating points, the lower one first")
    return at[0], at[-1]


def write(name: str, entry: Entry, held: Climb, folder: Path | None = None) -> Path:
    """Write an entry's study to its file, with its ladder and the two sigma_d, and return where."""
    from nvlib.studies import files

    place, at = _place(name), points(held.curve, held.chance)
    target = place if folder is None else folder / f"{name}.toml"
    if target is None or at is None:
        raise InputError(f"{name} has no place or no operating points yet; expected a folder and a whole ladder")
    study = as_study({**_settled(entry, {name: at}, "both"), "dataset": held.study.dataset})
    curve = ", ".join(f"{s:g}: {a:.2f}" for s, a in sorted(held.curve.items()))
    head = (
        f"# {name} at the operating points of `nvlib.papers.operating_points`. Gauss on validation images, percent by\n"
        f"# sigma_d: {curve}; guessing: {held.chance:.3g}. Written before any other method was trained.\n"
    )
    atomic_write(target, lambda aside: Path(aside).write_text(head + toml(study)))
    if files.load(target) != study:
        raise InputError(f"{target} does not hold the study that was written; delete it and report this")
    return target


def toml(study: Study) -> str:
    """Return a study as TOML: what differs from a study's defaults, and the axes always."""
    kept = ("network", "dataset", "methods", "sigma_d", "seeds")
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(study)}
    record = study.record()
    lines, tables = [], []
    for name, default in defaults.items():
        value = record[name]
        if getattr(study, name) == default and name not in kept:
            continue
        if name == "recipe":
            tables.append(("recipe", value))
        elif isinstance(value, Mapping):
            tables += [(f"{name}.{key}", held) for key, held in value.items()]
        else:
            lines.append(f"{name} = {_value(value)}")
    for head, table in tables:
        lines += ["", f"[{head}]", *(f"{key} = {_value(item)}" for key, item in table.items() if item is not None)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)  # texts, numbers, true and false are written alike in both


def _gauss(entry: Entry) -> Study:
    """Return the study of an entry's Gauss models: one training a rung; chips are none of the rule's business."""
    kept = {key: value for key, value in entry.items() if key not in ("parameters", "operating_points")}
    return as_study({**kept, "methods": ("gaussian",), "sigma_d": LADDER, "seeds": entry.get("seeds", (0,))[:1],
                     "chips": 1})  # fmt: skip


def _settled(entry: Entry, found: Mapping[str, tuple[float, float]], which: str | None = None) -> Entry:
    kept = {key: value for key, value in entry.items() if key != "operating_points"}
    name, asked = entry["operating_points"]
    pair = found[name]
    at = {"first": pair[:1], "second": pair[1:], "both": tuple(dict.fromkeys(pair))}[which or asked]
    if "pretrain" in kept:
        kept["pretrain"] = {**kept["pretrain"], "sigma_d": at}
        kept["pretrain"].pop("operating_points", None)
    return {**kept, "sigma_d": at}


def _place(name: str) -> Path | None:
    root = project_root()
    return root / "studies" / f"{name}.toml" if root else None
