import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxval import models
from jaxval.ecoval.embeddings import trained_network


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(n_class=5, return_X_y=True)
    order = np.argsort(y[:300], kind="stable")
    return x[:300][order] / 16, y[:300][order]


NETWORK = models.MLP((32,), num_outputs=5)


def test_accuracy_of_rows_sorted_by_class(key, digits):
    x, y = digits
    learned = trained_network(key, NETWORK, x, y, epochs=20, num_components=8)
    assert learned.accuracy > 0.7
    assert learned.embed(x[:7]).shape == (7, 8)


def test_rows_and_classes_that_cannot_be_learned(key, digits):
    x, y = digits
    for wrong in (y - 1, y + 1):
        with pytest.raises(ValueError, match="class numbers from 0 to 4"):
            trained_network(key, NETWORK, x, wrong)
    with pytest.raises(ValueError, match="finite"):
        trained_network(key, NETWORK, x * np.nan, y)
    with pytest.raises(ValueError, match="at least 20"):
        trained_network(key, NETWORK, x[:10], y[:10])
    with pytest.raises(ValueError, match="epochs"):
        trained_network(key, NETWORK, x, y, epochs=0)
