"""Updates: what ``fit`` does between the gradients of batches and the step of the optimizer."""

from __future__ import annotations

from collections.abc import Callable

from minidl.autograd import Leaf
from minidl.optim import Optimizer, clip_grad_norm
from minidl.tensor import Tensor


class Updates:
    """In the place of the optimizer in the loop: one update from the gradients of ``size`` batches.

    A mean over all their samples has for its gradient the mean of the batches' gradients, if each
    counts by its share, which is what its loss was divided by. After every batch the gradients are
    that mean over the batches so far; so an update is right after any number of them.

    Args:
        optimizer: the one of the run.
        size: the batches for one update.
        clip_norm: the largest norm of the gradients in an update, or None.
        place: tells in which step the run is.
    """

    def __init__(
        self, optimizer: Optimizer, size: int, clip_norm: float | None, place: Callable[[], str]
    ) -> None:
        self.optimizer, self.size, self.clip_norm, self.place = optimizer, size, clip_norm, place
        self.params = [p for group in optimizer.groups for p in group["params"]]
        self.moving = False  # whether the weights of this update may have been moved
        self.batches = 0  # so far, with those of which no target counts
        self.gradients = False  # whether there are any that wait
        self.share = 0.0  # of all these batches

    def zero_grad(self) -> None:
        if not self.gradients:
            self.moving = False
            self.optimizer.zero_grad()

    def weighed(self, loss: Tensor, share: float | None) -> Tensor:
        """The loss of a batch, in proportion to what the batches before it count.

        The gradients that there are get their part of the mean as well. A sum (None) just adds up.
        """
        if share is None:
            return loss
        before, self.share = self.share, self.share + share
        if not self.gradients:
            return loss
        for p in self.params:
            if isinstance(p.node, Leaf) and p.node.grad is not None:
                p.node.grad *= before / self.share  # (of float16 parameters it is float32)
        return loss * (share / self.share)

    def step(self) -> None:
        """The gradients of a batch are there."""
        self.gradients = True
        if self.batches + 1 == self.size:
            self.update()

    def batch_ended(self, last: bool) -> bool:
        """Count a batch, perhaps the last of an epoch; return whether an update is complete."""
        self.batches += 1
        complete = last or self.batches == self.size
        if complete:
            self.finish()
        return complete

    def finish(self) -> None:
        """Make the update that waits for more batches, and begin the next one."""
        if self.gradients:  # fewer batches were left, or no target of the last one counts
            self.update()
        self.batches, self.share = 0, 0.0

    def update(self) -> None:
        if self.clip_norm is not None:
            try:
                clip_grad_norm(self.params, self.clip_norm)
            except FloatingPointError as error:
                error.add_note(f"in {self.place()}; the model is as it was before this step")
                raise
        self.moving = True
        self.optimizer.step()
        self.gradients = False
