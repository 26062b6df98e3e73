"""A study is a grid: its axes, what all of it shares, and the records of every run in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import product
from typing import Any, cast

import numpy as np
from torch import nn

from nvlib import array, data, devices, effects, methods, models, philox, plugins, ranges
from nvlib.cards import card
from nvlib.conditions import Crossbar
from nvlib.data import Dataset
from nvlib.declarations import StudyFields
from nvlib.errors import InputError, of_kind, unknown, whole
from nvlib.fields import Given, as_field, default
from nvlib.methods import Recipe
from nvlib.methods.checkpoint_selection import CheckpointSelection, Selection
from nvlib.models import factory, own
from nvlib.precision import PRECISIONS
from nvlib.records import Evaluation, Training, digest, values


@dataclass(frozen=True)
class Study(StudyFields):
    """A grid of runs. Sequences are its axes; the rest is shared. Its fields are those of `StudyFields`.

    ``network`` is one of `nvlib.models.MODELS`, or of a file of one's own, ``mine.py:small`` (`nvlib.models.own`),
    which is held by its content. ``bits`` and ``activation_bits`` None take the network's own; ``images`` limits each
    split (None: all). A deployment is a name of `nvlib.deploy.DEPLOYMENTS`, or None: chips are scored as programmed.

    Example:
        >>> import nvlib
        >>> study = nvlib.Study("lenet3", methods=("none", "gaussian"), sigma_d=(0.1, 0.2), images=100)
        >>> len(study.pairs(study.data()))  # evaluations, each with its training
        4
    """

    sigma_d: Given[tuple[float, ...], None] = default(None)
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        """Refuse an empty axis and anything that could not run, before anything runs."""
        for name in (each.name for each in fields(self)):
            object.__setattr__(self, name, _read(name, getattr(self, name)))
        files = [plugins.load(path) for path in self.plugins]
        object.__setattr__(self, "network", models.named(self.network))
        for axis in AXES:
            held = getattr(self, axis)
            if axis != "train_sigma_d" and held is not None and not held:
                raise InputError(f"{axis} of the study is empty; expected at least one value")
        self._settle_sigma_d()
        self._in_words()
        for name in ("chips", "epochs"):
            whole(name, getattr(self, name), 1)
        if self.images is not None:
            whole("images", self.images, 1, otherwise=", or None")
        for seed in (*self.seeds, self.chip_seed):
            philox.check_seed(seed)
        CheckpointSelection(self.select, self.patience, self.target, 1)  # checks them
        for word in (self.precision, self.chip_precision or "float32"):
            if word not in PRECISIONS:
                raise unknown("precision", word, PRECISIONS)
        if any(self.deployments) and self.chip_precision not in (None, "float32"):
            raise InputError(f"chip_precision={self.chip_precision!r} with deployments, whose chips are scored in "
                             "float32: they could not be compared; leave chip_precision out")  # fmt: skip
        bits = cast(int, self.template().bits)
        for name in self.methods:
            methods.get(name, **self.parameters.get(name, {}))
        for name in self.parameters:
            if name not in methods.METHODS:
                raise unknown("method with parameters", name, methods.METHODS)
        trained = self.devices if self.train_device is None else [self.train_device]
        met = [*product(self.effects, self.devices), *product([self.train_effects], trained)]
        for (befalls, name), sigma_d in product(met, (*self.sigma_d, *(self.train_sigma_d or ()))):
            Crossbar(name, sigma_d, bits, self.reference, self.mapping, effects=effects.chain(befalls))
        for name in (*filter(None, self.deployments), *self.deployment_parameters):
            self.deployment(name)
        files += [own.find(self.network).source] if own.is_own(self.network) else []
        files += filter(None, map(plugins.source_of, self._kinds()))
        paths = dict.fromkeys(source.path for source in files if source.travels)
        object.__setattr__(self, "plugins", tuple(paths))

    def _settle_sigma_d(self) -> None:
        """Take the usual sigma_d where it was left out; refuse that where devices count it differently."""
        if self.sigma_d is None:
            devices.counted_alike("sigma_d", *self.devices)
            object.__setattr__(self, "sigma_d", (devices.get(self.devices[0]).usual_sigma_d,))
        if self.train_device is not None and self.train_sigma_d is None:
            for name in self.devices:
                devices.counted_alike("train_sigma_d", name, self.train_device)

    def travels(self) -> None:
        """Refuse names of this session alone: other processes could not make them.

        Raises:
            InputError: for the first such.
        """
        for kind in self._kinds():
            if kind.__module__.partition(".")[0] != "nvlib" and plugins.source_of(kind) is None:
                name = getattr(kind, "name", kind.__name__)
                raise InputError(f"{name!r} is of this session alone, and other processes do not know it; put it into "
                                 "a file that registers it: plugins=('mine.py',), --plugin mine.py")  # fmt: skip

    def _kinds(self) -> list[type]:
        """Return the classes of its methods, deployments and effects."""
        from nvlib.deploy import DEPLOYMENTS

        met = [effect for text in (*self.effects, self.train_effects) for effect in effects.chain(text)]
        deployments = [DEPLOYMENTS[name] for name in self.deployments if name]
        return [*(methods.METHODS[name] for name in self.methods), *deployments, *map(type, met)]

    def _in_words(self) -> None:
        """Write the conditions of chips as their canonical texts."""
        written: dict[str, Any] = {
            "ranges": tuple(str(ranges.get(text)) for text in self.ranges),
            "effects": tuple(" + ".join(effects.text(effects.chain(text))) for text in self.effects),
            "peripheries": tuple(map(_periphery, self.peripheries)),
            "train_range": None if self.train_range is None else str(ranges.get(self.train_range)),
            "train_effects": " + ".join(effects.text(effects.chain(self.train_effects))),
        }
        for name, value in written.items():
            object.__setattr__(self, name, value)

    # -- as plain values ---------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Study:
        """Return the study of plain values, as a file or `record` has them; a lone value is an axis of one.

        Raises:
            InputError: for an unknown key, with the nearest known one, or a value of a wrong kind.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"a study is {type(values).__name__}; expected keys and values such as sigma_d = [0.1]")
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("key of a study", name, known)
        return cls(**values)

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it: its axes, and what is not left at its default."""
        known = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        shown = {"network", "dataset", "methods", "devices", "sigma_d", "seeds", "epochs", "chips"}
        held = {name: getattr(self, name) for name in known}
        rows = {
            name: ", ".join("none" if v in (None, "") else str(v) for v in value) if isinstance(value, tuple) else value
            for name, value in held.items() if name in shown or value != known[name]
        }  # fmt: skip
        return card("Study", rows)

    def record(self) -> dict[str, Any]:
        """Return the study in plain JSON values, devices from files with their numbers: what `of` takes."""
        held = asdict(self)
        held["devices"] = [_by_name(name) for name in self.devices]
        held["train_device"] = None if self.train_device is None else _by_name(self.train_device)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in held.items()}

    # -- what it needs -----------------------------------------------------------------------------------------------

    def template(self, classes: int = 10, channels: int | None = None, seed: int | None = None) -> nn.Module:
        """Return the network with fresh weights."""
        return models.build(
            self.network,
            classes=classes,
            width=self.width,
            bits=self.bits,
            activation_bits=self.activation_bits,
            in_channels=channels,
            seed=seed,
        )

    def data(self) -> Dataset:
        """Load the data set, at the size the network takes; one's own network must take it."""
        loaded = data.load(self.dataset, limit=self.images)
        size = cast(int | None, self.template().input_size)
        loaded = loaded if size is None or size == loaded.shape[-1] else data.resize(loaded, size)
        if own.is_own(self.network):
            model = self.template(loaded.classes, loaded.shape[0])
            factory.fits(self.network, model, loaded.test.x[:2], loaded.classes)
        return loaded

    def deployment(self, name: str) -> Any:
        """Return a deployment method with the study's parameters of it."""
        from nvlib import deploy

        return deploy.get(name, **self.deployment_parameters.get(name, {}))

    # -- its runs ----------------------------------------------------------------------------------------------------

    def pairs(self, loaded: Dataset) -> list[tuple[Training, Evaluation]]:
        """Return every evaluation with its training, in order of the axes."""
        found = {}
        for method in self.methods:
            for name in self.devices:
                for sigma_d in self.sigma_d:
                    trained_at = (sigma_d,) if self.train_sigma_d is None else self.train_sigma_d
                    for at, seed, span in product(trained_at, self.seeds, self.ranges):
                        training = self._training(method, self.train_device or name, at, seed, span, loaded)
                        for deployment, befalls, periphery in product(self.deployments, self.effects, self.peripheries):
                            evaluation = self._evaluation(training, name, sigma_d, span, deployment, loaded)
                            evaluation = replace(evaluation, effects=_effects(name, befalls), periphery=periphery)
                            found[digest(evaluation)] = (training, evaluation)
        return list(found.values())

    def _training(self, method: str, device: str, sigma_d: float, seed: int, span: str, loaded: Dataset) -> Training:
        network, quiet = self.template(), method == "none"
        return Training(
            network=self.network,
            width=self.width,
            dataset=loaded.name,
            fingerprint=loaded.fingerprint,
            images=len(loaded.train),
            method=method,
            parameters=values(methods.get(method, **self.parameters.get(method, {}))),
            device=None if quiet else numbers_of(device),
            sigma_d=0.0 if quiet else float(sigma_d),
            reference=None if quiet else self.reference,
            mapping=None if quiet else self.mapping,
            bits=cast(int, network.bits),
            activation_bits=cast(int, network.activation_bits),
            epochs=self.epochs,
            recipe=values(self.recipe) | values(Selection(self.select, self.patience, self.target, self.start)),
            seed=seed,
            code=plugins.code_of(methods.METHODS[method]),
            precision=self.precision,
            range="max" if quiet else self.train_range or span,
            effects=() if quiet else _effects(device, self.train_effects),
        )

    def _deployed(self, name: str) -> dict[str, Any]:
        """Return a deployment as a record has it; one that is not nvlib's own with its code."""
        method = self.deployment(name)
        code = plugins.code_of(type(method))
        return {"name": name, **values(method)} | ({} if code is None else {"code": code})

    def _evaluation(
        self, training: Training, device: str, sigma_d: float, span: str, deployment: str | None, loaded: Dataset
    ) -> Evaluation:
        return Evaluation(
            training=digest(training),
            device=numbers_of(device),
            sigma_d=float(sigma_d),
            reference=self.reference,
            mapping=self.mapping,
            bits=training.bits,
            images=len(loaded.test),
            deployment=None if deployment is None else self._deployed(deployment),
            seed=self.chip_seed,
            range=span,
        )


