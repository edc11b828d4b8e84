"""The history of a run: what ``fit`` returns, how it is told in a line, and how it is drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

from minidl.training.figures import COLORS, new_figure, save

VALIDATION = "validation_"  # before the name of what was measured on the validation data


class History(dict[str, list[float]]):
    """What ``fit`` returns: under each name a list with one number per epoch.

    ``"loss"`` and the metrics, such as ``"accuracy"``, are means over the epoch (see
    :func:`evaluate`), each batch measured before the model learned from it. ``"validation_loss"``
    and the like were measured after the epoch, in eval mode.

    Attributes:
        interrupted: whether Ctrl-C ended the run (with ``on_interrupt="return"``); the lists hold
            the epochs that were complete.
        stopped: why a callback ended the run, or None.

    Example:
        >>> History(loss=[0.9, 0.5, 0.3], accuracy=[0.4, 0.7, 0.9])
        <History of 3 epochs: loss 0.300, accuracy 0.900; lowest loss 0.300 in epoch 3>
    """

    interrupted: bool = False
    stopped: str | None = None

    def __repr__(self) -> str:
        epochs = max(map(len, self.values()), default=0)
        text = f"History of {epochs} epoch{'s' * (epochs != 1)}"
        last = {name: values[-1] for name, values in self.items() if values}
        if last:
            text += f": {told(last, 'validation', ', ')}"
        name = f"{VALIDATION}loss" if f"{VALIDATION}loss" in self else "loss"
        epoch = lowest(self.get(name, []))
        if epoch:
            text += f"; lowest {name} {short(self[name][epoch - 1])} in epoch {epoch}"
        if self.stopped:
            text += f"; stopped: {self.stopped}"
        return f"<{text}{'; interrupted' * self.interrupted}>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the loss and each metric over the epochs, for training and validation.

        A ring is around the lowest validation loss. Epochs in which a number was NaN or infinite
        are gaps, and counted above the plot. Where losses differ by more than a factor of 100 the
        axis is logarithmic.

        Args:
            path: where to save the figure; its suffix says as what (``.png``, ``.svg``, ``.pdf``).

        Returns:
            The ``matplotlib.figure.Figure``, which a notebook shows; elsewhere save it.

        Raises:
            ImportError: if there is no matplotlib; the message says how to install it.
            FileNotFoundError: if there is no folder to save it to.
            ValueError: if no epoch is complete, or for a suffix that matplotlib does not know.

        Example::

            history = minidl.fit(model, loss, optimizer, train, validation)
            history.plot("history.png")
        """
        names = quantities({name: values for name, values in self.items() if values})
        if not names:
            raise ValueError("History.plot: no epoch is complete, so that there is nothing to draw")
        columns = min(len(names), 3)
        rows = -(-len(names) // columns)
        figure = new_figure("History.plot", 1.2 + 4.2 * columns, 0.4 + 3.2 * rows)
        for i, name in enumerate(names):
            self._draw(figure.add_subplot(rows, columns, i + 1), name)
        save(figure, path, "History.plot")
        return figure

    def _draw(self, axes: Any, name: str) -> None:
        """Draw one quantity, and explain it."""
        finite: list[float] = []
        missing = 0
        for key, label, color in (
            (name, "training, during the epoch", COLORS[0]),
            (f"{VALIDATION}{name}", "validation, after the epoch", COLORS[1]),
        ):
            values = self.get(key, [])
            if not values:
                continue
            known = [v if math.isfinite(v) else math.nan for v in values]
            finite += [v for v in known if v == v]
            missing += sum(v != v for v in known)
            # A point that has no neighbour would be no line.
            alone = [
                i
                for i, v in enumerate(known)
                if v == v and all(w != w for w in (known[i - 1 : i] + known[i + 1 : i + 2]))
            ]
            marked = range(len(known)) if len(known) <= 30 else alone
            axes.plot(
                range(1, len(known) + 1), known, color=color, label=label,
                marker="o" if marked else None, markersize=3.5, markevery=list(marked),
            )  # fmt: skip
        best = lowest(self.get(f"{VALIDATION}loss", [])) if name == "loss" else None
        if best:
            value = self[f"{VALIDATION}loss"][best - 1]
            axes.plot(
                [best], [value], "o", color=COLORS[1], fillstyle="none", markersize=9,
                label=f"lowest validation: {short(value)} in epoch {best}",
            )  # fmt: skip
        logarithmic = name == "loss" and finite and 0 < 100 * min(finite) < max(finite)
        if logarithmic:
            axes.set_yscale("log")
        if missing:
            axes.set_title(f"{missing} values NaN or infinite, not drawn", fontsize="small")
        if not finite:
            axes.set_yticks([])
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} (logarithmic)" if logarithmic else name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        epochs = max(map(len, self.values()))
        axes.set_xlim(0.5, epochs + 0.5)
        axes.grid(color="0.9")
        axes.legend(fontsize="small")


def told(values: dict[str, float], validation: str, between: str) -> str:
    """The numbers of an epoch in a line, those of the validation in brackets beside the others."""
    parts = []
    for name in quantities(values):
        own, other = values.get(name), values.get(f"{VALIDATION}{name}")
        numbers = [] if own is None else [short(own)]
        numbers += [] if other is None else [f"({validation} {short(other)})"]
        parts.append(" ".join([name, *numbers]))
    return between.join(parts)


def quantities(names: Iterable[str]) -> list[str]:
    """What was measured, on training data, validation data or both, in the order of the names."""
    return list(dict.fromkeys(name.removeprefix(VALIDATION) for name in names))


def short(value: float) -> str:
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.1e}"


def lowest(values: list[float]) -> int | None:
    """The epoch, from 1, of the lowest number that is finite; None if there is none."""
    known = [(value, epoch) for epoch, value in enumerate(values, 1) if math.isfinite(value)]
    return min(known)[1] if known else None
