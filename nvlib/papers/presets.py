"""The studies behind each artefact at each preset: what a preset shrinks stands here and nowhere else.

    smoke   seconds, to see that everything works: a thousand images or fewer, one epoch; the numbers mean nothing
    quick   real MNIST on two CPU cores, minutes: fewer images and epochs, large networks at a sixteenth of their width
    full    what ships, hours on two CPU cores: whole data sets; large networks at an eighth of their width, for 20
            epochs in bfloat16, one training a point
    paper   the paper's protocol to the letter: large networks at full width, for which a GPU is needed

An entry holds arguments of `nvlib.Study`, and three that are resolved when it is run: ``pretrain`` (arguments of the
study whose models are trained on), ``manual`` (RC-Manual's sigma_t and th come from trice-fig4's grid, chosen on
validation images) and ``operating_points`` (the study's file, and which of its two sigma_d are taken: first, second or
both; `nvlib.papers.operating_points` chooses them on validation images). ``data`` sets that are not at hand are left
out and said to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nvlib.errors import unknown
from nvlib.papers.trice import GRID

if TYPE_CHECKING:
    from nvlib.studies import Study

PRESETS = ("smoke", "quick", "full", "paper")
LADDER = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # rungs on which operating points are sought
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # of Table I
Entry = dict[str, Any]

# The tour's study is TRICE's Table I, its first and third columns.
TOUR = {
    "smoke": {
        "sigma_d": (0.0, 0.2),
        "seeds": (0,),
        "epochs": 3,
        "recipe": {"lr": 3e-3, "batch_size": 32},  # many small steps, so that a thousand images teach it something
        "chips": 20,
        "images": 1000,
    },
    "quick": {"sigma_d": (0.0, 0.1, 0.2), "seeds": (0,), "epochs": 3, "chips": 400},
    "full": {"sigma_d": (0.0, 0.1, 0.2, 0.3, 0.4), "seeds": (0, 1, 2), "epochs": 10, "chips": 400},
    "paper": {"sigma_d": SIGMAS, "seeds": (0, 1, 2, 3, 4), "epochs": 100, "chips": 10_000},
}

# What shrinks, by preset. Searches are scaled to the epochs there are: `warm`, chips of a KPP, the bracket's end.
_SEARCH = {
    "smoke": {"warm": 0, "n_train": 4, "images": 50, "tolerance": 0.02},
    "quick": {"warm": 1, "n_train": 100, "images": 500, "tolerance": 0.05},
    "full": {"warm": 2, "tolerance": 0.02, "images": 1000},
    "paper": {},
}
_LENET = {
    "smoke": {"network": "lenet3", "images": 200, "epochs": 1, "chips": 8, "recipe": {"lr": 3e-3, "batch_size": 32}},
    "quick": {"images": 10_000, "epochs": 5, "chips": 400},
    "full": {"epochs": 10, "chips": 400, "seeds": (0, 1, 2)},
    "paper": {"epochs": 100, "chips": 10_000, "seeds": (0, 1, 2, 3, 4)},
}
_SMALL = {"width": 1 / 16, "dataset": "mnist", "recipe": {"lr": 3e-3, "batch_size": 32}}
_LARGE = {
    "smoke": {**_SMALL, "images": 64, "epochs": 1, "chips": 3},
    "quick": {**_SMALL, "images": 2000, "epochs": 8, "chips": 200},
    "full": {  # bfloat16 does not pay for chips of networks this narrow (measured); all are scored in one precision
        "width": 1 / 8, "epochs": 20, "chips": 100, "seeds": (0,), "precision": "bf16", "chip_precision": "float32",
    },
    "paper": {"epochs": 200, "chips": 200, "seeds": (0, 1, 2, 3, 4)},
}
_HIDDEN = {"smoke": 32, "quick": 32, "full": 64}  # units of IRS's classifiers; whole: 512, a sixteenth: 32
# a network of a sixteenth of its width is as far gone at 0.1 as the whole one at 0.3: at 0.2 Gauss stays near chance
_NARROW = {"curves": (0.05, 0.1, 0.15), "ablation": 0.1, "convergence": 0.15}
_FIG5_SEARCH = {**_SEARCH, "full": {"warm": 2, "n_train": 100, "images": 500, "tolerance": 0.02}}
_SIX_BITS = {"bits": 6, "activation_bits": 6}  # TRICE's VGG-8 and ResNet-18
BETA = {  # as NFT's authors published them (README of the artefacts, item 6)
    ("vgg8", "mnist"): (1e-3, 1e-2), ("vgg8", "cifar10"): (1e-3, 1e-1), ("resnet18", "mnist"): (1e-4, 1e-1),
    ("resnet18", "cifar10"): (1e-1, 1e-3), ("resnet18", "cifar100"): (1e-1, 1e-3),
    ("resnet18", "tiny-imagenet"): (1e-2, 1e-2),
}  # fmt: skip


def entries(artefact: str, preset: str) -> list[Entry]:
    """Return the studies of an artefact (or of the tour) at a preset, in the order they are to be run.

    Raises:
        InputError: for an unknown artefact, or preset.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if artefact not in _MAKERS:
        raise unknown("artefact with studies", artefact, _MAKERS)
    return _MAKERS[artefact](preset)


