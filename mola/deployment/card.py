"""The model card: what a model was trained on, how good it is, how it was selected, and how it is used."""

from __future__ import annotations

from statistics import fmean

from mola import metrics
from mola.deployment.run import KeptRun
from mola.inference.description import Description
from mola.metrics.metric import Metric
from mola.reporting.statistics.intervals import t_half_width
from mola.types import Task

FORMS = {"merged": "a plain timm model for each task", "whole": "the method as it was trained"}


def card(run: KeptRun, description: Description, config: dict[str, object], graphs: list[str]) -> str:
    """The text of README.md. config: the content of config.json; graphs: names of files."""
    record = run.record
    parts = [
        f"# {record.method} on {record.benchmark}, seed {record.seed}",
        f"{_sentence(description)} It holds {FORMS[str(config['form'])]}.",
        "## Use\n\n" + _use(description, config, graphs),
        "## Scores\n\n" + _scores(run, description),
        "## How it was selected\n\n" + _selection(run),
        "## Images\n\n" + _images(description),
        "## Data and licences\n\n" + _data(description),
        "## Origin\n\n" + _origin(run),
    ]
    return "\n\n".join(parts) + "\n"


def _sentence(description: Description) -> str:
    tasks = ", ".join(description.names)
    backbone = description.backbone["name"]
    return f"A {backbone} trained by `{description.method}` on the tasks {tasks} of `{description.benchmark}`."


def _use(description: Description, config: dict[str, object], graphs: list[str]) -> str:
    first = description.names[0]
    needs = "It has to be told the task." if config["needs_task"] else "Without a task it answers all of them."
    text = (
        '```python\nimport mola\n\nmodel = mola.load_model("this folder")\n'
        f'scores = model(model.read("image.png", task="{first}"), task="{first}")\n```\n\n'
        f"{needs} The scores of classes are those before softmax."
    )
    if config["form"] == "merged":
        options = "".join(f", {key}={value!r}" for key, value in description.backbone.get("options", {}).items())
        file = config["files"][first]["file"]  # type: ignore[index]
        text += (
            "\n\nWithout mola, for images that are normalised as below:\n\n```python\nimport timm\n"
            "from safetensors.torch import load_file\n\n"
            f'model = timm.create_model("{description.backbone["name"]}", '
            f"num_classes={description.task(first).outputs}{options})\n"
            f'model.load_state_dict(load_file("{file}"))\nmodel.eval()\n```'
        )
    if graphs:
        files = ", ".join(f"`{name}`" for name in graphs)
        text += (
            f"\n\nGraphs take (B, 3, H, W) float32, normalised, and give an output for each of their tasks: {files}."
        )
    return text


def _scores(run: KeptRun, description: Description) -> str:
    number = len(run.row)
    over = f"mean ± half-width of the 95 % t interval over {number} seeds" if number > 1 else "over seeds: only one"
    lines = [f"| task | metric | test, this seed | {over} |", "|---|---|---:|---:|"]
    for task in description.tasks:
        for metric in metrics.of(task):
            lines.append(_score(run, task, metric))
    note = "The test split was read once, after the selection of the epoch."
    remarks = [f"- {remark}" for remark in description.remarks]
    return "\n".join([*lines, "", note, *([""] if remarks else []), *remarks])


def _score(run: KeptRun, task: Task, metric: Metric) -> str:
    values = [record.test[task.name][metric.name] for record in run.row]
    here = run.record.test[task.name][metric.name]
    interval = f"{fmean(values):.4f} ± {t_half_width(values):.4f}" if len(values) > 1 else "–"
    return f"| {task.name} | {metric.words} | {here:.4f} | {interval} |"


def _selection(run: KeptRun) -> str:
    record = run.record
    epochs = ", ".join(f"{epoch} ({part})" for part, epoch in record.selected.items())
    tuned = ""
    if record.tuned:
        tuned = f" Settings were tuned on the validation split in {record.tuned.trials} trials."
    return (
        f"The epoch with the best validation score, the earliest of equals: {epochs} of {len(record.curve)}.{tuned} "
        "Which seed is here was the choice of whoever exported it: the intervals above say what to expect of another."
    )


def _images(description: Description) -> str:
    images = description.images
    height, width = images.size
    if images.mean is None:
        return f"{height}×{width} pixels, normalised as the benchmark does in its own way."
    steps = [f"the square in the middle, resized to {height}×{width} (bicubic, antialiased)"]
    if images.grey:
        steps.append(f"without colours for {', '.join(images.grey)}")
    if images.crop:
        steps.append(f"its middle of {images.crop}×{images.crop}")
    steps.append(f"(x/255 − mean)/std with mean {list(images.mean)} and std {list(images.std or ())}")
    if images.resize:
        steps.append(f"resized to {images.resize}×{images.resize} (bilinear)")
    classes = "\n".join(
        f"- {name}: {', '.join(known)}" for name, known in description.classes.items() if len(known) <= 200
    )
    return f"RGB, as in evaluation: {'; '.join(steps)}.\n\nOutputs, in their order:\n\n{classes}"


def _data(description: Description) -> str:
    rows = [
        f"| {source['name']} | {source['origin']} | {source['licence']}{source['terms'] and '; ' + source['terms']} |"
        for source in description.sources
    ]
    table = (
        "\n".join(["| source | origin | licence |", "|---|---|---|", *rows])
        if rows
        else ("No published source: drawn by the benchmark, or images of the user, whose terms the user knows.")
    )
    weights = description.backbone.get("weights")
    start = f"Training began from pretrained weights ({weights})." if weights else "Training began from random weights."
    return (
        f"{table}\n\n{start}\n\nThe code that trained and loads it is under the Apache License 2.0. What the licences "
        "of the data and of pretrained weights allow of a model that was trained on them is for you to check."
    )


def _origin(run: KeptRun) -> str:
    record = run.record
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[record.dirty]
    lines = [
        f"- suite: {record.suite}; trained {record.time} on {record.device}",
        f"- commit: {record.commit or 'unknown'}{dirty}",
        f"- sha256 of the trained weights, as in the record: {record.weights_sha256}",
        f"- versions: {versions}",
    ]
    return "\n".join(lines)
