"""Effects on cells: the protocol, laws against other people's numbers and closed forms, one chip at two times."""

import math
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
import torch
from cellkit import meant, programmed
from torch import nn

import nvlib
from nvlib import Crossbar, InputError, devices, effects
from nvlib.crossbar import readings
from nvlib.effects import CommonVariation, Drift, Effect, Limits, ReadNoise, Retention, StuckCells

ALL = [
    (StuckCells(0.1, 0.05), "rram"), (Drift(3600.0), "pcm"), (Drift(3600.0, law="hermes"), "rram"),
    (Drift(60.0, nu=0.05, spread=0.01), "fefet1"), (Retention(86400.0), "rram_wan2022"), (Retention(1e5), "sonos"),
    (ReadNoise(3600.0), "pcm"), (ReadNoise(0.0, law="hermes_one"), "rram"), (ReadNoise(), "sonos"),
    (ReadNoise(relative=0.05, additive=0.01), "rram"), (Limits(), "pcm"), (Limits(2.0, 20.0), "pcm"),
    (CommonVariation(0.2, 0.2, 0.2, 0.2, 3.0), "fefet1"), (CommonVariation(0.5, chains="apart"), "pcm"),
]  # fmt: skip
NAMES = [f"{effect} on {device}" for effect, device in ALL]


def net(inputs=6, outputs=5, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=False).double()


# -- the protocol ----------------------------------------------------------------------------------------------------