def study(name: str, preset: str) -> Study:
    """Return the first study of a notebook or an artefact at a preset.

    Raises:
        InputError: for an unknown name or preset.
    """
    return as_study(entries(name, preset)[0])


def as_study(entry: Entry) -> Study:
    """Return an entry as a study."""
    from nvlib.methods import Recipe
    from nvlib.studies import Study

    values = {key: value for key, value in entry.items() if key not in ("pretrain", "manual", "operating_points")}
    recipe = values.get("recipe", {})
    return Study(**{**values, "recipe": Recipe(**recipe) if isinstance(recipe, dict) else recipe})


def has_studies(name: str) -> bool:
    """Whether an artefact is made of studies; others are exact, counted, or made from another one's."""
    return name in _MAKERS


# -- TRICE -----------------------------------------------------------------------------------------------------------


def _lenet(preset: str, methods: tuple[str, ...], sigma_d: tuple[float, ...], **more: Any) -> Entry:
    parameters = {m: _SEARCH[preset] for m in methods if m in ("trice", "trice_gauss")}
    return {**_LENET[preset], "methods": methods, "sigma_d": sigma_d, "parameters": parameters, **more}


def _table1(preset: str) -> list[Entry]:
    sigma_d = {"smoke": (0.2,), "quick": (0.1, 0.2, 0.3), "full": (0.1, 0.2, 0.3), "paper": SIGMAS}[preset]
    # quick asks for what ships: it is there
    size = "full" if preset == "quick" else preset
    methods = ("none", "correctnet", "gaussian", "rc", "trice_gauss", "trice")
    return [_lenet(size, methods, sigma_d)]


def _text(preset: str) -> list[Entry]:
    """Table I's trainings, the truncated laws, and RC-Manual with what the grid's validation images chose."""
    made = _table1(preset)
    base = {key: value for key, value in made[0].items() if key != "parameters"}
    laws = {**base, "methods": ("rt", "lt")}
    manual = {**base, "methods": ("rc_manual",), "manual": preset}
    return [*made, laws] if preset == "quick" else [*made, laws, *_fig4(preset), manual]


def _fig4(preset: str) -> list[Entry]:
    cut = {"smoke": ((0.5, 1.0, 2.0), (2.0,)), "quick": ((0.5, 1.0, 1.5, 2.0), (0.5, 1.0, 2.0, 3.0))}
    ratios, ths = cut.get(preset, (GRID["ratio"], GRID["th"]))
    points = [{"ratio": r, "th": t} for r in ratios for t in ths]
    made = [_lenet(preset, ("rc_manual",), (0.25,), parameters={"rc_manual": p}) for p in points]
    if preset == "quick":  # 400 chips have no interval of a first percentile at the confidence that two looks ask for
        made = [{**entry, "chips": 1000} for entry in made]
    return [{**entry, "seeds": (0,)} for entry in made] if preset == "full" else made


