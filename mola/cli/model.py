"""``mola export`` and ``mola predict``: a trained model in use."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from mola.cli.common import DEFAULT, load_suite, write_file
from mola.spreadsheets import no_formula
from mola.types import BadInput, shown

Run = Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder of a run, …/seed0; or -b and -m instead.")]
Suite = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration of the suite; its methods, too.")
]
Benchmark = Annotated[str | None, typer.Option("--benchmark", "-b", metavar="LABEL", help="With -m, in place of RUN.")]
Method = Annotated[str | None, typer.Option("--method", "-m", metavar="LABEL", help="With -b, in place of RUN.")]
Seed = Annotated[int | None, typer.Option("--seed", "-s", metavar="K", help="Default: the suite's first.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder.")]
Onnx = Annotated[bool, typer.Option("--onnx", help="Also as ONNX; needs mola-bench[onnx].")]
TorchExport = Annotated[bool, typer.Option("--torch-export", help="Also as a program of torch.export.")]


def export(
    run: Run = None,
    config: Suite = None,
    benchmark: Benchmark = None,
    method: Method = None,
    seed: Seed = None,
    output: Output = None,
    onnx: Onnx = False,
    torch_export: TorchExport = False,
) -> None:
    """Write the model of a run with kept weights into a folder: safetensors, config.json and a model card.

    Where each task of the method is a plain network, its adapters are merged: a timm model for each task. Else the
    method is stored as it was trained. mola.load_model reads both. Weights are kept where the suite says keep: best, or
    by mola train --keep. Default of -o: exported/<benchmark>.<method>.seed<k>.

    Examples: mola export results/embedded/digits/mola_grad/seed0; mola export -b digits -m mola_grad --onnx -o model
    """
    folder = _run_folder(run, config, benchmark, method, seed)
    from mola.deployment.export import export as write
    from mola.deployment.run import kept_run

    kept = kept_run(folder)
    record = kept.record
    target = output or Path("exported", f"{record.benchmark}.{record.method}.seed{record.seed}")
    for name in write(kept, target, onnx=onnx, torch_export=torch_export):
        typer.echo(target / name)


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run, …/seed0, or of mola export.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files, or folders with images below them.")]
Task = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Whose images they are.")]
Csv = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="CSV file. Default: standard output.")]


def predict(model: Model, images: Images, task: Task = None, output: Csv = None, config: Suite = None) -> None:
    """Predict the classes of image files, as CSV: path, task, prediction, probability.

    Images are read as in evaluation. A regression gives a value without probability, a multilabel task the labels from
    0.5 on, with ";" between them. Methods whose weights depend on the task need --task. Without it, others answer for
    every task; where tasks are domains with the same classes, in one row, by the mean of their heads' probabilities.
    Files that can't be read are named on stderr and left out; the exit code is 2 if none is left.
    -c names the suite where the method is one of your own.

    Example: mola predict exported/digits.mola_grad.seed0 photos --task printed > predictions.csv
    """
    _look_in(config)
    from mola.inference.load import load_model
    from mola.inference.predict import check, image_files
    from mola.inference.predict import predict as rows_of

    def skip(problem: str) -> None:
        typer.echo(f"mola: left out: {shown(problem)}", err=True)

    loaded = load_model(model)
    check(loaded, task)
    files = image_files(images, skip)
    text, rows = io.StringIO(), 0
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "task", "prediction", "probability"])
    for row in rows_of(loaded, files, task, skip):
        writer.writerow(map(no_formula, [row.path, row.task, row.prediction, row.probability]))
        rows += 1
    if not rows:
        raise BadInput(f"expected an image that can be read, found none among {len(files)} files")
    if output is None:
        sys.stdout.write(text.getvalue())
    else:
        write_file(output, text.getvalue(), "--output")


def _run_folder(
    run: Path | None, config: Path | None, benchmark: str | None, method: str | None, seed: int | None
) -> Path:
    """The folder that RUN or the options name. Raises BadInput for both, for neither, and for what the suite lacks."""
    if run is not None:
        if benchmark or method or seed is not None:
            raise BadInput("expected RUN, or -b, -m and -s with the suite, found both")
        _look_in(config)
        # a file of the run will do
        return run.parent if re.fullmatch(r"seed\d+", run.parent.name) else run
    if not benchmark or not method:
        given = "-b without -m" if benchmark else "-m without -b" if method else "neither"
        raise BadInput(f"expected RUN, the folder of a run, or -b and -m, found {given}")
    suite = load_suite(config or DEFAULT)
    from mola.experiment.spec import experiment

    chosen = experiment(suite, benchmark, method)
    return chosen.run_folder(suite.seeds[0] if seed is None else seed)


def _look_in(config: Path | None) -> None:
    """Find the methods of the user's own that lie with a suite."""
    if config is not None:
        from mola import registry
        from mola.config import plugins_folder

        registry.look_in(plugins_folder(config))
