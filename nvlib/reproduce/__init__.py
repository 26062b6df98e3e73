"""The papers' artefacts: what each claims, what is run for it, what came out, and the notebooks that show it.

A notebook chooses studies and shows them; ``preset`` decides their size. smoke: seconds, to see that everything
works. quick: real MNIST, two CPU cores, minutes. full: one GPU, or what ships. paper: the paper's protocol to the
letter. Each file imports only from those before it:

    printed      the numbers the papers print, with their sources
    query        which of the store's chips answer for an artefact
    onchip, pieces, making    tables of programmed chips that ship: early stops, SWIM's curve, what limits TSB
    measures     what is measured of them: paired differences, widths of intervals, runs that fail to converge
    mended       and of chips mended one by one: distances to the ideal, a block's parameters, time
    rules        verdicts, from a printed number and ours with its interval
    record       what an artefact and a claim are
    trice, nft, tsb, artefacts    every artefact of the four papers with its claims
    presets      the studies behind each at smoke, quick, full, paper
    work         running them                shown       what notebooks show: the largest rows there are
    variants     ablations: a paper's rows beside ours          wide    many chips on few images (trice-n)
    repaired     mended chips beside the paper's rows, and with one thing changed at a time
    choices      what a paper leaves open, varied where its claim does not hold
    checks       the same numbers by another way
    tables       the claims table, for the README and as CSV
    notebooks, page, executor     which notebook makes what; one as a page of HTML; running them
    drawing, gallery    the figures of each artefact    pictures     the stills that notebooks begin with
"""

from nvlib.reproduce import onchip
from nvlib.reproduce.artefacts import ARTEFACTS, artefact
from nvlib.reproduce.checks import agree, ekl_by_temperature, kpp_by_hand, scale_said
from nvlib.reproduce.choices import openings
from nvlib.reproduce.executor import clock, execute
from nvlib.reproduce.gallery import drawings
from nvlib.reproduce.notebooks import NOTEBOOKS, SHORT, Notebook, choose
from nvlib.reproduce.presets import PRESETS, study
from nvlib.reproduce.printed import beside, published
from nvlib.reproduce.query import Results, Setting
from nvlib.reproduce.record import Artefact, Claim
from nvlib.reproduce.repaired import ablated, ablation, ahead, causes, converged, learned, most, repaired
from nvlib.reproduce.rules import RULES, VERDICTS, judge
from nvlib.reproduce.shown import draw, grid, origin, protocols, rows
from nvlib.reproduce.tables import claims, claims_table, say, write_claims
from nvlib.reproduce.variants import convergence, variants
from nvlib.reproduce.wide import many_chips, widths
from nvlib.reproduce.work import compute

__all__ = [
    "ARTEFACTS", "NOTEBOOKS", "PRESETS", "RULES", "SHORT", "VERDICTS", "Artefact", "Claim", "Notebook", "Results",
    "Setting", "ablated", "ablation", "agree", "ahead", "artefact", "beside", "causes", "choose", "claims",
    "claims_table", "clock", "compute", "converged", "convergence", "draw", "drawings", "ekl_by_temperature", "execute",
    "grid", "judge", "kpp_by_hand", "learned", "many_chips", "most", "onchip", "openings", "origin", "protocols",
    "published", "repaired", "rows", "say", "scale_said", "study", "variants", "widths", "write_claims",
]  # fmt: skip
