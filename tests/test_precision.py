"""Every operation and every module on axes of length one."""

import numpy as np
import pytest

from minidl import gradcheck, nn
from minidl.gradcheck import samples
from minidl.gradcheck.samples import MODULES, SAMPLES, smaller

CALLS = [s for entries in SAMPLES.values() for s in entries]
NAMES = [s.name for s in CALLS]


@pytest.mark.parametrize("sample", CALLS, ids=NAMES)
def test_axes_of_length_one(sample):
    for what, inputs in smaller(sample, 1):
        report = gradcheck(sample.call, *inputs, max_unjudged=1.0, raise_on_failure=False)
        assert report.ok, f"{what}: {report}"


def test_nearly_every_operation_is_defined_on_an_axis_of_length_one():
    """What depends on a length of its own (classes, an index, a division in equal parts) is not;
    its samples show a single one where that makes sense."""
    without = [
        s.name for s in CALLS if not list(smaller(s, 1)) and any(np.size(x) > 1 for x in s.inputs)
    ]
    assert len(without) < 0.15 * len(CALLS), without


@pytest.mark.parametrize(("name", "module", "inputs"), MODULES, ids=[m[0] for m in MODULES])
def test_modules_on_a_batch_of_one(name, module, inputs):
    if samples.needs_a_batch(module):
        module = nn.Sequential(module).eval()
        y = module(inputs[0])
        np.testing.assert_allclose(module(inputs[0][:1]).data, y.data[:1], rtol=1e-6)
        return
    assert gradcheck(module, *[x[:1] for x in inputs], order=2, max_unjudged=0.0).ok
