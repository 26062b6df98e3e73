"""TSB, the tiny shared block: one small 1x1 convolution that mends the features of one programmed chip.

Stage two of TSB Algorithm 1, by noise injection (its Algorithm 2, second half):

    insert f(.; W) after each convolution, W <- identity                    (Eqs. 2-4: `nvlib.deploy.block`)
    repeat:   dW ~ the verified device,   loss = CrossEntropy(M(w_chip, W + dW, x), GT),
              W <- W - alpha d loss / d(W + dW)                             w_chip: frozen, with its noise
    write W to cells with verification; infer with w_chip fixed, dW redrawn.

Source: Qin, Yan, Pan, Wen, Hu, Shi, "TSB: Tiny Shared Block for Efficient DNN Deployment on NVCIM Accelerators", arXiv
2406.06544. Symbols: ``channels`` c of the block, ``places`` where it stands, ``layers`` how many convolutions it is
made of, ``sigma`` the verified cells' deviation, ``lr`` alpha.

The paper's presets: c = 5, 128, 128 and alpha = 1e-3, 1e-4, 1e-3 for LeNet-3, VGG-8, ResNet-18; after each convolution
and before normalisation, ResNet-18 after each basic block. With ``width`` the channels scale as the network's do.

Deviations from the paper: the sigma of verified devices is missing in the text at hand; 0.03 is what SWIM's authors
use. Several layers have no activation between them (it says nothing). Where fewer places than all are asked for
(``insertions``), they are the first ones from the input (it says nothing). Normalisation's statistics stay frozen. By
default a part of the training images is used, without augmentation; Adam and cosine are assumed.

A block after a plain convolution is one convolution with it, so that chips are scored as the same module with other
weights; in training that is done where it is the cheaper way, and what is frozen before the first place is kept where
not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from nvlib import clock, models, philox, population
from nvlib.crossbar import array_weights, read_back
from nvlib.deploy import feature_cache
from nvlib.deploy.block import Attached, attached, foldable, folded, known
from nvlib.deploy.context import Context, Outcome, Stage, Trained, finish
from nvlib.deploy.finetune import Schedule, tune
from nvlib.deploy.last_layers import check_redraws
from nvlib.deploy.verify_model import Verification, check_verification
from nvlib.errors import InputError, unknown, whole_field
from nvlib.methods.recipe import Recipe

INITS = ("identity", "ordinary")
_MOVING = 60  # products in the time that a feature of a block run by itself takes to be written and read, on a CPU


@dataclass(frozen=True)
class TinySharedBlock(Trained):
    """One shared block after each of the named layers, trained for each chip.

    Attributes:
        channels: c; None: the paper's for the network.
        places: layers after which it stands; None: the paper's for the network.
        insertions: how many of the places, from the input on; None: all.
        layers: convolutions in the block.
        init: ``identity``, or ``ordinary``: as `nn.Conv2d` starts, U(-1/sqrt(c), 1/sqrt(c)).
        sigma: deviation of the block's verified cells, in the unit of sigma_d (never above sigma_d).
        epochs: passes over the images.
        images: of the training split; None: all.
        lr: None: the paper's for the network (1e-3 for another).
        batch_size, schedule, optimiser: of the recipe.
        redraws: how often the block's noise is drawn for the scores, which are means over the draws.
        fold: train the block multiplied into its convolutions; None: where that is cheaper.
    """

    channels: int | None = None
    places: tuple[str, ...] | None = None
    insertions: int | None = None
    layers: int = 1
    init: str = "identity"
    sigma: float = 0.03
    epochs: int = 10
    images: int | None = 10_000
    lr: float | None = None
    batch_size: int = 128
    schedule: str = "cosine"
    optimiser: str = "adam"
    redraws: int = 5
    fold: bool | None = None
    name: ClassVar[str] = "tsb"

    def __post_init__(self) -> None:
        """Refuse values that make no block."""
        if self.places is not None:
            object.__setattr__(self, "places", tuple(self.places))
        if self.init not in INITS:
            raise unknown("initialisation of the block", self.init, INITS)
        for key in ("channels", "insertions", "layers"):
            whole_field(self, key, 1, optional=key != "layers")
        check_verification(self.sigma, None, 1)
        check_redraws(self.redraws)
        self.training(nn.Identity())

    # -- what the paper leaves to the network ------------------------------------------------------------------------

    def training(self, model: nn.Module) -> Schedule:
        """Return how much is trained, and by which recipe."""
        lr = (1e-4 if isinstance(model, models.VGG8) else 1e-3) if self.lr is None else self.lr
        return Schedule(self.epochs, self.images, Recipe(self.optimiser, lr, self.schedule, self.batch_size))

    def width(self, model: nn.Module) -> int:
        """Return the channels of the block: 5 for LeNet-3, 128 for VGG-8 and ResNet-18, at full width."""
        if self.channels is not None:
            return self.channels
        if isinstance(model, models.LeNet3 | models.LeNet):
            return _channels(model, "conv1")
        if isinstance(model, models.VGG8):
            return _channels(model, "conv2")
        if isinstance(model, models.ResNet18):
            return 2 * _channels(model, "conv1")
        raise InputError(f"tsb does not know how many channels suit {type(model).__name__}; pass channels=")

    def standing(self, model: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers after which the block stands."""
        places = self.places
        if places is None and isinstance(model, models.LeNet3 | models.LeNet):
            places = ("conv1", "conv2")
        elif places is None and isinstance(model, models.VGG8):
            places = tuple(f"conv{i}" for i in range(1, 7))
        elif places is None and isinstance(model, models.ResNet18):
            places = tuple(f"layer{i}.{j}" for i in range(1, 5) for j in range(2))
        elif places is None:
            raise InputError(
                f"tsb does not know where it belongs in {type(model).__name__}; name the layers after which it "
                "stands: places=('conv1', ...), from model.named_modules()"
            )
        if self.insertions is not None and self.insertions > len(places):
            raise InputError(f"insertions={self.insertions} is more than the {len(places)} places {', '.join(places)}")
        known(model, places)
        return places[: self.insertions]

    def weights(self, model: nn.Module) -> int:
        """Return how many weights the block has."""
        return self.layers * self.width(model) ** 2

    def share(self, model: nn.Module) -> float:
        """Return the block's weights in percent of the model's weights on arrays."""
        own = dict(model.named_parameters())
        return 100 * self.weights(model) / sum(own[name].numel() for name in array_weights(model, warn=False))

    # -- training ----------------------------------------------------------------------------------------------------

    def initial(self, model: nn.Module, seed: int, index: range) -> list[Tensor]:
        """Return the block's initial weights, a row a chip: layers of (chips, c, c)."""
        like, c = next(model.parameters()), self.width(model)
        made = []
        for layer in range(self.layers):
            if self.init == "identity":
                w = torch.eye(c, dtype=like.dtype, device=like.device).expand(len(index), c, c).clone()
            else:
                u = philox.uniform(seed, index, f"tsb/init/{layer}", c * c, like.device)
                w = ((2 * u - 1) / math.sqrt(c)).to(like.dtype).view(-1, c, c)
            made.append(w)
        return made

    def placed(
        self, model: nn.Module, chips: Mapping[str, Tensor], block: list[Tensor]
    ) -> dict[str, Tensor]:  # fmt: skip
        """Return chips with the block multiplied into the convolutions before it (and into their biases)."""
        out, own = dict(chips), dict(model.named_parameters())
        for place in self.standing(model):
            for leaf in ("weight", "bias"):
                name = f"{place}.{leaf}"
                if name in own:
                    w = out.get(name, own[name].detach().unsqueeze(0).expand(len(block[0]), *own[name].shape))
                    out[name] = folded(w, block)
        return out

    def _cheaper_folded(self, model: nn.Module, context: Context) -> bool:
        """Whether training is cheaper with the block multiplied in: a weight gradient each, against three products."""
        places = self.standing(model)
        if not foldable(model, places):
            return False
        if self.fold is not None:
            return self.fold
        if context.train.x.is_cuda:
            return False
        inner = sum(model.get_parameter(f"{p}.weight").numel() for p in places)
        each = self.layers * (3 * self.width(model) + _MOVING)
        return inner < each * sum(_channels(model, p) for p in places)

    def _cut(self, context: Context) -> tuple[bool, feature_cache.Cut]:
        fold = self._cheaper_folded(context.model, context)
        places = self.standing(context.model)
        if fold:
            trained = [f"{p}.{leaf}" for p in places for leaf in ("weight", "bias")]
            return True, feature_cache.cut(context.model, context.train.x, trained)
        one = [w[0] for w in self.initial(context.model, 0, range(1))]
        module = Attached(context.model, places, one)
        return False, feature_cache.cut(module, context.train.x, [f"block.{i}" for i in range(self.layers)])

    def chips_at_once(self, context: Context) -> int:
        """Return how many chips' frozen features fit in memory."""
        images = self.training(context.model).count(len(context.train.y))
        return feature_cache.room(self._cut(context)[1], images, context.train.x)

    def stages(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Iterator[Stage]:
        """Train the blocks of some chips; yields after each epoch."""
        schedule, places = self.training(context.model), self.standing(context.model)
        n = schedule.count(len(context.train.y))
        began = clock.seconds()
        fold, cut = self._cut(context)
        chips = dict(chips)
        named = chips if fold else attached(chips, [])
        x, shared = cut.border(named, context.train.x[:n]), cut.shared(named)
        prepared = clock.seconds() - began
        trained = {str(i): w.requires_grad_() for i, w in enumerate(self.initial(context.model, context.seed, index))}

        def perturbed(stream: str) -> list[Tensor]:
            held = []
            for i, w in trained.items():
                z = philox.normal(context.seed, index, f"tsb/{stream}/{i}", w[0].numel(), w.device)
                z = z.to(w.dtype).view_as(w)
                held.append(read_back(w, context.crossbar, z, min(self.sigma, context.sigma_d)))
            return held

        def weights(block: list[Tensor], folds: bool) -> dict[str, Tensor]:
            return self.placed(context.model, chips, block) if folds else attached(chips, block)

        def logits(step: int, take: Tensor) -> Tensor:
            own = feature_cache.known(cut.tail, weights(perturbed(f"train/{step}"), fold))
            return population.forward(cut.tail, own, x[take] if shared else x[:, take], per_member=not shared)

        whole = foldable(context.model, places)
        runs = context.model if whole else Attached(context.model, places, [w[0].detach() for w in trained.values()])

        @torch.no_grad()
        def held(draw: int) -> tuple[nn.Module, dict[str, Tensor]]:
            return runs, weights([w.detach() for w in perturbed(f"write/{draw}")], whole)

        for tuned in tune(trained, logits, context.train.y[:n], schedule, context.seed, prepared):
            yield Stage(tuned, held, {f"block.{i}": w.detach() for i, w in trained.items()})

    # -- deployment --------------------------------------------------------------------------------------------------

    @property
    def sets(self) -> int:
        """Return how many weight sets are scored for a chip."""
        return 1 + self.redraws

    def check(self, model: nn.Module) -> None:
        """Refuse a network that the block does not fit."""
        self.standing(model), self.width(model)

    def left(self, context: Context, index: range, chips: Mapping[str, Tensor]) -> Outcome:
        """Train, write with verification, and score a block of chips."""
        *_, last = self.stages(context, index, chips)
        how = Verification.of(context.crossbar, sigma=self.sigma, process=False)
        added = context.count(self.weights(context.model))
        pulses = context.cells + how.written(context, last.arrays)
        draws = 1 if context.sigma_d == 0 else self.redraws
        return finish(context, last, draws, verified=added, pulses=pulses, added=added)


def _channels(model: nn.Module, place: str) -> int:
    """Return the output channels of a convolution."""
    return cast(nn.Conv2d, model.get_submodule(place)).out_channels
