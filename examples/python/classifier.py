"""Trains a small network to tell two interleaved spirals apart, and says how often it is right.

    python3 examples/python/classifier.py
"""

from __future__ import annotations

import math

import tinylm
from tinylm import Tensor, nn


def spirals(n: int) -> tuple[Tensor, Tensor]:
    """Points (2 n, 2) on two spirals, and which of the two each is on."""
    turns = [(4.0 * math.sqrt((i + 0.5) / n), side) for side in (0, 1) for i in range(n)]
    points = [[t * math.cos(t + math.pi * side), t * math.sin(t + math.pi * side)] for t, side in turns]
    return Tensor(points), Tensor([side for _, side in turns], "int64")


def main() -> None:
    """Trains and reports."""
    tinylm.manual_seed(1)
    x, y = spirals(200)
    model = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Dropout(0.02), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 2))
    optimizer = tinylm.AdamW(model, learning_rate=0.01, weight_decay=0.0)
    for step in range(400):
        optimizer.zero_grad()
        loss = tinylm.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss:.4f}")
    model.eval()
    right = (model(x).argmax(1) == y).mean()
    print(f"{model.num_elements} parameters, {right:.1%} right")


if __name__ == "__main__":
    main()
