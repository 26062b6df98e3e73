"""The papers' artefacts: what each claims, what is run for it, what came out, and the notebooks that show it.

A notebook chooses studies and shows them; ``preset`` decides their size. smoke: seconds, to see that everything
works. quick: real MNIST, two CPU cores, minutes. full: what ships, hours on two cores. paper: the paper's protocol
to the letter. Each file imports only from those before it:

    printed_numbers         what the papers print, with its sources
    select                  which of the store's chips answer for an artefact: `Protocol`, `Evidence`
    onchip, pieces, making  tables of programmed chips that ship: early stops, SWIM's curve, what limits TSB
    measures                what is measured: paired differences, widths of intervals, runs that fail to converge
    deployment_measures     of chips deployed one by one: distances to the ideal, a block's parameters, time
    rules                   verdicts, from a printed number and ours with its interval
    artefact                what an artefact and a claim are
    substitutes             what stands in for a paper's network or data set: width, classes
    trice, nft, tsb, registry    every artefact of the four papers with its claims
    presets, operating_points    the studies behind each at smoke, quick, full, paper; at which sigma_d large ones are
    computation, write_studies   running them; writing the large ones down in studies/
    evidence                what notebooks show: the largest rows there are
    ablations               a paper's rows beside ours
    kpp_convergence         many chips on few images (trice-n)
    deployment_tables       deployed chips beside the paper's rows, and with one thing changed at a time
    open_choices            what a paper leaves open, varied where its claim does not hold
    independent_checks      the same numbers by another way
    tables                  the claims table, for the README and as CSV
    notebooks, notebook_html, executor    which notebook makes what; one as a page of HTML; running them
    drawing, gallery        the figures of each artefact
    still_images            those that notebooks begin with
"""

from nvlib.papers import onchip
from nvlib.papers.ablations import convergence, variants
from nvlib.papers.artefact import Artefact, Claim
from nvlib.papers.computation import compute
from nvlib.papers.deployment_tables import ablated, ablation, ahead, causes, converged, learned, most, repaired
from nvlib.papers.evidence import draw, grid, origin, panels, protocols, rows
from nvlib.papers.executor import clock, execute
from nvlib.papers.gallery import drawings
from nvlib.papers.independent_checks import agree, ekl_by_temperature, kpp_by_hand, scale_said
from nvlib.papers.kpp_convergence import many_chips, widths
from nvlib.papers.notebooks import NOTEBOOKS, SHORT, Notebook, choose
from nvlib.papers.open_choices import openings
from nvlib.papers.presets import PRESETS, study
from nvlib.papers.printed_numbers import beside, published
from nvlib.papers.registry import ARTEFACTS, artefact
from nvlib.papers.rules import RULES, VERDICTS, judge
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.tables import claims, claims_table, say, write_claims

__all__ = [
    "ARTEFACTS", "NOTEBOOKS", "PRESETS", "RULES", "SHORT", "VERDICTS", "Artefact", "Claim", "Notebook", "Evidence",
    "Protocol", "ablated", "ablation", "agree", "ahead", "artefact", "beside", "causes", "choose", "claims",
    "claims_table", "clock", "compute", "converged", "convergence", "draw", "drawings", "ekl_by_temperature", "execute",
    "grid", "judge", "kpp_by_hand", "learned", "many_chips", "most", "onchip", "openings", "origin", "panels",
    "protocols", "published", "repaired", "rows", "say", "scale_said", "study", "variants", "widths", "write_claims",
]  # fmt: skip
