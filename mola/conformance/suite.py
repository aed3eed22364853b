"""The parts of a suite, each with what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mola import plugins, registry
from mola.config import Suite
from mola.conformance import backbones, balancers, benchmarks, methods
from mola.conformance.examples import TASKS, batch_of, small_backbone, with_targets
from mola.conformance.fault import problems
from mola.data.splits.manifest import manifest_path
from mola.experiment import own_parts
from mola.experiment.own_parts import Part
from mola.metrics.kinds import KINDS
from mola.models import custom
from mola.models.backbones import Builder, builder
from mola.sections import Backbone, Settings
from mola.training.cost import example_batch
from mola.types import BadInput, Batch, Benchmark, Task

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Finding:
    """A part, and what is wrong with it, a line each. remark: what could not be looked at."""

    part: str
    problems: tuple[str, ...]
    remark: str = ""


def chosen(suite: Suite) -> tuple[list[Part], str]:
    """The methods, balancers and benchmarks to look at: the user's own that the suite names; where it names none, those
    that lie nearby; where none does, all that it names. And a line that says so, "" for the first.
    """
    has_backbone = any(settings.backbone.module for settings in own_parts.every_settings(suite))
    if (parts := own_parts.of_user(suite)) or has_backbone:
        return parts, ""
    nearby = [(kind, name) for kind in registry.KINDS for name, of in plugins.candidates(kind).items() if of[0].place]
    if nearby:
        return nearby, "the suite names no part of your own; looking at those that lie in its folder"
    return own_parts.named(suite), "the suite names no part of your own; looking at all parts that it names"


def examine(suite: Suite, parts: Sequence[Part]) -> Iterator[Finding]:
    """Look at the parts, and at the suite's backbones where they are the user's own; benchmarks first, as the others
    need their images.
    """
    settings = own_parts.every_settings(suite)
    for kind in ("benchmarks", "backbones", "balancers", "methods"):
        if kind == "backbones":
            custom_ones = {each.backbone.model_dump_json(): each for each in settings if each.backbone.module}
            yield from (_of_backbone(each, suite) for each in custom_ones.values())
        for part in parts:
            if part[0] == kind:
                users = [each for each in settings if part[1] in (each.method, each.balancer, each.benchmark)]
                yield OF_KIND[part[0]](part[1], users, suite)


def _of_benchmark(name: str, users: Sequence[Settings], suite: Suite) -> Finding:
    lines = [*problems(methods.options_are_as_declared, "benchmarks", name)]
    for options in _distinct([each.benchmark_options for each in users]) or [{}]:
        try:
            data = registry.create("benchmarks", name, suite.data, options=options)
            if data.name != name:
                lines.append(f"name: expected '{name}', as the file is called, found '{data.name}'")
                continue
            remark = _prepared(data)
        except BadInput as error:
            lines.append(str(error))
            continue
        lines += problems(benchmarks.says_what_it_is if remark else benchmarks.CHECKS, data)
        if remark:
            return Finding(f"benchmark {name}", tuple(dict.fromkeys(lines)), remark)
    return Finding(f"benchmark {name}", tuple(dict.fromkeys(lines)))


def _prepared(data: Any) -> str:
    """Prepare the data unless they would have to be downloaded; returns why they are not prepared, or nothing."""
    if hasattr(data, "recipes"):
        try:
            data.identity  # noqa: B018
        except BadInput as error:
            return f"its batches were not looked at: {error}"
        return ""
    data.fetch()
    if hasattr(data, "write_manifest") and not manifest_path(data.name).is_file():
        return f"its batches were not looked at: its split is not written yet, mola prepare {data.name} does it"
    data.prepare()
    return ""


def _of_balancer(name: str, users: Sequence[Settings], suite: Suite) -> Finding:
    lines = [*problems(methods.options_are_as_declared, "balancers", name)]
    lines += problems(methods.search_space_is_accepted, "balancers", name, balancers.tasks_of(3))

    def build(tasks: Sequence[Task]) -> Any:
        return registry.create("balancers", name, tasks, CPU, options={})

    lines += problems(balancers.CHECKS, build)
    return Finding(f"balancer {name}", tuple(dict.fromkeys(lines)))


def _of_method(name: str, users: Sequence[Settings], suite: Suite) -> Finding:
    lines = [*problems(methods.options_are_as_declared, "methods", name)]
    lines += problems(methods.search_space_is_accepted, "methods", name)
    subjects, remarks = [], []
    options = registry.check_options("methods", name, {}, name)
    drawn = _subject(name, options, TASKS, batch_of(TASKS), small_backbone())
    if has_drawn := all(_has_classes(each, suite) for each in users):
        subjects.append(drawn)
    for each in users:
        try:
            data = _data(each, suite)
            batch = with_targets(data.tasks, example_batch(data, CPU))
        except BadInput as error:
            remarks.append(f"not tried on {each.benchmark}: {error}")
            continue
        backbone = _builder(each.backbone, data, batch.x)
        freezes = each.backbone.freeze_stages > 0
        subjects.append(_subject(name, each.method_options, data.tasks, batch, backbone, freezes))
    silent: set[str] = set()
    learning: set[str] = set()
    for subject in subjects:
        if of_subject := [*problems(methods.CHECKS, subject)]:
            lines += of_subject
            continue
        lines += problems(lambda given: silent.update(methods.silent_parameters(given)), subject)
        learning |= {key for key, p in subject.method.named_parameters() if p.requires_grad} - silent
    if silent - learning and not lines and not has_drawn:
        # what learns where each image has one of several tasks, as a router's decorrelation does, is no mistake
        learning |= _learning(drawn)
    if not lines and (dead := sorted(silent - learning)):
        lines.append(f"forward: expected every parameter to learn from some loss, found none for {', '.join(dead[:5])}")
    return Finding(f"method {name}", tuple(dict.fromkeys(lines)), "; ".join(dict.fromkeys(remarks)))


def _learning(subject: methods.Subject) -> set[str]:
    """The names of the parameters that learn; none where the method does not take such tasks."""
    try:
        silent = methods.silent_parameters(subject)
    except Exception:
        return set()
    return {key for key, p in subject.method.named_parameters() if p.requires_grad} - silent


def _of_backbone(settings: Settings, suite: Suite) -> Finding:
    section, title = settings.backbone, f"backbone {settings.backbone.name}"
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    dense, remark = False, ""
    try:
        data = _data(settings, suite)
        dense = any(KINDS[task.kind].dense for task in data.tasks)
        images = example_batch(data, CPU).x[:2]
    except BadInput as error:
        remark = f"tried on noise of 64×64 pixels: {error}"

    def checked(of: Backbone) -> Builder:
        values = of.model_dump(exclude={"cached_views"})
        return custom.builder(**values, dense=dense, images=images)

    try:
        build = checked(section)
        build()
    except BadInput as error:
        return Finding(title, (str(error),), remark)
    return Finding(title, tuple(problems(backbones.CHECKS, build, images)), remark)


def _subject(
    name: str,
    options: Mapping[str, Any],
    tasks: Sequence[Task],
    batch: Batch,
    backbone: Builder,
    freezes: bool = False,
) -> methods.Subject:
    def build(seed: int) -> Any:
        torch.manual_seed(seed)
        return registry.create("methods", name, tasks, backbone, options=options)

    return methods.Subject(build, tasks, batch, freezes)


def _builder(section: Backbone, data: Benchmark, images: Tensor) -> Builder:
    dense = any(KINDS[task.kind].dense for task in data.tasks)
    values = section.model_dump(exclude={"cached_views"})
    return (
        builder(**values, dense=dense)
        if section.module is None
        else custom.builder(**values, dense=dense, images=images[:2])
    )


def _data(settings: Settings, suite: Suite) -> Benchmark:
    data: Benchmark = registry.create("benchmarks", settings.benchmark, suite.data, options=settings.benchmark_options)
    return data


def _has_classes(settings: Settings, suite: Suite) -> bool:
    """Whether the tasks of a benchmark are classes, and each image has one of them."""
    data = _data(settings, suite)
    return data.heterogeneity != "single-input task" and all(task.kind == "classes" for task in data.tasks)


def _distinct(options: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for number, one in enumerate(options) if one not in options[:number]]


OF_KIND: dict[str, Callable[[str, Sequence[Settings], Suite], Finding]] = {
    "benchmarks": _of_benchmark,
    "balancers": _of_balancer,
    "methods": _of_method,
}
