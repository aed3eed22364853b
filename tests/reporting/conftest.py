"""Tables read records and committed manifests: no data is prepared for these tests."""

import json

import pytest
from synthetic import fill, make_suite, record, tune

from mola.files import with_checksum

ROWS = {
    "single_task": {},
    "shared": {},
    "mola_router": {"rank": 4},
    "router_r2": {"method": "mola_router", "rank": 2},
}
GRAMS = [
    {"stem": [[9, 0], [0, 1]], "layer1": [[16, 0], [0, 99]]},
    {"stem": [[9, 3], [3, 1]], "layer1": [[0, 0], [0, 0]]},
]
WEIGHTS = {"mnist": [[1, 0, 0], [0.5, 0.5, 0]], "printed": [[0.25, 0.25, 0.5], [0.25, 0.25, 0.5]]}
SIZES = {"layer1.conv": [1, 2, 1], "layer2.conv": [0, 0, 5]}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("no data")


def curve(benchmark, label, seed):
    """Two epochs; the training loss of seed k begins at k + 1, and scores are .5 and .6."""
    names = ("mnist", "optdigits", "mnistm", "printed")
    return [
        {
            "epoch": epoch + 1,
            "lr": 0.1,
            "steps": 1,
            "train_seconds": 90.0,
            "train": {**dict.fromkeys(names, (seed + 1) / (epoch + 1)), "aux_loss": 100},
            "valid": {name: {"accuracy": 0.5 + 0.1 * epoch, "loss": 2.0 - epoch} for name in names},
        }
        for epoch in range(2)
    ]


def analyse(suite, label, **probes):
    path = record(suite, label, 0)
    fingerprint = json.loads(path.read_text())["fingerprint"]["all"]
    path.with_name("analysis.json").write_text(json.dumps(with_checksum({"fingerprint": fingerprint, **probes})))


@pytest.fixture
def tuned_suite(tmp_path):
    """Test accuracy of seed k: .5 + .1 k, times 1.2 of the row router_r2."""
    suite = make_suite(tmp_path, methods=ROWS, seeds=3, tune={"trials": 3})
    for label in ROWS:
        tune(suite, "digits", label)
    fill(suite, lambda b, m, s: (0.5 + 0.1 * s) * (1.2 if m == "router_r2" else 1), curve=curve)
    return suite


@pytest.fixture
def probed_suite(tuned_suite):
    """The same with gradients of two rows and routing of a third."""
    for label in ("shared", "mola_router"):
        epochs = [{"epoch": epoch, "grams": GRAMS} for epoch in (1, 2)]
        analyse(tuned_suite, label, gradients={"tasks": ["a", "b"], "epochs": epochs})
    analyse(tuned_suite, "router_r2", routing={"weights": WEIGHTS, "sizes": SIZES})
    return tuned_suite
