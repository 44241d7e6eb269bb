import pytest
from datasets.tabular.tables import HEADER, PEOPLE, ROWS, write

# `jaxval` is imported by whoever asks for it: before the type checks are installed, an
# import here would go unchecked.


@pytest.fixture
def people(tmp_path):
    return write(tmp_path / "people.csv", PEOPLE)


@pytest.fixture
def refuse(key, tmp_path):
    from jaxval.datasets import DataError, read_table

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
