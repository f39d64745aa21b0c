"""Histograms hold what they saw in bounded memory; observers choose ranges of known error."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.calibrate.histogram import BINS, Histogram
from edgert.converters.calibrate.observers import (
    OBSERVERS,
    Range,
    minmax,
    mse,
    observer_named,
    percentile,
    squared_error,
)
from edgert.errors import ConversionError


def histogram_of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def test_histogram_grows_without_losing_counts(rng: np.random.Generator) -> None:
    batches = [rng.standard_normal(1000).astype(np.float32) * 10.0**k for k in range(-3, 4)]
    histogram = histogram_of(*batches)
    assert histogram.counts.sum() == 7000
    assert len(histogram.counts) == BINS
    values = np.concatenate(batches)
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    assert histogram.reach >= np.abs(values).max()
    assert histogram.reach < 2 * np.abs(values).max()


def test_histogram_does_not_depend_on_the_order(rng: np.random.Generator) -> None:
    batches = [rng.standard_normal(500).astype(np.float32) * scale for scale in (1, 3, 9)]
    a, b = histogram_of(*batches), histogram_of(*batches[::-1])
    np.testing.assert_array_equal(a.counts, b.counts)


def test_quantiles(rng: np.random.Generator) -> None:
    values = rng.uniform(-1, 3, 200_000).astype(np.float32)
    histogram = histogram_of(values)
    for fraction in (0.001, 0.25, 0.5, 0.999):
        assert histogram.quantile(fraction) == pytest.approx(np.quantile(values, fraction), abs=0.01)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 3.0), np.full(5, -3.0), np.array([]), np.array([1e-30])])
def test_degenerate_data_gives_a_usable_range(name: str, values: np.ndarray) -> None:
    found = OBSERVERS[name](histogram_of(values))
    assert found.low <= 0 <= found.high
    quant = found.quantization()
    assert quant.scale > 0
    assert 0 <= quant.zero_point <= 255


def test_zero_is_exact(rng: np.random.Generator) -> None:
    quant = minmax(histogram_of(rng.uniform(2, 3, 100))).quantization()
    assert quant.zero_point == 0
    assert float(quant.scale) * 255 == pytest.approx(3, abs=0.05)


def test_percentile_clips_outliers(rng: np.random.Generator) -> None:
    values = rng.standard_normal(100_000)
    values[:3] = 1000.0
    found = percentile(histogram_of(values))
    assert found.high < 10 < minmax(histogram_of(values)).high


def test_mse_is_at_least_as_good_as_minmax(rng: np.random.Generator) -> None:
    for values in (rng.standard_normal(20_000), rng.laplace(size=20_000), rng.gamma(0.3, size=20_000)):
        histogram = histogram_of(values)
        data = (histogram.centres(), histogram.counts)
        assert squared_error(mse(histogram), *data) <= squared_error(minmax(histogram), *data)


def test_mse_agrees_with_the_values_themselves(rng: np.random.Generator) -> None:
    """The error the histogram predicts is the error of quantizing the data."""
    values = rng.laplace(size=50_000).astype(np.float32)
    histogram = histogram_of(values)
    found = mse(histogram)
    quant = found.quantization()
    stored = np.clip(np.rint(values / quant.scale) + quant.zero_point, 0, 255)
    real = np.sum((values - (stored - quant.zero_point) * quant.scale) ** 2)
    assert squared_error(found, histogram.centres(), histogram.counts) == pytest.approx(real, rel=0.05)


def test_unknown_observer() -> None:
    with pytest.raises(ConversionError, match="minmax, percentile, mse"):
        observer_named("median")
    assert Range(-1, 1).quantization().zero_point in (127, 128)
