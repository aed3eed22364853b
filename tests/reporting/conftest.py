"""Tables read records and committed manifests: no data is prepared for these tests."""

import pytest


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("no data")
