import pytest
from datasets.tabular.tables import HEADER, PEOPLE, ROWS, write

from jaxval.datasets import DataError, read_table


@pytest.fixture
def people(tmp_path):
    return write(tmp_path / "people.csv", PEOPLE)


@pytest.fixture
def refuse(key, tmp_path):
    def check(match, rows=ROWS, header=HEADER, target="y", owner="who", **options):
        path = tmp_path / "t.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        if isinstance(options.get("valid"), list):
            other = tmp_path / "v.csv"
            other.write_text("\n".join([header, *options["valid"]]) + "\n")
            options["valid"] = other
        with pytest.raises(DataError, match=match) as caught:
            read_table(key, path, target, owner=owner, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith((".", ")"))

    return check
