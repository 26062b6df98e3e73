"""The papers' artefacts: what each claims, what is run for it, what came out, and the notebooks that show it.

A notebook chooses studies and shows them; ``preset`` decides their size. smoke: seconds, to see that everything
works. quick: real MNIST, two CPU cores, minutes. full: what ships, hours on two cores. paper: the paper's protocol
to the letter. Each file imports only from those before it:

    presets                 the presets, and what they shrink of shared studies
    printed_numbers         what the papers print, with its sources
    select                  which of the store's chips answer for an artefact: `Protocol`, `Evidence`
    deployment_analyses, deployment_analysis_runs    early stops, SWIM's curve, what limits TSB
    theory                  the Taylor analysis of trained models
    analyses                those that ship: carried out, and written to be shipped
    measures                what is measured: paired differences, widths of intervals, runs that fail to converge
    deployment_measures     of chips deployed one by one: distances to the ideal, a block's parameters, time
    trice_measures          for TRICE alone
    rules                   verdicts, from a printed number and ours with its interval
    drawing                 a figure of an artefact
    artefact                what a paper, an artefact, a claim and a notebook are
    substitutes             what stands in for a paper's network or data set: width, classes
    trice, nft, ovf, tsb    one paper each: claims, studies by preset, figures, notebook
    notebooks               those that are of no paper alone
    registry                the papers, and what follows from their records
    operating_points        at which sigma_d large networks are computed
    computation, write_studies    running studies of artefacts; writing the large ones down in studies/
    evidence                what notebooks show: the largest rows there are
    ablations               a paper's rows beside ours
    kpp_convergence         many chips on few images (trice-n)
    deployment_tables       deployed chips beside the paper's rows, and with one thing changed at a time
    open_choices            what a paper leaves open, varied where its claim does not hold
    independent_checks      the same numbers by another way
    tables                  the claims table, for the site and as CSV
    execution, notebook_html    running notebooks; one as a page of HTML
    range_table             chips by weight range: a table of our own
    training_length         percentile by length of training: another
    still_images            those that notebooks begin with

>>> from nvlib import papers
>>> papers.artefact("trice-fig7").notebook
'01_devices'
>>> papers.published("trice-table1").query("method == 'trice' and sigma_d == 0.2").value.item()
77.82
"""

from nvlib.papers.ablations import convergence, variants
from nvlib.papers.artefact import Artefact, Claim, Notebook, Paper
from nvlib.papers.computation import compute
from nvlib.papers.deployment_tables import (
    ablated,
    ablation,
    ahead,
    analysis_table,
    causes,
    converged,
    learned,
    most,
    repaired,
)
from nvlib.papers.evidence import draw, grid, origin, panels, protocols, rows
from nvlib.papers.execution import choose, clock, execute, summary
from nvlib.papers.independent_checks import agree, ekl_by_temperature, kpp_by_hand, scale_said
from nvlib.papers.kpp_convergence import many_chips, many_rows, widths
from nvlib.papers.notebooks import SHORT
from nvlib.papers.open_choices import openings
from nvlib.papers.presets import PRESETS
from nvlib.papers.printed_numbers import beside, published
from nvlib.papers.range_table import clipped_rows, range_rows
from nvlib.papers.registry import ARTEFACTS, NOTEBOOKS, PAPERS, artefact, drawings, study
from nvlib.papers.rules import RULES, VERDICTS, judge
from nvlib.papers.select import Evidence, Protocol
from nvlib.papers.tables import claims, claims_table, say, write_claims
from nvlib.papers.training_length import length_rows, length_table

__all__ = [
    "ARTEFACTS", "Artefact", "Claim", "Evidence", "NOTEBOOKS", "Notebook", "PAPERS", "PRESETS", "Paper", "Protocol",
    "RULES", "SHORT", "VERDICTS", "ablated", "ablation", "agree", "ahead", "analysis_table", "artefact", "beside",
    "causes", "choose", "claims", "claims_table", "clipped_rows", "clock", "compute", "converged", "convergence",
    "draw", "drawings", "ekl_by_temperature", "execute", "grid", "judge", "kpp_by_hand", "learned", "length_rows",
    "length_table", "many_chips",
    "many_rows", "most", "openings", "origin", "panels", "protocols", "published", "range_rows", "repaired", "rows",
    "say", "scale_said", "study", "summary", "variants", "widths", "write_claims",
]  # fmt: skip