def check_effect(effect, device):
    """The laws of every effect: what `nvlib.Crossbar`, `nvlib.program` and records rely on."""
    assert isinstance(effect, Effect) and hash(effect) == hash(replace(effect))
    assert effects.get(str(effect)) == effect and str(effects.get(str(effect))) == str(effect)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        effect.name = "another"
    device = devices.get(device)
    assert effects.numbers(effect, device)["name"] == effect.name
    digits = torch.randint(2**device.bits, (40, 4), generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        cells = programmed(device, digits, 5, dtype=dtype)
        before = cells.programmed.clone()
        after = effect.befall(cells.programmed, cells)
        assert after.shape == before.shape and after.dtype == dtype and after.isfinite().all()
        assert torch.equal(cells.programmed, before)  # what it was given is not changed
        torch.testing.assert_close(effect.befall(cells.programmed, cells), after, rtol=0, atol=0)
        alone = programmed(device, digits, index=range(3, 4), dtype=dtype)  # a chip as alone
        torch.testing.assert_close(effect.befall(alone.programmed, alone)[0], after[3], rtol=0, atol=0)
    assert not torch.equal(after, cells.programmed)
    other = programmed(device, digits, 5, seed=1)
    assert not torch.equal(effect.befall(other.programmed, other), after)
    for mapping in ("differential", "signed"):
        crossbar = Crossbar(device, None if not device.relative else 0.1, 4, mapping=mapping, effects=(str(effect),))
        assert crossbar.effects == (effect,) and hash(crossbar) == hash(replace(crossbar))
        model = net()
        chips = nvlib.program(model, crossbar, index=range(4))
        torch.testing.assert_close(nvlib.program(model, crossbar, index=2)["weight"], chips["weight"][2],
                                   rtol=0, atol=0)  # fmt: skip
        assert not torch.equal(chips["weight"], nvlib.program(model, replace(crossbar, effects=()),
                                                              index=range(4))["weight"])  # fmt: skip


@pytest.mark.parametrize(("effect", "device"), ALL, ids=NAMES)
def test_every_effect_keeps_the_protocol(effect, device):
    check_effect(effect, device)


def test_every_kind_is_checked():
    assert {effect.name for effect, _ in ALL} == set(effects.KINDS)


@dataclass(frozen=True)
class Halved:
    """One of a user's own."""

    by: float = 2.0
    name: str = "halved"

    def befall(self, v, cells):
        return v / self.by

    def __str__(self):
        return f"halved:by={self.by:g}"


def test_an_effect_of_ones_own():
    model, crossbar = net(), Crossbar("rram", 0.2, 4)
    plain = nvlib.program(model, crossbar, index=range(3))["weight"]
    found = nvlib.program(model, replace(crossbar, effects=(Halved(),)), index=range(3))["weight"]
    torch.testing.assert_close(found, plain / 2, rtol=1e-12, atol=1e-15)
    assert effects.numbers(Halved(), crossbar.device) == {"name": "halved", "by": 2.0}


@pytest.mark.parametrize(
    ("given", "device", "said"),
    [
        ("drit:time=1", "pcm", "did you mean 'drift'"), ("drift:time", "pcm", "key=value"),
        ("drift:time=soon", "pcm", "expected a number"), ("drift:tme=1", "pcm", "did you mean 'time'"),
        ("drift:time=1,time=2", "pcm", "twice"), ("drift:time=-1", "pcm", "at least 0"),
        ("drift:time=1", "rram", "no law of its own"), ("drift:law=pcn", "rram", "pcm"),
        ("drift:nu=0.1,law=pcm", "rram", "expected one of them"), ("drift:spread=0.1", "pcm", "go with nu"),
        ("stuck", "rram", "preset"), ("stuck:chen", "rram", "chen2015"), ("stuck:hrs=0.6,lrs=0.6", "rram", "add up to"),
        ("stuck:hrs=9", "rram", "from 0 to 1"), ("retention", "sonos", "time is missing"),
        ("retention:time=1e9", "sonos", "0 to 432000"), ("retention:time=0", "rram_wan2022", "1 to 172800"),
        ("retention:time=9", "pcm", "rram_wan2022 or sonos"), ("read", "rram", "no law of its own"),
        ("read:images=0", "pcm", "at least 1"), ("read:images=2.5", "pcm", "whole number"),
        ("read:law=pcm,relative=0.1", "pcm", "expected one of them"), ("common:die=0.6,row=0.6", "rram", "add up to"),
        ("common:chains=two", "rram", "apart"), ("common:length=0", "rram", "from 1 to"),
        ("limits:low=3,high=2", "pcm", "not below"), (3, "rram", "befall"), (StuckCells, "rram", "befall"),
        (("drift:time=9", "common:die=1"), "pcm", "before 'drift'"),
        (("retention:time=0", "drift:time=9,law=pcm"), "sonos", "total ones"),
        (("retention:time=0", "common:die=0.5"), "sonos", "before 'retention'"),
    ],
)  # fmt: skip
def test_bad_effects_are_refused_in_one_line(given, device, said):
    with pytest.raises(InputError, match=said) as error:
        Crossbar(device, 1.0, effects=given)
    assert "\n" not in str(error.value)


def test_canonical_texts():
    assert str(effects.get("stuck:chen2015")) == "stuck:hrs=0.0904,lrs=0.0175"
    assert str(effects.get(" drift:time=3.6e3 , nu=0.05")) == "drift:time=3600,nu=0.05"
    assert [str(e) for e in Crossbar("pcm", None, effects=("drift:time=3600", "read")).effects] == [
        "drift:time=3600", "read:time=3600",
    ]  # fmt: skip
    for preset, (hrs, lrs, source) in effects.PRESETS.items():
        assert effects.get(f"stuck:{preset}") == StuckCells(hrs, lrs) and len(source) > 10
    assert effects.PRESETS["chen2015"][0] > effects.PRESETS["chen2015"][1]  # most stuck cells are at high resistance


# -- other people's laws (their numbers: test_truths) ------------------------------------------------------------------


def test_hermes_pieces_meet_and_are_what_was_published():
    law, read = devices.DRIFT["hermes"], devices.READ_NOISE["hermes"]
    fitted, x = effects.drift.fitted, np.array([0.5])
    assert fitted(x, law.mean, law.mean_above)[0] == pytest.approx(-0.0436 * 0.25 - 0.0126 * 0.5 + 0.0736)
    assert fitted(x, law.deviation, law.deviation_above)[0] == pytest.approx(-0.0118 * 0.25 + 0.0093 * 0.5 + 0.0073)
    for fit, above in ((law.mean, law.mean_above), (law.deviation, law.deviation_above), (read.q, read.q_above)):
        edges = above[0] * np.array([1 - 1e-9, 1 + 1e-9])
        below, beyond = fitted(edges, fit, above)
        assert below == pytest.approx(beyond, rel=0.02)  # 0.072 to 0.0720, 0.0091 to 0.0090
    q = effects.read.quotient(read, torch.tensor([0.5], dtype=torch.float64))
    assert float(q) == pytest.approx(0.0069 / 8 - 0.0280 / 4 + 0.0211 / 2 + 0.0123)


def test_sonos_by_hand():
    """CrossSim's polynomials, by Horner, of the top level after one and one and a half days."""
    device, horner = devices.get("sonos"), lambda c, x: math.fsum(each * x**i for i, each in enumerate(c))
    day1 = (1.72684e-1, 5.72552e-2, -6.85715e-4, 3.50271e-6, -9.37682e-9, 1.40575e-11, -1.19803e-14, 5.41293e-18,
            -8.85448e-22, -1.66869e-25, 5.95180e-29)  # fmt: skip
    spread, mean = effects.retention.at(device.effects.retention, device, 86400.0)
    unit = 3 / (device.levels[-1] - device.levels[0])
    assert mean[2] == pytest.approx(unit * horner(day1, device.levels[2]), rel=1e-6)
    assert spread[1] == pytest.approx(unit * 25.59102 * (1 - math.exp(-device.levels[1] / 186.85544)), rel=1e-6)
    half, _ = effects.retention.at(device.effects.retention, device, 1.5 * 86400)
    later, _ = effects.retention.at(device.effects.retention, device, 2 * 86400)
    assert half == pytest.approx([(a + b) / 2 for a, b in zip(spread, later, strict=True)])
    assert effects.retention.at(device.effects.retention, device, 0.0)[0] == pytest.approx(device.spread(), rel=1e-4)


# -- laws ------------------------------------------------------------------------------------------------------------


def test_mean_drift_is_the_closed_form():
    """exp(-mu L + sd^2 L^2 / 2) where nu is hardly folded: at the top, mu / sd = 6."""
    cells, _ = meant(25.0, 50_000)
    for time in (3600.0, 86400.0, 31536000.0):
        law = math.log1p(time / 20)
        factor = cells.conductance(Drift(time).befall(cells.programmed, cells)) / 25
        wanted = math.exp(-0.049 * law + 0.008**2 * law**2 / 2)
        assert abs(float(factor.mean()) - wanted) < 4 * float(factor.std()) / math.sqrt(50_000)


def test_drift_is_one_chip_at_two_times():
    digits = torch.arange(4).repeat(50)[:, None]
    cells = programmed("pcm", digits, 2)
    still = Drift(0.0).befall(cells.programmed, cells)
    assert torch.equal(still, cells.programmed)  # at time 0 nothing has drifted
    nu = []
    for time in (3600.0, 86400.0):
        g = cells.conductance(Drift(time).befall(cells.programmed, cells))
        nu.append(-(g / cells.conductance(cells.programmed)).log() / math.log1p(time / 20))
    torch.testing.assert_close(nu[0], nu[1], rtol=1e-9, atol=1e-12)  # the same exponents
    hour, day = (cells.conductance(Drift(t).befall(cells.programmed, cells)).abs() for t in (3600.0, 86400.0))
    assert (day <= hour).all() and (hour <= cells.conductance(cells.programmed).abs()).all()


def test_scaled_conductances_drift_alike():
    """Twice g_max with twice the levels changes nothing in level units."""
    pcm = devices.get("pcm")
    double = replace(pcm, name="double", levels=tuple(2 * g for g in pcm.levels),
                     deviation=tuple(2 * d for d in pcm.deviation))  # fmt: skip
    for effect in (Drift(3600.0), ReadNoise(3600.0)):
        a, b = (programmed(d, torch.arange(4)[:, None]) for d in (pcm, double))
        torch.testing.assert_close(effect.befall(a.programmed, a), effect.befall(b.programmed, b), rtol=1e-9, atol=1e-9)


def test_retention_keeps_each_cells_luck_and_has_the_measured_spread():
    device = devices.get("rram_wan2022")
    cells = programmed(device, torch.arange(4).repeat(5000)[:, None], 4)
    z = (cells.programmed - cells.level) / cells.spread
    first = Retention(1.0).befall(cells.programmed, cells)
    torch.testing.assert_close(first, cells.programmed, rtol=1e-9, atol=1e-9)  # 1 s is how it was programmed
    for time, row in zip(device.effects.retention.times, device.effects.retention.deviation, strict=True):
        off = cells.conductance(Retention(time).befall(cells.programmed, cells)) - cells.conductance(cells.level)
        torch.testing.assert_close(off, z * torch.tensor(row)[cells.digit], rtol=1e-6, atol=1e-9)
    spread = effects.retention.at(device.effects.retention, device, math.sqrt(86400.0))[0]  # halfway in log t
    ends = [effects.retention.at(device.effects.retention, device, t)[0] for t in (1.0, 86400.0)]
    assert spread == pytest.approx([(a + b) / 2 for a, b in zip(*ends, strict=True)])


def weights_of(crossbar, w, chips):
    """Weights of many chips of one matrix, float64, and the step."""
    model = nn.Linear(w.shape[1], w.shape[0], bias=False).double()
    with torch.no_grad():
        model.weight.copy_(w)
    return nvlib.program(model, crossbar, index=range(chips))["weight"]


@pytest.mark.parametrize("mapping", ["differential", "signed"])
def test_stuck_cells_in_closed_form(mapping):
    """E w' = (1 - p_h - p_l) w, and p_l (2^M - 1) steps in the direction of the sign where signed; and the variance."""
    hrs, lrs, n, top = 0.09, 0.03, 4000, 15
    w = torch.tensor([[1.0, -1.0, 0.4, -0.2, 0.0]]).double()
    found = weights_of(Crossbar("rram", 0.0, 4, mapping=mapping, effects=StuckCells(hrs, lrs)), w, n)[:, 0]
    digits = (w[0].abs() * top).round().long()
    clean = torch.sign(w[0]) * digits / top
    bias = torch.where(w[0] < 0, -1.0, 1.0) * (lrs if mapping == "signed" else 0.0)
    wanted = (1 - hrs - lrs) * clean + bias
    each = []
    for d in digits.tolist():
        chain = [d % 4, d // 4] + ([0, 0] if mapping == "differential" else [])
        weight = [1, 4] * (2 if mapping == "differential" else 1)
        means = [(1 - hrs - lrs) * v + lrs * 3 for v in chain]
        squares = [(1 - hrs - lrs) * v**2 + lrs * 9 for v in chain]
        each.append(sum(k**2 * (s - m**2) for k, m, s in zip(weight, means, squares, strict=True)))
    deviation = torch.tensor(each).double().sqrt() / top
    assert ((found.mean(0) - wanted).abs() < 4 * deviation / math.sqrt(n)).all()
    square = (found - wanted) ** 2  # rare and large: its own standard error
    assert ((square.mean(0) - deviation**2).abs() < 4 * square.std(0) / math.sqrt(n)).all()


def test_a_chip_with_more_stuck_cells_has_the_same_ones_stuck():
    model = net(30, 20)
    few, more = (nvlib.program(model, Crossbar("rram", 0.1, 4, effects=StuckCells(p, p / 2)), index=range(2))["weight"]
                 for p in (0.05, 0.1))  # fmt: skip
    plain = nvlib.program(model, Crossbar("rram", 0.1, 4), index=range(2))["weight"]
    touched = few != plain
    assert touched.any() and (more != plain)[touched].all() and (more != plain).sum() > touched.sum()


CASES = [(device, mapping, chains) for device in ("rram", "fefet1") for mapping, chains in
         (("signed", "one"), ("differential", "one"), ("differential", "apart"))]  # fmt: skip


@pytest.mark.parametrize(("device", "mapping", "chains"), CASES)
@pytest.mark.parametrize("share", ["die", "row", "column", "field"])
def test_common_variation_in_closed_form(device, mapping, chains, share):
    rho, n, bits = 0.6, 3000, 4
    w = torch.tensor([[1.0, 0.4], [-0.4, -1.0]]).double()
    crossbar = Crossbar(device, 0.1, bits, mapping=mapping)
    common = CommonVariation(**{share: rho}, chains=chains, length=2.0)
    found = weights_of(replace(crossbar, effects=common), w, n)
    off = found - weights_of(replace(crossbar, sigma_d=0.0), w, 1)
    spread = devices.get(device).spread(0.1)
    for place in ((0, 0), (0, 1), (1, 0)):
        d = int((w[place].abs() * 15).round())
        b = [spread[d % 4], 4 * spread[d // 4]]
        idle = [spread[0], 4 * spread[0]] if mapping == "differential" else [0.0, 0.0]
        own = sum(x**2 for x in b + idle)
        both = (sum(b) - sum(idle)) ** 2 if chains == "one" else sum(b) ** 2 + sum(idle) ** 2
        wanted = ((1 - rho) * own + rho * both) / 15**2
        assert float(off[(slice(None), *place)].var()) == pytest.approx(wanted, rel=4 * math.sqrt(2 / n))
    if device == "rram" and mapping == "differential" and chains == "one":
        wanted = (1 - rho) * off.shape[1]  # levels that stray alike cancel what is common: only the rest is left
        plain = weights_of(crossbar, w, n) - weights_of(replace(crossbar, sigma_d=0.0), w, 1)
        torch.testing.assert_close(off, math.sqrt(1 - rho) * plain, rtol=1e-6, atol=1e-9)


def test_the_variance_of_a_cell_stays_and_what_is_shared_is_shared():
    shape, n = torch.Size([6, 8]), 4000
    digits = torch.full((48, 1), 2)
    cells = programmed("fefet1", digits, n, shape=shape, chains=1)
    for share, equal in (("die", None), ("row", 0), ("column", 1), ("field", ())):
        common = CommonVariation(**{share: 1.0}, length=3.0)
        z = ((common.befall(cells.programmed, cells) - cells.level) / cells.spread)[..., 0].view(n, 6, 8)
        assert ((z.var(0) - 1).abs() < 6 * math.sqrt(2 / n)).all()
        if share != "field":
            along = z.flatten(1) if share == "die" else z.flatten(0, 0).movedim(1 + equal, -1)
            torch.testing.assert_close(along, along[..., :1].expand_as(along), rtol=1e-9, atol=1e-9)
        else:
            for down, across in ((0, 1), (2, 0), (3, 4)):
                seen = float((z[:, 1, 2] * z[:, 1 + down, 2 + across]).mean())
                wanted = math.exp(-(down**2 + across**2) / (2 * 3.0**2))
                assert abs(seen - wanted) < 5 * math.sqrt(2 / n)
    half = CommonVariation(die=0.5).befall(cells.programmed, cells)
    assert float(((half - cells.level) / cells.spread).var(0).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("device", "mapping", "chains"), CASES)
def test_common_variation_of_whole_weights_is_that_of_their_cells(device, mapping, chains):
    """The fast law and the cells' are one chip: a second effect that does nothing makes cells of it."""
    model = net(6, 5)
    common = CommonVariation(0.1, 0.2, 0.3, 0.2, 3.0, chains)
    for sigma_d in (0.2, 0.0):
        crossbar = Crossbar(device, sigma_d, 4, mapping=mapping, range="deviations:2/channel")
        fast, slow = (nvlib.program(model, replace(crossbar, effects=e), index=range(3))["weight"]
                      for e in ((common,), (common, StuckCells())))  # fmt: skip
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
        assert not sigma_d or not torch.allclose(
            fast, nvlib.program(model, crossbar, index=range(3))["weight"], atol=1e-4
        )


def test_the_field_is_the_gaussian_kernel_to_six_digits():
    for length in (1.0, 3.0, 20.0):
        a = effects.common.bumps(50, length)
        d = torch.arange(50).double()
        torch.testing.assert_close(a @ a.T, torch.exp(-((d[:, None] - d) ** 2) / (2 * length**2)), rtol=0, atol=2e-6)


def test_a_die_is_one_for_all_layers_and_another_for_another_chip():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        for part in model:
            part.weight.fill_(1.0)
    found = nvlib.program(model, Crossbar("rram", 0.1, 4, mapping="signed", effects="common:die=1"), index=range(3))
    for i in range(3):
        both = torch.cat([found[name][i].flatten() for name in found])
        torch.testing.assert_close(both, both[:1].expand_as(both), rtol=1e-9, atol=1e-12)
    assert len({round(float(found["0.weight"][i, 0, 0]), 9) for i in range(3)}) == 3


def test_read_noise_is_another_one_each_time_and_adds_as_it_says():
    model = net(40, 50)
    crossbar = Crossbar("rram", 0.1, 4, mapping="signed", effects=ReadNoise(additive=0.02))
    read = readings(model, crossbar, seed=0, index=range(2))
    first, second = next(read)["weight"], next(read)["weight"]
    torch.testing.assert_close(first, nvlib.program(model, crossbar, index=range(2))["weight"], rtol=0, atol=0)
    plain = nvlib.program(model, replace(crossbar, effects=()), index=range(2))["weight"]
    step = float(model.weight.detach().abs().max()) / 15
    wanted = 0.02 * 3 * math.sqrt(17) * step
    for off in (first - plain, second - plain):
        assert float(off.std()) == pytest.approx(wanted, rel=4 / math.sqrt(2 * off.numel()))
    assert abs(np.corrcoef((first - plain).flatten(), (second - plain).flatten())[0, 1]) < 4 / math.sqrt(4000)


def test_limits_stop_cells_and_order_counts():
    cells = programmed("pcm", torch.arange(4).repeat(100)[:, None], 3)
    g = cells.conductance(Limits().befall(cells.programmed, cells))
    assert float(g.min()) == pytest.approx(0, abs=1e-12) and (g > 25).any()
    assert (cells.conductance(cells.programmed) < 0).any()
    own = replace(devices.get("pcm"), effects={"limits": [0.0, 25.0]})
    cells = programmed(own, torch.arange(4).repeat(100)[:, None], 3)
    assert float(cells.conductance(Limits().befall(cells.programmed, cells)).max()) == pytest.approx(25)
    model, stuck, drift = net(), StuckCells(0.2, 0.2), Drift(1e6)
    a, b = (nvlib.program(model, Crossbar("pcm", None, 4, effects=order), index=range(2))["weight"]
            for order in ((stuck, drift), (drift, stuck)))  # fmt: skip
    assert not torch.allclose(a, b)  # a cell that is stuck drifts, one that drifts is stuck at the level itself


# -- the chip is the chip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", ["differential", "signed"])
@pytest.mark.parametrize("device", ["rram", "fefet1", "pcm"])
def test_an_effect_that_does_nothing_leaves_every_bit(device, mapping):
    model = net().float()
    crossbar = Crossbar(device, 1.0 if device == "pcm" else 0.3, 4, mapping=mapping, range="deviations:2/channel")
    plain = nvlib.program(model, crossbar, index=range(5))["weight"]
    for nothing in (Drift(0.0, law="pcm"), StuckCells(), CommonVariation()):
        found = nvlib.program(model, replace(crossbar, effects=nothing), index=range(5))["weight"]
        assert torch.equal(found, plain)


@pytest.mark.parametrize("mapping", ["differential", "signed"])
def test_cells_add_up_to_the_chip(mapping):
    """Cells read back by hand are the weights that programming drew, and those that write-verify sees."""
    from nvlib.cells import Chips, cells_of

    model = net(7, 9)
    w = model.weight.detach()[None]
    crossbar = Crossbar("fefet1", 0.2, 4, mapping=mapping, effects=Drift(0.0, nu=0.0)).on(model)
    held = nvlib.program(model, replace(crossbar, effects=()), index=range(3))["weight"]
    z = nvlib.philox.normal(0, range(3), "program/weight", w.numel()).view(3, *w.shape[1:])
    chips = Chips(held, w, crossbar, z, seed=0, index=range(3), name="weight")
    cells = chips._programmed(slice(0, 3))
    sign = torch.where(w < 0, -1.0, 1.0).double().flatten()
    each = torch.tensor([1.0, 4.0] + ([-1.0, -4.0] if mapping == "differential" else [])).double()
    step = float(w.abs().max()) / 15
    torch.testing.assert_close((cells.programmed @ each) * sign * step, held.flatten(1), rtol=1e-9, atol=1e-12)
    spread = cells_of(w[0], crossbar)
    total = (held - nvlib.program(model, replace(crossbar, sigma_d=0.0, effects=()))["weight"]).flatten(1) / step
    seen = spread.draw(total, 0, range(3), "weight")  # along the weight
    mine = (cells.programmed - cells.level) * each * sign[:, None]
    torch.testing.assert_close(mine, seen, rtol=1e-9, atol=1e-9)


def test_effects_are_reached_whatever_the_chunk_and_the_rest_of_the_block(monkeypatch):
    from nvlib import cells

    model = net(20, 30).float()
    crossbar = Crossbar("pcm", None, 4, effects=("stuck:chen2015", "drift:time=3600", "read"))
    whole = nvlib.program(model, crossbar, index=range(6))["weight"]
    monkeypatch.setattr(cells, "_AT_ONCE", 5000)
    assert torch.equal(nvlib.program(model, crossbar, index=range(6))["weight"], whole)
    assert torch.equal(nvlib.program(model, crossbar, index=range(3, 5))["weight"], whole[3:5])
    monkeypatch.setattr(cells, "_KEPT", 0)  # too large to be kept between readings
    read, again = (readings(model, crossbar, seed=0, index=range(6)) for _ in range(2))
    assert torch.equal(next(read)["weight"], whole) and torch.equal(next(again)["weight"], whole)
    monkeypatch.undo()
    kept = readings(model, crossbar, seed=0, index=range(6))
    next(kept)
    assert torch.equal(next(kept)["weight"], next(read)["weight"])


def test_device_numbers_know_nothing_of_effects_and_files_keep_them(tmp_path):
    bare = replace(devices.get("sonos"), effects=None)
    assert devices.get("sonos").numbers() == bare.numbers()
    laws = replace(devices.get("sonos").effects, limits=(0.0, 1800.0))
    mine = replace(devices.get("sonos"), name="mine", effects=laws)
    for suffix in (".toml", ".csv"):
        assert devices.load(devices.save(mine, tmp_path / f"mine{suffix}")) == mine
    assert effects.numbers(Retention(1e5), mine) == effects.numbers(Retention(1e5), devices.get("sonos"))
    path = tmp_path / "other.toml"
    path.write_text('name = "x"\nbits = 1\nlevels = [0, 1]\ndeviation = [1, 1]\nunit = "uS"\nrelative = false\n'
                    "[effects.drift]\nt_0 = 20\n")  # fmt: skip
    with pytest.raises(InputError, match="drift has t_0; expected") as error:
        devices.load(path)
    assert "\n" not in str(error.value)
