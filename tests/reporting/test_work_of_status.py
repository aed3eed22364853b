"""What keeps planning and ``mola status`` fast with ten thousand records, as work and not as time: each file is opened
once, or once a row, however many records there are.
"""

import io
from collections import Counter

import pytest
from synthetic import drawn, fill, make_suite

from mola.experiment import index, spec
from mola.experiment.row import write_index
from mola.experiment.status import look

METHODS = ("single_task", "shared", "mola_grad", "mola_router")


@pytest.fixture
def opened(monkeypatch):
    """Name of a file → how often it was opened."""
    count, real = Counter(), io.open

    def opening(file, *words, **more):
        count[str(file).rpartition("/")[2]] += 1
        return real(file, *words, **more)

    monkeypatch.setattr(io, "open", opening)
    return count


@pytest.mark.parametrize("seeds", [3, 9])
def test_status_opens_a_record_once_and_what_all_rows_share_once(tmp_path, opened, seeds):
    suite = make_suite(tmp_path, methods=METHODS, seeds=seeds)
    fill(suite, drawn({}))
    for experiment in spec.experiments(suite):
        write_index(experiment)
    index._read.cache_clear()
    opened.clear()
    experiments = spec.experiments(suite)
    assert [look(experiment, seed).state for experiment in experiments for seed in suite.seeds] == ["done"] * len(
        METHODS
    ) * seeds
    assert opened["record.json"] == len(METHODS) * seeds
    assert opened[index.NAME] == len(METHODS)
    assert opened["digits.json"] <= 2, "the committed manifest, whatever the number of rows"
    assert not {name: number for name, number in opened.items() if name.endswith(".py") and number > 1}