AXES = {
    "methods": str, "devices": str, "sigma_d": float, "seeds": int, "train_sigma_d": float, "ranges": str,
    "effects": str, "peripheries": str, "deployments": str,
}  # fmt: skip


def numbers_of(device: str | devices.Device) -> dict[str, Any]:
    """Return what of a device goes into a record: its name and its numbers."""
    device = devices.get(device)
    return {"name": device.name, **device.numbers()}


def crossbar_of(evaluation: Evaluation, among: Sequence[Any] = ()) -> Crossbar:
    """Return the conditions of an evaluation's chips, whose device may be one of ``among``."""
    e, device = evaluation, device_of(evaluation.device, among)
    met = effects_of(e)
    return Crossbar(device, e.sigma_d, e.bits, e.reference, e.mapping, e.range, met, e.periphery or None)


def effects_of(record: Training | Evaluation) -> tuple[str, ...]:
    """Return the texts of the effects that a record holds."""
    return tuple(held["effect"] for held in record.effects)


def _periphery(given: str) -> str:
    """Return the canonical text of what is round the arrays; "" where there is nothing."""
    return "" if given in ("", "none") else str(array.get(given))


def _effects(device: str, given: str) -> tuple[dict[str, Any], ...]:
    """Return effects on a device as a record has them: text, all numbers, and the code of one of one's own."""
    device, found = devices.get(device), []
    for effect in effects.on(device, effects.chain(given)):
        code = plugins.code_of(type(effect))
        held = {"effect": str(effect), **effects.numbers(effect, device)}
        found.append(held | ({} if code is None else {"code": code}))
    return tuple(found)


