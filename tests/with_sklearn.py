"""Imported before scikit-learn: tests that need it are skipped where it is not."""

import os

import pytest

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # without it one of scikit-learn's checks is skipped
pytest.importorskip("sklearn", reason="scikit-learn is not there: pip install -e '.[sklearn]'")
