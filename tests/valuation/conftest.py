import pytest
from valuation.pets import rows_of, write


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "pets.csv", rows_of(40))
