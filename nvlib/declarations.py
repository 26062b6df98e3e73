"""What can be asked for: the fields of a study, of a recipe and of a cluster's job, without torch.

`nvlib.studies.Study`, `nvlib.methods.Recipe` and `nvlib.launch.Cluster` are these with their checks and what they do.
Fields here are options of the command line, and what stands of them under ``Attributes`` is their help.

>>> from nvlib import declarations
>>> declarations.StudyFields(chips=100).chips, declarations.RecipeFields().lr
(100, 0.001)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nvlib.fields import Given, default
from nvlib.records import later


@dataclass(frozen=True)
class RecipeFields:
    """How weights are updated.

    Attributes:
        optimiser: adam or sgd.
        lr: learning rate.
        schedule: of the learning rate over all steps: cosine or constant.
        batch_size: images a batch.
        momentum: of sgd.
        weight_decay: of either optimiser.
        augment: of the training images: none, or crop-flip for colour images.
        clip: cut weights on arrays after each update: none, deviations:2.5, percentile:99.5, joshi2020 or aihwkit.
    """

    optimiser: str = "adam"
    lr: float = 1e-3
    schedule: str = "cosine"
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 0.0
    augment: str = later("none")
    clip: str = later("none")


@dataclass(frozen=True)
class StudyFields:
    """A grid of runs. Sequences are its axes; the rest is shared.

    Attributes:
        network: your own, mine.py:small (FILE:FUNCTION), or a name.
        dataset: a name, or the path of an image folder.
        methods: training methods, of `nvlib.METHODS`.
        devices: names, or paths of .toml or .csv files.
        sigma_d: size of the variation (default: 0.1; of measured devices 1, as measured).
        seeds: of trainings.
        train_sigma_d: sweep: train at these (default: at what is tested).
        train_device: whose variation trainings meet (default: that of the chips).
        ranges: what the largest level stands for: max, deviations:2.5, percentile:99.5; /channel behind it: of each
            column.
        effects: what befalls programmed chips: none (default), drift:time=3600, 'stuck:chen2015 +
            read:relative=0.01', ...
        peripheries: round the arrays, tiles, converters, wires: none (default), isaac, rows=64,adc_bits=6, ...
        train_range: of forwards in training (default: that of the chips).
        train_effects: that noisy forwards in training meet, e.g. drift:time=3600 (default: none).
        deployments: what is done to each chip, of `nvlib.DEPLOYMENTS` (default: none).
        parameters: of methods, by name.
        deployment_parameters: of deployments, by name.
        width: channels, as a multiple.
        reference: what sigma_d is relative to: full_scale or level.
        mapping: differential or signed.
        bits: of a weight (default: the network's).
        activation_bits: 0: not quantised (default: the network's).
        epochs: of a training.
        recipe: how weights are updated.
        select: which epoch is the result: last or best.
        patience: stop after so many epochs without a better one.
        target: stop at this noisy validation accuracy, in percent.
        start: hash of a training whose model all members start from (default: fresh weights).
        images: use this many images of each split (default: all).
        chips: of each evaluation.
        chip_seed: the family of chips.
        precision: of the products in training: float32, bf16, or tf32 on cuda.
        chip_precision: of evaluations (default: that of the trainings, where it pays).
        plugins: Python files that register methods of your own, nvlib.METHODS[...] = ...
    """

    network: str = "lenet"
    dataset: str = "mnist"
    methods: tuple[str, ...] = ("none", "gaussian")
    devices: tuple[str, ...] = ("rram",)
    sigma_d: Given[tuple[float, ...], None] = default(None)
    seeds: tuple[int, ...] = (0,)
    train_sigma_d: tuple[float, ...] | None = None
    train_device: str | None = None
    ranges: tuple[str, ...] = ("max",)
    effects: tuple[str, ...] = ("",)
    peripheries: tuple[str, ...] = ("",)
    train_range: str | None = None
    train_effects: str = ""
    deployments: tuple[str | None, ...] = (None,)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deployment_parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    width: float = 1.0
    reference: str = "full_scale"
    mapping: str = "differential"
    bits: int | None = None
    activation_bits: int | None = None
    epochs: int = 10
    recipe: RecipeFields = field(default_factory=RecipeFields)
    select: str = "last"
    patience: int | None = None
    target: float | None = None
    start: str | None = None
    images: int | None = None
    chips: int = 400
    chip_seed: int = 0
    precision: str = "float32"
    chip_precision: str | None = None
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClusterFields:
    """What is asked of SLURM for each job of the array.

    Attributes:
        partition: of the cluster.
        gpus: of a job; study on cuda with it.
        cpus: of a job, which are its threads.
        memory_gb: of a job; None: the cluster's default.
        minutes: of a job, after which it is requeued.
        jobs: elements of the array; None: one a training with its evaluations.
        at_once: most jobs to run at a time.
        account: to charge.
        qos: quality of service.
        constraint: on the nodes.
        setup: lines for the shell before Python, e.g. 'module load cuda'.
        extra: other options of sbatch by their long names, e.g. ``{"reservation": "lab"}``.
        requeues: how often a job may run into its time limit.
        warning: seconds before the time limit at which a job is told.
    """

    partition: str | None = None
    gpus: int = 0
    cpus: int = 1
    memory_gb: float | None = 4
    minutes: int = 60
    jobs: int | None = None
    at_once: int = 256
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    requeues: int = 10
    warning: int = 90
