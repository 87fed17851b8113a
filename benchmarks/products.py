"""GFLOP/s of float32 products on one core: torch's own (MKL) beside oneDNN's, which robot_pt.networks.products takes where it is faster.

Run: ``python benchmarks/products.py``. Shapes are those of critics and transformers on a CPU; by processor time, best of seven, in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from robot_pt.machine import describe, versions
from robot_pt.networks.products import affine, product

SHAPES = ((256, 256, 256), (1024, 256, 256), (1024, 8, 256), (4096, 192, 768), (64, 64, 64))
"""Rows, inputs, outputs."""
REPEATS, LEAST_S = 7, 0.02


def seconds(call: Callable[[], object]) -> float:
    """Per call, of the processor."""
    call()
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < LEAST_S:
        call()
        count += 1
    return spent / count


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    rows = []
    print(
        f"{'rows, inputs, outputs':<24}{'torch':>10}{'ours':>10}{'ratio':>8}   GFLOP/s, layer with bias and ReLU / plain product"
    )
    for n, i, o in SHAPES:
        x, w, b = torch.randn(n, i), torch.randn(i, o), torch.randn(1, o)
        calls: dict[str, Callable[[], object]] = {
            "torch, layer": lambda x=x, w=w, b=b: torch.addmm(b, x, w).relu_(),
            "ours, layer": lambda x=x, w=w, b=b: affine(x, w, b, relu=True),
            "torch, product": lambda x=x, w=w: x @ w,
            "ours, product": lambda x=x, w=w: product(x, w),
        }
        taken = [{name: seconds(call) for name, call in calls.items()} for _ in range(REPEATS)]
        best = {name: min(t[name] for t in taken) for name in calls}
        speed = {name: round(2e-9 * n * i * o / s, 1) for name, s in best.items()}
        rows.append({"shape": [n, i, o], "gflops": speed})
        for kind in ("layer", "product"):
            ratio = speed[f"ours, {kind}"] / speed[f"torch, {kind}"]
            print(
                f"{f'{n}, {i}, {o} {kind}':<24}{speed[f'torch, {kind}']:>10}{speed[f'ours, {kind}']:>10}{ratio:>8.2f}"
            )
    print(
        json.dumps({"benchmark": "products", "threads": 1, "rows": rows, "machine": describe(), "versions": versions()})
    )


if __name__ == "__main__":
    main()