def _fig5(network: str, preset: str) -> list[Entry]:
    sigma_d = {"smoke": (0.1,), "quick": (0.05, 0.1), "full": LADDER, "paper": SIGMAS}[preset]
    size = {**_LARGE[preset], "chips": {"smoke": 3, "paper": 10_000}.get(preset, 400)}
    size |= {} if "dataset" in size else {"dataset": "cifar10", "recipe": network}
    size |= {"epochs": 100} if preset == "paper" else {}
    methods = ("gaussian", "trice") if preset == "smoke" else ("none", "gaussian", "trice_gauss", "trice")
    parameters = {m: _FIG5_SEARCH[preset] for m in methods if m.startswith("trice")}
    size |= {"operating_points": (f"trice-fig5-{network}", "both")} if preset == "full" else {}
    return [{**size, **_SIX_BITS, "network": network, "methods": methods, "sigma_d": sigma_d, "parameters": parameters}]


def _fig6(device: str, preset: str) -> list[Entry]:
    sigma_d = {"smoke": (0.1,), "quick": (0.05, 0.1), "full": (0.05, 0.1, 0.15, 0.2), "paper": SIGMAS}[preset]
    methods = ("gaussian", "trice") if preset == "smoke" else ("none", "gaussian", "trice_gauss", "trice")
    return [_lenet(preset, methods, sigma_d, devices=(device,))]


def _fig8(preset: str) -> list[Entry]:
    methods = ("rc", "lc") if preset == "smoke" else ("gaussian", "rc", "lc", "rt", "lt")
    return [_lenet(preset, methods, (0.25,))]


# -- NFT and OVF -----------------------------------------------------------------------------------------------------


def _large(preset: str, network: str, dataset: str, methods: tuple[str, ...], **more: Any) -> Entry:
    ovf, irs = BETA[network, dataset]
    beta = {"ovf": {"beta": ovf}, "irs": {"beta": irs, **({"hidden": _HIDDEN[preset]} if preset in _HIDDEN else {})}}
    size = _LARGE[preset]
    size = size if "dataset" in size else {**size, "dataset": dataset, "recipe": network}
    return {**size, "network": network, "mapping": "signed", "methods": methods,
            "parameters": {m: beta[m] for m in methods if m in beta}, **more}  # fmt: skip


def _at(network: str, dataset: str, which: str) -> Entry:
    """Operating points of a panel, the same for every artefact."""
    return {"sigma_d": LADDER, "operating_points": (f"nft-fig3-{network}-{dataset}", which)}


def _curves(methods: tuple[str, ...], preset: str) -> list[Entry]:
    """The panels of Fig. 3 (Fig. 4 reads the same chips); smoke and quick make the first, at reduced width."""
    if preset == "full":
        made = [_large(preset, *panel, methods, **_at(*panel, "both")) for panel in BETA]
        return [*made, _large(preset, *next(iter(BETA)), methods[:2], sigma_d=(0.1,))]  # where Fig. 4's text looks
    sigma_d = {"smoke": (0.2,), "quick": _NARROW["curves"]}.get(preset, SIGMAS[1:])
    panels = list(BETA) if preset == "paper" else list(BETA)[:1]
    return [_large(preset, *panel, methods, sigma_d=sigma_d) for panel in panels]


def _convergence(methods: tuple[str, ...], preset: str) -> list[Entry]:
    runs = {"smoke": (0, 1)}.get(preset, tuple(range(10)))
    chips = {"smoke": 2, "quick": 40, "full": 100}.get(preset, 200)
    sizes = {"epochs": 1, "images": 32} if preset == "smoke" else {}
    at = {"sigma_d": (_NARROW["convergence"] if preset == "quick" else 0.35,)}
    at = _at("vgg8", "mnist", "second") if preset == "full" else at
    return [_large(preset, "vgg8", "mnist", methods, **at, seeds=runs, chips=chips, **sizes)]


