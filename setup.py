"""What pyproject.toml cannot say: the small shipped results lie in results/, and go into the wheel as package data.

Of every study its records and tables; weights of `WITH_WEIGHTS` alone, which the README's examples read. SHA256SUMS
lists what is in the wheel, so that `nvlib results verify` finds every file of it, and none missing.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WITH_WEIGHTS = ("lenet-mnist",)
INTO = "nvlib/_data/results"


class BuildWithResults(build_py):
    """Copy shipped results beside the modules; an editable install reads them where they lie."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, target in self._results():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            for sums in Path("results").glob("*/SHA256SUMS"):
                self._sums(sums, Path(self.build_lib, INTO, sums.parent.name))

    def get_outputs(self, include_bytecode=True):
        made = [] if self.editable_mode else [str(target) for _, target in self._results()]
        return [*super().get_outputs(include_bytecode), *made]

    def _results(self):
        for source in sorted(Path("results").glob("*/**/*")):
            study = source.relative_to("results").parts[0]
            wanted = source.suffix in (".parquet", ".json") or source.name == "SHA256SUMS"
            if source.is_file() and (wanted or (source.suffix == ".safetensors" and study in WITH_WEIGHTS)):
                yield source, Path(self.build_lib, INTO, source.relative_to("results"))

    def _sums(self, source, folder):
        lines = source.read_text().splitlines(keepends=True)
        here = [line for line in lines if (folder / line.split(maxsplit=1)[1].strip()).is_file()]
        (folder / source.name).write_text("".join(here))


setup(cmdclass={"build_py": BuildWithResults})
