"""Group bootstrap and grouped folds beside scikit-learn in a loop, in one run, as ratios.

    python benchmarks/bench_metrics.py [--draws 1000]

The peer draws the same groups and calls scikit-learn on the rows of each draw; it is timed on fewer draws and scaled up,
and its interval must agree with ours on those draws.
"""

import argparse, time, warnings
import numpy as np
from sklearn import metrics as sk
from sklearn.model_selection import StratifiedGroupKFold
from rows import add_row
from cellprotocols.calibration import to_prob
from cellprotocols.intervals import bootstrap
from cellprotocols.metrics import bootstrap_score, score_table
from cellprotocols.split import find_duplicates, link_clicks, make_folds

warnings.filterwarnings("ignore")


def clock(fn):
    "Seconds and the result; the best of two runs."
    best = np.inf
    for _ in range(2):
        start = time.perf_counter()
        out = fn()
        best = min(best, time.perf_counter() - start)
    return best, out


def bench_bootstrap(n_items, n_groups, n_draws, few, k=5):
    rng = np.random.default_rng(0)
    y, g = rng.integers(0, k, n_items), rng.integers(0, n_groups, n_items)
    prob = to_prob(1.5 * np.eye(k)[y] + rng.normal(0, 1.5, (n_items, k)))
    p = prob.argmax(1)
    f1 = lambda i: sk.f1_score(y[i], p[i], average="macro")
    ours, _ = clock(lambda: bootstrap_score("macro_f1", y, p, g, range(k), n=n_draws))
    peer, theirs = clock(lambda: bootstrap(f1, g, n=few, limits=(0, 1)))
    np.testing.assert_allclose(bootstrap_score("macro_f1", y, p, g, range(k), n=few), theirs, atol=1e-9)
    print(
        f"macro-F1, {n_items} items, {n_groups} groups, {n_draws} draws: {ours:.3f} s; sklearn in a loop {peer * n_draws / few:.1f} s; {peer * n_draws / few / ours:.0f} x"
    )
    add_row(
        f"interval of macro-F1, {n_items} items, {n_groups} groups, {n_draws} draws; value: times as fast",
        f"{ours:.3f} s",
        f"scikit-learn in a loop {peer * n_draws / few:.1f} s",
        peer * n_draws / few / ours,
    )
    ours, _ = clock(lambda: score_table(y, prob, groups=g, n=n_draws))
    auc = lambda i: np.mean(
        [f(y[i] == c, prob[i, c]) for c in range(k) for f in (sk.roc_auc_score, sk.average_precision_score)]
    )
    peer, _ = clock(lambda: bootstrap(auc, g, n=few))
    print(
        f"  whole table of 10 scores: {ours:.2f} s; sklearn in a loop, AUROC and AUPRC alone {peer * n_draws / few:.1f} s; {peer * n_draws / few / ours:.1f} x"
    )


def bench_folds(n_items, n_groups, k=5):
    rng = np.random.default_rng(0)
    g, y = rng.integers(0, n_groups, n_items), rng.integers(0, 5, n_items)
    ours, fold = clock(lambda: make_folds(y, g, k))
    peer, _ = clock(lambda: list(StratifiedGroupKFold(k, shuffle=True, random_state=0).split(y, y, g)))
    print(
        f"folds, {n_items} items, {n_groups} groups: {ours:.2f} s; StratifiedGroupKFold {peer:.2f} s; {peer / ours:.1f} x"
    )
    add_row(
        f"folds of {n_items} items, {n_groups} groups; value: times as fast",
        f"{ours:.2f} s",
        f"StratifiedGroupKFold {peer:.2f} s",
        peer / ours,
    )


def bench_scale(n):
    rng = np.random.default_rng(0)
    home, t = rng.uniform(0, 2000, (n // 200, 2)), np.tile(np.arange(200), n // 200)
    yx = np.repeat(home, 200, 0) + rng.normal(0, 2, (len(t), 2))
    s, who = clock(lambda: link_clicks(t, *yx.T, radius=8))
    print(f"link_clicks, {len(t)} clicks: {s:.2f} s, {who.max() + 1} groups")
    images = rng.integers(0, 255, (n // 5, 64, 64), dtype=np.uint8)
    s, _ = clock(lambda: find_duplicates(images))
    print(f"find_duplicates, {len(images)} patches of 64 x 64: {s:.1f} s")


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--draws", type=int, default=1000)
    n_draws = args.parse_args().draws
    bench_bootstrap(1_000, 40, n_draws, 50)
    bench_bootstrap(20_000, 500, n_draws, 10)
    bench_bootstrap(100_000, 20_000, n_draws, 3)
    bench_folds(20_000, 2_000)
    bench_scale(100_000)
