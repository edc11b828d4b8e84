"""Make all figures of the docs anew: ``python docs/figures/make.py``, with the extra ``plots``."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"

for command in (
    [EXAMPLES / "train_digits.py", "--compare", "--plot", HERE / "digits_rules.png"],
    [EXAMPLES / "train_cnn.py", "--plot", HERE / "cnn_filters.png"],
    [EXAMPLES / "lecture", "--plots", HERE],
    [HERE / "make_autograd.py"],
    [HERE / "make_lr_range.py"],
    [HERE / "make_course.py"],
):
    print(" ".join(str(part) for part in ["python", *command]), flush=True)
    subprocess.run([sys.executable, *command], check=True)
