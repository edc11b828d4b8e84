"""The estimators: scikit-learn's own checks of them, and what they promise besides."""

import pytest

pytest.importorskip(
    "sklearn", reason="the estimators need scikit-learn: pip install -e '.[sklearn]'"
)

from sklearn.utils.estimator_checks import parametrize_with_checks

from minidl.estimators import Classifier, Regressor


@parametrize_with_checks([Classifier(), Regressor()])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)
