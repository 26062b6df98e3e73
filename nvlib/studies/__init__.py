"""What to run: a grid of trainings and evaluations, and the doing of what is missing of it.

    Study = networks' one shape x methods x devices x sigma_d x training seeds x deployments

``matched``: a model is tested at the sigma_d it was trained at (TRICE's Table I). ``swept``: models trained at
``train_sigma_d`` are tested at every sigma_d. Everything already in the store is skipped, a training goes on from its
last epoch, an evaluation from its last block; any number of processes may do so at once (`nvlib.locks`).

    study       `Study`, and the records of its runs
    files       a study in a TOML or YAML file
    checkpoint  how far a training is, in one file
    plan        what is missing, as tasks, and the plan they are done under
    perform     one task done
    runner      tasks carried out; a study in this process, with bars
    analyses    tables of stored runs, done likewise
    forecast    how long that will take, and how much memory

>>> from nvlib import studies
>>> study = studies.Study("lenet3", methods=("none",), sigma_d=(0.1, 0.2), images=50)
>>> studies.Study.of(study.record()) == study
True
"""

from nvlib.studies.files import load, read
from nvlib.studies.forecast import Forecast, estimate
from nvlib.studies.perform import model_of
from nvlib.studies.runner import run
from nvlib.studies.study import Study, device_of, numbers_of

__all__ = ["Study", "load", "read", "run", "estimate", "Forecast", "model_of", "numbers_of", "device_of"]
