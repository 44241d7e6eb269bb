import pytest


@pytest.fixture
def table(tmp_path):
    # Imported here: before the type checks are installed it would go unchecked.
    from valuation.pets import rows_of, write

    return write(tmp_path / "pets.csv", rows_of(40))
