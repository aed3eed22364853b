"""Files that come with the package and are no Python: suites, split manifests, the workflow, profiles.

In a clone they lie beside the package, as its top-level folders; in a wheel in a folder of the package.
"""

from __future__ import annotations

from pathlib import Path

DISTRIBUTION = "mola-bench"  # what pip calls it: PyPI's mola is another project
PACKAGE = Path(__file__).parent
_IN_WHEEL = PACKAGE / "_shipped"
SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else PACKAGE.parent
SPLITS = SHIPPED / "data" / "splits"
SUITES = SHIPPED / "config"
WORKFLOW = SHIPPED / "workflow"
PROFILES = SHIPPED / "profiles"