def device_of(record: Mapping[str, Any], among: Sequence[Any] = ()) -> devices.Device:
    """Return the device that a record holds: the one of ``among`` or built in, with its laws, that has its numbers."""
    for given in (*among, *([record["name"]] if record["name"] in devices.names() else [])):
        if numbers_of(given) == record:
            return devices.get(given)
    return devices.Device.from_dict(record)


def _by_name(device: Any) -> Any:
    """Return a device that has a name of its own by that, any other by its numbers."""
    return device if device in devices.names() else devices.get(device).to_dict()


def _read(name: str, value: Any) -> Any:
    """Return a value as the study's field holds it; InputError for one of a wrong kind."""
    if name in ("network", "train_range", "train_effects"):  # their own readers say what is wrong with them
        return value
    if name in AXES:
        if value is None and name in ("sigma_d", "train_sigma_d"):
            return None
        value = value.tolist() if isinstance(value, np.ndarray) else value
        lone = isinstance(value, str | Mapping) or not isinstance(value, Iterable)
        return tuple(_item(name, item) for item in ([value] if lone else value))
    if name == "recipe":
        return Recipe.of(value)
    if name == "train_device" and value is not None:
        return _item("devices", value)
    if name == "plugins":
        several = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        return tuple(of_kind(name, item, str) for item in several)
    if name in ("parameters", "deployment_parameters"):
        if not isinstance(value, Mapping) or not all(isinstance(v, Mapping) for v in value.values()):
            raise InputError(f"{name}={value!r} of the study; expected a table for each name, e.g. [{name}.trice]")
        return {key: {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}
                for key, held in value.items()}  # fmt: skip
    return as_field(Study, name, value)


def _item(axis: str, value: Any) -> Any:
    if axis == "devices":
        return devices.Device.from_dict(value) if isinstance(value, Mapping) else devices.get(value) and value
    if axis == "deployments" and value in (None, "none"):
        return None
    if axis in ("ranges", "effects", "peripheries"):  # `Study._in_words` reads them
        return "" if value in (None, "none") and axis != "ranges" else value
    return of_kind(axis, value, AXES[axis])
