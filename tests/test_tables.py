"""The penguins and the wines: all of them, with the numbers that others state for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minidl.data
from minidl import data

FILES = Path(minidl.data.__file__).parent / "files"


def test_penguins_are_those_of_the_paper() -> None:
    x, y = data.load_penguins()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((342, 4), np.float32, (342,), np.int64)
    assert np.bincount(y).tolist() == [151, 68, 123]  # 152, 68, 124 less the two without numbers
    np.testing.assert_allclose(
        x.mean(axis=0, dtype=float), [43.92193, 17.15117, 200.9152, 4201.754], rtol=1e-6
    )
    mass = [x[y == c, 3].mean(dtype=float) for c in range(3)]  # as the package for R prints them
    np.testing.assert_allclose(mass, [3700.662, 3733.088, 5076.016], rtol=1e-6)
    assert (x[:, 2].min(), x[:, 2].max(), x[:, 3].sum()) == (172, 231, 1_437_000)


def test_wines_are_those_of_the_description() -> None:
    x, y = data.load_wine()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((178, 13), np.float32, (178,), np.int64)
    assert np.bincount(y).tolist() == [59, 71, 48]
    np.testing.assert_allclose(x.min(axis=0)[[0, 4, 12]], [11.03, 70, 278], rtol=1e-6)
    np.testing.assert_allclose(x.max(axis=0)[[0, 4, 12]], [14.83, 162, 1680], rtol=1e-6)
    np.testing.assert_allclose(
        x.mean(axis=0, dtype=float)[[0, 1, 4, 12]], [13.00062, 2.336348, 99.74157, 746.8933],
        rtol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "target", "features", "classes"),
    [
        ("penguins", "species", data.PENGUINS_FEATURES, data.PENGUINS_CLASSES),
        ("wine", "cultivar", data.WINE_FEATURES, data.WINE_CLASSES),
    ],
)
def test_the_names_are_those_of_the_file(
    name: str, target: str, features: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    table = data.load_csv(FILES / f"{name}.csv", target=target)
    assert (table.feature_names, table.class_names) == (features, classes)


def test_every_call_gives_fresh_arrays() -> None:
    for load in (data.load_penguins, data.load_wine):
        load()[0][:] = -1
        assert (load()[0] > 0).all()


def test_a_network_learns_them() -> None:
    for load, least in ((data.load_penguins, 0.97), (data.load_wine, 0.97)):
        x, y = load()
        x = data.Standardize().fit_transform(x)
        model = minidl.nn.Linear(x.shape[1], 3, rng=0)
        optimizer = minidl.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            minidl.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert (np.argmax(model(x), axis=1) == y).mean() > least
