"""Train a small GPT, letter by letter, until it invents names that nobody has.

    python examples/train_names.py
    python examples/train_names.py --sample 50
    python examples/train_names.py --text poems.txt --steps 3000

It learns from 5,163 first names, or from a text of your own, to say which character comes next.
You see the loss fall, on what it learns from and on a tenth that it never sees. Then it writes:
each character is drawn by its own predictions, and read again for the one after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import Parser, positive

import minidl
from minidl import data, nn, optim
from minidl import functional as F

# In comments on shapes: N pieces of text, T places in each, C features of a place, H heads, V
# characters that there are.
T, C, H, LAYERS, DROPOUT = 32, 64, 4, 2, 0.1
N, RATE = 32, 3e-3


def small(shape: tuple[int, ...], rng: object = None, dtype: type = np.float32) -> np.ndarray:
    """Initial weights: small, so that a fresh block changes little of what it is added to."""
    return nn.init.normal(shape, 0.05, rng, dtype)


class Attention(nn.Module):
    """Each place gathers from the places up to itself, in H ways at once, what they offer."""

    def __init__(self) -> None:
        self.ask = nn.Linear(C, C, init=small)
        self.answer = nn.Linear(C, C, init=small)
        self.offer = nn.Linear(C, C, init=small)
        self.out = nn.Linear(C, C, init=small)

    def forward(self, x: minidl.Tensor) -> minidl.Tensor:  # (N, T, C)
        n, t, c = x.shape
        q, k, v = (
            np.swapaxes(layer(x).reshape(n, t, H, c // H), 1, 2)  # (N, H, T, C/H)
            for layer in (self.ask, self.answer, self.offer)
        )
        y = F.scaled_dot_product_attention(q, k, v, causal=True)  # (N, H, T, C/H)
        return self.out(np.swapaxes(y, 1, 2).reshape(n, t, c))  # (N, T, C)


class Block(nn.Module):
    """Look around, then think it over; each adds to what is there."""

    def __init__(self) -> None:
        self.look = nn.Sequential(nn.LayerNorm(C), Attention(), nn.Dropout(DROPOUT))
        self.think = nn.Sequential(
            nn.LayerNorm(C),
            nn.Linear(C, 4 * C, init=small), nn.GELU("tanh"), nn.Linear(4 * C, C, init=small),
            nn.Dropout(DROPOUT),
        )  # fmt: skip

    def forward(self, x: minidl.Tensor) -> minidl.Tensor:  # (N, T, C)
        x = x + self.look(x)
        return x + self.think(x)


class GPT(nn.Module):
    """From characters to the logits of the character that follows each of them."""

    def __init__(self, characters: int) -> None:
        self.what = nn.Embedding(characters, C, std=0.05)
        self.where = nn.Parameter(small((T, C)))
        self.drop = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(C)
        self.next = nn.Linear(C, characters, init=small)

    def forward(self, i: np.ndarray) -> minidl.Tensor:  # (N, T) integers
        x = self.what(i) + self.where[: i.shape[1]]  # (N, T, C)
        x = self.norm(self.blocks(self.drop(x)))  # (N, T, C)
        return np.swapaxes(self.next(x), 1, 2)  # (N, V, T): classes come second


def write(model: GPT, characters: str, lines: int, rng: np.random.Generator) -> list[str]:
    """Let the model write lines, one character after the other."""
    end = characters.index("\n")
    text, written = [end], 0
    while written < lines and len(text) < 100 * lines:
        logits = minidl.predict(model, np.array([text[-T:]]))[0, :, -1]  # (V,)
        text.append(int(rng.choice(len(characters), p=F.softmax(logits.astype(np.float64)))))
        written += text[-1] == end
    return "".join(characters[i] for i in text[1:]).split("\n")[:lines]


def read(path: str | None, rng: np.random.Generator) -> str:
    """The text to learn from: the names in any order, a name a line, or a file."""
    if path is None:
        return "\n".join(rng.permutation(data.load_names())) + "\n"
    text = Path(path).read_text(encoding="utf-8")
    if len(text) < 40 * T:
        raise ValueError(f"{path} has {len(text)} characters: give it {40 * T} at least")
    return text if "\n" in text else text + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--text", metavar="FILE", help="learn from this text (default: the names)")
    parser.add_argument("--sample", type=positive, default=20, help="lines to write (default: 20)")
    parser.add_argument("--steps", type=positive, default=1500, help="(default: 1500)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and what is written")
    args = parser.parse_args(argv)
    with parser.one_line_errors():
        minidl.seed(args.seed)
        rng = np.random.default_rng(args.seed)
        text = read(args.text, rng)
        characters = "".join(sorted(set(text)))  # its V characters
        numbers = np.array([characters.index(c) for c in text])
        known, new = np.split(numbers, [len(numbers) * 9 // 10])  # the last tenth is held out

        model = GPT(len(characters))
        loss = nn.CrossEntropyLoss()
        rate = optim.schedules.warmup(optim.schedules.cosine(RATE, args.steps), 100)
        optimizer = optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.1)
        step = minidl.compile(model, loss, optimizer)
        ends = np.arange(0, len(new) - T, T)[:, None] + np.arange(T)  # of pieces side by side
        mean = float(np.log(len(characters)))
        for count in range(1, args.steps + 1):
            i = rng.integers(0, len(known) - T, N)[:, None] + np.arange(T)  # (N, T): any pieces
            mean += 0.02 * (float(step(known[i], known[i + 1])) - mean)
            if count % 250 == 0 or count == args.steps:
                result = minidl.evaluate(model, loss, (new[ends], new[ends + 1]))
                test = result["loss"]
                print(f"step {count:5}  loss {mean:.3f}  test loss {test:.3f}", flush=True)

        model.eval()
        lines = write(model, characters, args.sample, rng)
        print("\n" + "\n".join(lines))
        if args.text is None:
            invented = len(set(lines) - set(data.load_names()))
            print(f"\n{invented} of these {len(lines)} names are new")


if __name__ == "__main__":
    main()
