"""Two more tables that come with minidl: penguins to tell apart, and wines.

They lie beside this file in ``files/``, where ``SOURCES.txt`` says whose they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minidl.data.csv_file import load_csv

PENGUINS_CLASSES = ("Adelie", "Chinstrap", "Gentoo")
"""The species of the penguins, in the order of the labels."""

PENGUINS_FEATURES = (
    "bill length (mm)",
    "bill depth (mm)",
    "flipper length (mm)",
    "body mass (g)",
)
"""What the columns of the penguins measure."""

WINE_CLASSES = ("cultivar 1", "cultivar 2", "cultivar 3")
"""The growers of the wines, in the order of the labels."""

WINE_FEATURES = (
    "alcohol",
    "malic acid",
    "ash",
    "alcalinity of ash",
    "magnesium",
    "total phenols",
    "flavanoids",
    "nonflavanoid phenols",
    "proanthocyanins",
    "color intensity",
    "hue",
    "OD280/OD315 of diluted wines",
    "proline",
)
"""What the columns of the wines measure."""

_FILES = Path(__file__).parent / "files"


def load_penguins() -> tuple[np.ndarray, np.ndarray]:
    """Return four measurements of 342 penguins, and the species of each.

    The names are in ``PENGUINS_FEATURES`` and ``PENGUINS_CLASSES``. Of the 344 penguins that were
    caught at Palmer Station, Antarctica, in 2007 to 2009, two are left out, since all four of their
    measurements are missing. The units differ by a thousand: standardize the columns
    (:class:`minidl.data.Standardize`). K. B. Gorman, T. D. Williams and W. R. Fraser, "Ecological
    sexual dimorphism and environmental variability within a community of Antarctic penguins (genus
    Pygoscelis)", PLoS ONE 9(3): e90081, 2014, CC0; prepared by A. M. Horst, A. P. Hill and
    K. B. Gorman as the R package palmerpenguins, doi:10.5281/zenodo.3960218.

    Returns:
        ``x`` (342, 4) float32, in millimeters and grams, and ``y`` (342,) int64 from 0 to 2: 151,
        68 and 123 penguins.

    Example:
        >>> x, y = load_penguins()
        >>> x[0], PENGUINS_CLASSES[y[0]]
        (array([  39.1,   18.7,  181. , 3750. ], dtype=float32), 'Adelie')
    """
    table = load_csv(_FILES / "penguins.csv", target="species")
    return table.x, table.y


def load_wine() -> tuple[np.ndarray, np.ndarray]:
    """Return thirteen chemical measurements of 178 wines of one region, and who grew each.

    The names are in ``WINE_FEATURES`` and ``WINE_CLASSES``. The columns differ by a thousand:
    standardize them (:class:`minidl.data.Standardize`). S. Aeberhard and M. Forina, "Wine", 1992,
    UCI Machine Learning Repository, doi:10.24432/C5PC7J, CC BY 4.0.

    Returns:
        ``x`` (178, 13) float32 and ``y`` (178,) int64 from 0 to 2: 59, 71 and 48 wines.

    Example:
        >>> x, y = load_wine()
        >>> x.shape, WINE_CLASSES[y[0]]
        ((178, 13), 'cultivar 1')
    """
    table = load_csv(_FILES / "wine.csv", target="cultivar")
    return table.x, table.y
