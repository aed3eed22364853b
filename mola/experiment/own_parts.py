"""Which methods, balancers, benchmarks and backbones of a suite are the user's own."""

from __future__ import annotations

from mola import plugins, registry
from mola.config import Suite
from mola.plugins import Kind
from mola.sections import Settings
from mola.source import module_file

Part = tuple[Kind, str]


def every_settings(suite: Suite) -> list[Settings]:
    """The settings of every row of every benchmark."""
    return [suite.settings(benchmark, label) for benchmark in suite.benchmarks for label in suite.rows(benchmark)]


def named(suite: Suite) -> list[Part]:
    """The (kind, name) of every method, balancer and benchmark that the suite names, each once."""
    parts: dict[Part, None] = {}
    for settings in every_settings(suite):
        parts["benchmarks", settings.benchmark] = None
        parts["methods", settings.method] = None
        parts["balancers", settings.balancer] = None
    return sorted(parts, key=lambda part: registry.KINDS.index(part[0]))


def of_user(suite: Suite) -> list[Part]:
    """Those of them that are the user's own."""
    return [part for part in named(suite) if registry.plugin(*part) is not None]


def lie_nearby(suite: Suite) -> bool:
    """Whether the suite needs what lies in the folder of its plugins."""
    nearby = [plugin for part in of_user(suite) if (plugin := registry.plugin(*part)) and plugin.place]
    modules = [settings.backbone.module for settings in every_settings(suite) if settings.backbone.module]
    files = [path for module in modules if (path := module_file(module))]
    return bool(nearby) or any(plugins.shown(path) for path in files)