def _variants(preset: str, *variants: tuple[str, dict[str, Any]], **more: Any) -> list[Entry]:
    """An ablation: one method under other parameters, ResNet-18 on CIFAR-10 at 0.3; smaller presets a narrow VGG-8."""
    network, dataset, at = {
        "full": ("vgg8", "cifar10", _at("vgg8", "cifar10", "first")),
        "paper": ("resnet18", "cifar10", {"sigma_d": (0.3,)}),
    }.get(preset, ("vgg8", "mnist", {"sigma_d": (_NARROW["ablation"],)}))
    made = []
    for method, parameters in variants:
        entry = _large(preset, network, dataset, (method,), **at, **more)
        made.append({**entry, "parameters": {method: {**entry["parameters"][method], **parameters}}})
    return made


def _table2(preset: str) -> list[Entry]:
    """From scratch, and on from a model trained without noise for the same number of epochs: +1/4, 1/2, all of them."""
    scratch = _variants(preset, ("ovf", {}), ("irs", {}))
    whole = scratch[0]["epochs"]
    parts = sorted({max(1, whole * part // 4) for part in (1, 2, 4)})
    made = list(scratch)
    for entry in scratch:
        quiet = {key: value for key, value in entry.items() if key != "parameters"} | {"methods": ("none",)}
        made += [{**entry, "epochs": epochs, "pretrain": quiet} for epochs in parts]
    return made


# -- TSB -------------------------------------------------------------------------------------------------------------

# what is trained on a chip; quick asks for what ships. The sigma_d of its ablations is not in the text at hand: 0.1
_TINY = {"epochs": 1, "images": 32, "batch_size": 16, "redraws": 1}
_MENDED = {
    "smoke": {name: _TINY for name in ("last_layer", "last_layers", "tsb")},
    "quick": {"last_layer": {"epochs": 5}, "last_layers": {"epochs": 5}, "tsb": {"epochs": 5, "lr": 1e-2}},
    "full": {name: {"images": None} for name in ("last_layer", "last_layers", "tsb")},
    "paper": {name: {"images": None} for name in ("last_layer", "last_layers", "tsb")},
}
_CHIPS = {
    "smoke": {"images": 64, "epochs": 1, "chips": 2, "recipe": {"lr": 3e-3, "batch_size": 32}},
    "quick": {"epochs": 10, "chips": 20},
    "full": {"epochs": 20, "chips": 20, "seeds": (0, 1, 2)},
    "paper": {"epochs": 200, "chips": 200, "seeds": (0, 1, 2, 3, 4)},  # its epochs are NFT's: its text has none
}


_SMALLER = {key: _LARGE["full"][key] for key in ("width", "epochs", "seeds", "precision")}
_RETRAINED = {  # on each chip of VGG-8 at an eighth of its width
    "last_layer": {"images": 10_000}, "last_layers": {"images": 10_000},
    "tsb": {"epochs": 5, "images": 10_000, "lr": 1e-3, "redraws": 1},
}  # fmt: skip


def _distance(preset: str) -> list[Entry]:
    """LeNet-3, and where it is not small VGG-8 and ResNet-18: mended chips, then the ideal of each network."""
    sigma_d = (0.2,) if preset == "smoke" else (0.1, 0.2, 0.3, 0.4)
    vgg8 = {"recipe": "vgg8", **({**_SMALLER, "deployment_parameters": _RETRAINED} if preset == "full" else {})}
    networks = [("lenet3", "mnist", {}), ("vgg8_tsb", "cifar10", vgg8),
                ("resnet18", "tiny-imagenet", {"recipe": "resnet18"})]  # fmt: skip
    made = []
    for network, dataset, more in networks[: {"smoke": 1, "quick": 1, "full": 2, "paper": 3}[preset]]:
        whole = {**_CHIPS[preset], "network": network, "dataset": dataset, "mapping": "signed", **more}
        retrained = {"deployment_parameters": _MENDED[preset], "deployments": ("last_layer", "last_layers", "tsb")}
        made.append({**retrained, **whole, "methods": ("gaussian",), "sigma_d": sigma_d})
        ideal = {key: value for key, value in whole.items() if key != "deployment_parameters"}
        made.append({**ideal, "methods": ("none",), "sigma_d": (0.0,)})
    return made


def _block(preset: str, of: str, values: tuple[Any, ...]) -> list[Entry]:
    """One parameter of TSB's block: VGG-8 on CIFAR-10, at full an eighth as wide; at smoke and quick on MNIST.

    ``values`` are those of the whole network, the default None; channels scale with the width.
    """
    width, size, tsb = 1.0, {**_CHIPS[preset], "dataset": "cifar10", "recipe": "vgg8"}, {"images": None}
    if preset == "smoke":
        width, size, tsb, values = 1 / 16, _CHIPS[preset], _TINY, (None, values[-1])
    elif preset == "quick":
        width, size = 1 / 8, {"epochs": 3, "chips": 4}
        tsb = {"epochs": 2, "images": 4000, "lr": 1e-3, "redraws": 1}
    elif preset == "full":
        width, size, tsb = 1 / 8, {**size, **_SMALLER}, _RETRAINED["tsb"]
    made = []
    for value in values:
        own = {} if value is None else {of: max(1, round(value * width)) if of == "channels" else value}
        made.append({**size, "network": "vgg8_tsb", "width": width, "mapping": "signed", "methods": ("gaussian",),
                     "sigma_d": (0.1,), "deployments": ("tsb",), "deployment_parameters": {"tsb": {**tsb, **own}}})
    return made


_MAKERS = {
    "00_tour": lambda preset: [TOUR[preset]],
    "trice-fig2": lambda preset: [{**_table1(preset)[0], "methods": ("none", "gaussian"), "sigma_d": (0.2,)}],
    "trice-table1": _table1,
    "trice-text": _text,
    "trice-fig4": _fig4,
    "trice-fig5a": lambda preset: _fig5("vgg8", preset),
    "trice-fig5b": lambda preset: _fig5("resnet18", preset),
    "trice-fig6a": lambda preset: _fig6("fefet1", preset),
    "trice-fig6b": lambda preset: _fig6("fefet2", preset),
    "trice-fig8": _fig8,
    "nft-fig3": lambda preset: _curves(("none", "gaussian", "ovf", "irs"), preset),
    "nft-fig4": lambda preset: _curves(("none", "gaussian", "ovf", "irs"), preset),
    "nft-convergence": lambda preset: _convergence(("gaussian", "ovf", "irs"), preset),
    "nft-table1": lambda preset: _variants(
        preset, *(("ovf", {"n": n}) for n in (1, 2, 3, 4)),
        *(("irs", {"n": n}) for n in ((1, 2, 3, None, 5) if preset == "paper" else (1, 2, None, 4))),
    ),
    "nft-reverse-gamma": lambda preset: _variants(
        preset, *((m, {"reverse": r}) for m in ("ovf", "irs") for r in (False, True))
    ),
    "nft-reverse-sigma": lambda preset: _variants(preset, ("ovf", {}), ("ovf", {"step": -0.05})),
    "nft-classifier-noise": lambda preset: _variants(preset, ("irs", {}), ("irs", {"noisy": False})),
    "nft-table2": _table2,
    "ovf-fig3": lambda preset: _curves(("none", "gaussian", "ovf"), preset),
    "ovf-fig4": lambda preset: _curves(("none", "gaussian", "ovf"), preset),
    "ovf-convergence": lambda preset: _convergence(("gaussian", "ovf"), preset),
    "tsb-fig3": _distance,
    "tsb-table2": lambda preset: _block(preset, "channels", (None, 16, 32, 64, 256, 512)),
    "tsb-depth": lambda preset: _block(preset, "insertions", (None, 5, 4, 3, 2, 1)),
    "tsb-layers": lambda preset: _block(preset, "layers", (None, 2, 3, 4)),
    "tsb-init": lambda preset: _block(preset, "init", (None, "ordinary")),
}  # fmt: skip
