"""Make the figure of the learning-rate range test: ``python docs/figures/make_lr_range.py``."""

from pathlib import Path

import minidl
from minidl import data, nn, optim

minidl.seed(0)
images, labels = data.load_digits()
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
found = optim.lr_range(model, nn.CrossEntropyLoss(), (images / 16, labels), optim.Momentum)
found.plot(Path(__file__).resolve().parent / "lr_range.png")
print(found)
