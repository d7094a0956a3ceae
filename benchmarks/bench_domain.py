"""Does a model know its limits, and does it learn a new source from ten labels a class? Prints tables of docs/quality.md.

Everything is judged on groups that the model has not seen, with 95 % intervals from resampling whole groups. The model is what the default
takes on these sets, measurements and embeddings side by side (`combined`). Other stains and cameras are made from the same cells, by known
amounts.

    python benchmarks/bench_domain.py --data ../shared/data/chromatin --out work/domain
"""

import argparse
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from cellprotocols.adapt import make_learned, train_adapted
from cellprotocols.calls import make_calls
from cellprotocols.calibration import to_prob
from cellprotocols.chromatin import annotate, patches

from cellprotocols.embed import embed_patches
from cellprotocols.embedded import make_view

from cellprotocols.domain import (
    check_domain,
    check_shift,
    find_limit,
    make_held,
    measure_distance,
    measure_shift,
    to_held,
    train_domain,
)
from cellprotocols.drift import check_drift, measure_groups, measure_looks
from cellprotocols.intervals import bootstrap
from cellprotocols.measured import measure_all
from cellprotocols.metrics import score_macro_f1
from cellprotocols.patches import to_patches
from cellprotocols.recipes import Cells, train_measured
from cellprotocols.split import make_folds

SETS = {  # name: source, options of annotate, at most so many cells of a class
    "redcells": ("redcells/cells.csv", dict(label="name", group="block"), 10**6),
    "jurkat": ("jurkat/cells.npz", dict(group="index", blocks=10), 150),
    "zips": ("zips", {}, 10**6),
    "jurkat_label_free": ("jurkat/cells.npz", dict(group="index", blocks=10), 150),
    "livecell": ("../cell_lines/livecell/manifest.csv", dict(label="cell_line", group="well"), 10**6),
}
CUT = {"jurkat_label_free": dict(channels="0,2")}  # options of patches
AMOUNTS = {  # known changes, from weak to strong
    "camera": (0.5, 1.0, 1.5),
    "contrast": (0.7, 0.5),
    "scale": (0.85, 0.7, 0.5, 1.2, 1.5),
    "colour": (0.2,),
    "gamma": (0.6,),
    "blur": (1.0, 2.0),
}
NEW = 300  # so many cells of the new source at most, whole groups


# ---- another stain and another camera, from the same cells


def change(x, how, amount):
    "Patches (N, S, S, C) as another stain or camera would have shown them; dtype stays."
    top = 255.0 if x.dtype == np.uint8 else float(np.percentile(x, 99.9))
    y = x.astype(np.float32)
    if how == "contrast":
        middle = np.median(y, axis=(0, 1, 2))
        y = middle + amount * (y - middle)
    if how == "gamma":
        y = top * np.clip(y / top, 0, 1) ** amount
    if how == "colour":
        y = y * np.linspace(1 + amount, 1 - amount, y.shape[3], dtype=np.float32)
    if how == "blur":
        y = np.stack([cv2.GaussianBlur(p, (0, 0), amount).reshape(p.shape) for p in y])
    if how == "scale":
        side = round(y.shape[1] * amount)
        y = np.stack([cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA).reshape(side, side, -1) for p in y])
        y = to_patches(list(y), x.shape[1])
    if how == "camera":
        for h, a in (("gamma", 1 + 0.3 * amount), ("colour", 0.15 * amount), ("blur", 0.7 * amount)):
            y = change(y, h, a)
        y = change(y, "scale", 1 - 0.15 * amount)
    if x.dtype.kind == "u":
        y = np.clip(np.round(y), 0, np.iinfo(x.dtype).max)
    return y.astype(x.dtype)


# ---- the sets, measured once


def describe(pixels, valid, channels):
    "Measurements and embeddings side by side."
    _, network = make_view("efficientnet-lite0", channels, pixels.shape[1])
    pieces = [slice(i, i + 64) for i in range(0, len(pixels), 64)]
    embedded = embed_patches(network, ((pixels[p], valid[p]) for p in pieces))
    return np.hstack([measure_all(pixels, valid), np.concatenate(list(embedded))])


def measure(file, pixels, valid, channels):
    "What `describe` gives, kept in a file."
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, describe(pixels, valid, channels))
    return np.load(file)


def take(data, out, name):
    "pixels, valid, y, groups, classes, measurements of the cells that are used, blank of all of them."
    source, how, most = SETS[name]
    annotate.run(str(data / source), str(out / name / "21_annotate"), **how)
    cut = patches.run(str(out / name / "21_annotate"), str(out / name / "22_patches"), **CUT.get(name, {}))
    order = np.random.default_rng(0).permutation(np.flatnonzero(cut.items.label != ""))
    rank = cut.items.label.iloc[order].groupby(cut.items.label.iloc[order]).cumcount().to_numpy()
    rows = np.sort(order[rank < most])
    t = cut.items.iloc[rows]
    classes, y = np.unique(t.label, return_inverse=True)
    pixels, valid = cut["patches"][:][rows], cut["valid"][:][rows]
    channels = (cut.path / "channels.txt").read_text(encoding="utf-8").splitlines()
    x = measure(out / f"{name}.npy", pixels, valid, channels)
    return dict(
        name=name,
        channels=channels,
        pixels=pixels,
        valid=valid,
        y=y,
        groups=t.group.to_numpy(str),
        classes=classes,
        x=x,
        blank=t.blank.to_numpy(),
    )


def halves(s):
    "Rows of the known source, and rows of other groups that become the new source."
    fold = make_folds(s["y"], s["groups"], 2, seed=0)
    old, new = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    if len(new) <= NEW:
        return old, new
    part = make_folds(s["y"][new], s["groups"][new], round(len(new) / (len(new) - NEW)), seed=0)
    return old, new[part > 0] if len(new) < 2 * NEW else new[part == 0]


def changed(s, out, how, amount):
    "Measurements of the cells of the new source, changed."
    rows = halves(s)[1]
    file = out / f"{s['name']}_{how}_{amount}.npy"
    if file.exists():
        return np.load(file)
    return measure(file, change(s["pixels"][rows], how, amount), s["valid"][rows], s["channels"])


# ---- a model that knows its limits


def fit(x, y, groups, k, seed=0):
    "The default model of these cells, and where they lie."
    cells = Cells(None, None, y, groups, k, x)
    model = train_measured(cells, np.arange(len(y)), seed)[0].eval()
    return model, train_domain(embed(model, x), y)


def embed(model, x):
    with torch.inference_mode():
        return model.scale(torch.from_numpy(x)).numpy()


def call(model, x, classes, temperature=1.0):
    with torch.inference_mode():
        logits = model.judge(torch.from_numpy(x)).numpy()
    return make_calls(to_prob(logits / temperature), list(classes))


def fit_with_limits(x, y, groups, classes, folds=3):
    "The model, its domain with what is usual on held-out groups, and what held-out cells are called."
    fold = make_folds(y, groups, folds, seed=0)
    distance, doubt, shift = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y))
    called = np.full(len(y), "", object)
    seen = np.zeros(len(y), bool)
    for k in np.unique(fold):
        own, new = fold != k, fold == k
        if len(np.unique(y[own])) < 2:
            continue  # one class alone teaches nothing
        seen |= new
        model, domain = fit(x[own], y[own], groups[own], len(classes))
        calls = call(model, x[new], classes)
        distance[new], doubt[new] = measure_distance(domain, embed(model, x[new])), calls.entropy
        for g in np.unique(groups[new]):
            shift[groups == g] = measure_shift(domain, embed(model, x[groups == g]))
        called[new] = calls.predicted
    model, domain = fit(x, y, groups, len(classes))
    return model, to_held(domain, distance[seen], doubt[seen], groups[seen], shift[seen]), called


def span(i, digits=2):
    return f"{i.value:.{digits}f} [{i.low:.{digits}f}, {i.high:.{digits}f}]"


def share_of(values, groups):
    return bootstrap(lambda i: values[i].mean(), groups, 500, limits=(0, 1))


def auroc(new, novelty, groups):
    def score(i):
        return roc_auc_score(new[i], novelty[i]) if 0 < new[i].sum() < len(i) else np.nan

    return bootstrap(score, groups, 500, limits=(0, 1))


def show_curve(s, out):
    "Accuracy and share of cells marked, against the amount of change."
    old, new = halves(s)
    model, domain, called = fit_with_limits(s["x"][old], s["y"][old], s["groups"][old], s["classes"])
    g, y = s["groups"][new], s["y"][new]
    known = measure_groups(measure_looks(s["pixels"][old], s["valid"][old]), called, s["groups"][old])
    print(
        f"\n{s['name']}: model of {len(old)} cells, {len(set(s['groups'][old]))} groups; limit {find_limit(make_held(domain)):.1f}; "
    )
    print(f"new source: {len(new)} cells of {len(set(g))} other groups\n")
    print(f"shift: at most {np.quantile(domain.shift, 0.99):.2g} in 99 % of the held-out groups\n")
    print(
        "| change | accuracy | mean confidence | cells beyond the limit | shift of all | size, class by class | drifts | marked |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for how, amount in [("none", 0), *((h, a) for h, v in AMOUNTS.items() for a in v)]:
        x = s["x"][new] if how == "none" else changed(s, out, how, amount)
        calls = call(model, x, s["classes"])
        unlike = check_domain(domain, embed(model, x), calls.entropy.to_numpy()).unlike.to_numpy()
        ok = (calls.predicted == s["classes"][y]).to_numpy()
        sure = calls[[f"prob_{c}" for c in s["classes"]]].max(axis=1).mean()
        shift = measure_shift(domain, embed(model, x))
        pixels = s["pixels"][new] if how == "none" else change(s["pixels"][new], how, amount)
        found = check_drift(known, measure_looks(pixels, s["valid"][new]), calls.predicted, g)
        by = [
            w
            for w, is_so in dict(shift=check_shift(domain, embed(model, x))[1], drift=found.marks.any()).items()
            if is_so
        ]
        marked = f"all, by {' and '.join(by)}" if by else f"{unlike.mean():.2f}"
        size = found[found.name == "size"].iloc[0]
        told = ", ".join(
            shorten(f.name) + (" (or mix)" if f.mixed else "") for f in found[found.drifts | found.mixed].itertuples()
        )
        row = f"{span(share_of(ok, g))} | {sure:.2f} | {span(share_of(unlike, g))} | {shift:.2g} | {size.ratio:.2f}, {size.same:.2f} | {told} | {marked}"
        print(f"| {how} {amount or ''} | {row} |", flush=True)


def shorten(name):
    return name.removeprefix("the ").replace("of channel ", "")


def call_held_out(s, folds=5):
    "What models say of all cells that have not seen their groups."
    fold, called = make_folds(s["y"], s["groups"], folds, seed=0), np.full(len(s["y"]), "", object)
    for k in np.unique(fold):
        own, new = fold != k, fold == k
        model, _ = fit(s["x"][own], s["y"][own], s["groups"][own], len(s["classes"]))
        called[new] = call(model, s["x"][new], s["classes"]).predicted
    return called


def show_drifts(s, draws=300):
    "False alarms: whole groups held out at random, and each group alone; and what size is found where the held-out ones are rescaled."
    called, rng, groups = call_held_out(s), np.random.default_rng(0), np.unique(s["groups"])
    looks = measure_looks(s["pixels"], s["valid"])

    def judge(new):
        own = ~new
        known = measure_groups(looks[own], called[own], s["groups"][own])
        return check_drift(known, looks[new], called[new], s["groups"][new])

    def count(parts):
        found = [judge(np.isin(s["groups"], p)) for p in parts]
        return [np.mean([f[c].any() for f in found]) for c in ("drifts", "mixed", "marks")], found

    third, found = count([rng.permutation(groups)[: max(1, len(groups) // 3)] for _ in range(draws)])
    one, alone = count([[g] for g in groups if (s["groups"] == g).sum() >= 5])
    least = [np.nanmedian([f.least[f.name == "size"].item() for f in part] or [np.nan]) for part in (found, alone)]
    row = [f"{v:.3f}" for v in third] + [f"{v:.3f}" for v in one] + [f"{v:.2f}" for v in least]
    print(f"| {s['name']} | {len(groups)} ({len(alone)}) | {' | '.join(row)} |", flush=True)


def show_answered(s, folds=5):
    "Accuracy of the cells that are answered, the unlike and then the least sure left out first."
    fold, parts = make_folds(s["y"], s["groups"], folds, seed=0), []
    for k in np.unique(fold):
        own, test = fold != k, fold == k
        code = np.unique(s["y"][own], return_inverse=True)
        classes = s["classes"][code[0]]
        model, domain, _ = fit_with_limits(s["x"][own], code[1], s["groups"][own], classes, 2)
        calls = call(model, s["x"][test], classes)
        found = check_domain(domain, embed(model, s["x"][test]), calls.entropy.to_numpy())
        prob = calls[[f"prob_{c}" for c in classes]].to_numpy()
        right = (calls.predicted == s["classes"][s["y"][test]]).to_numpy()
        parts.append(pd.DataFrame(dict(right=right, sure=prob.max(1), unlike=found.unlike, group=s["groups"][test])))
    t = pd.concat(parts).sort_values(["unlike", "sure"], ascending=[True, False], ignore_index=True)
    told = []
    for n in (round(share * len(t)) for share in (1, 0.9, 0.75, 0.5)):
        told.append(span(share_of(t.right.to_numpy(float)[:n], t.group.to_numpy()[:n])))
    print(f"| {s['name']} | {len(t)} | {t.unlike.mean():.3f} | {' | '.join(told)} |", flush=True)


def show_withheld(s, every=1, folds=3):
    "One class withheld: is it told from those that were learned?"
    fold, rows = make_folds(s["y"], s["groups"], folds, seed=0), []
    for c in range(0, len(s["classes"]), every):
        parts = []
        for k in np.unique(fold):
            own, test = (fold != k) & (s["y"] != c), fold == k
            code = np.unique(s["y"][own], return_inverse=True)
            model, domain, _ = fit_with_limits(s["x"][own], code[1], s["groups"][own], s["classes"][code[0]], 2)
            calls = call(model, s["x"][test], s["classes"][code[0]])
            found = check_domain(domain, embed(model, s["x"][test]), calls.entropy.to_numpy())
            parts.append(found.assign(new=s["y"][test] == c, group=s["groups"][test]))
        t = pd.concat(parts)
        rows.append(t.assign(withheld=s["classes"][c]))
        seen, other = t[~t.new], t[t.new]
        print(
            f"| {s['name']} | {s['classes'][c]} | {len(other)} | {span(auroc(t.new.to_numpy(), t.novelty.to_numpy(), t.group.to_numpy()))}"
            f" | {other.unlike.mean():.2f} | {seen.unlike.mean():.3f} |",
            flush=True,
        )


def show_blank(s):
    "Patches that show no cell, given to a model of the other classes."
    cells, blank = ~s["blank"] & (s["classes"][s["y"]] != "Apoptosis"), s["blank"]
    fold, parts = make_folds(s["y"][cells], s["groups"][cells], 3, seed=0), []
    x, y, g = s["x"][cells], s["y"][cells], s["groups"][cells]
    code = np.unique(y, return_inverse=True)
    for k in np.unique(fold):
        own, classes = fold != k, s["classes"][code[0]]
        model, domain, _ = fit_with_limits(x[own], code[1][own], g[own], classes)
        for new, values, groups in ((False, x[~own], g[~own]), (True, s["x"][blank], s["groups"][blank])):
            calls = call(model, values, classes)
            found = check_domain(domain, embed(model, values), calls.entropy.to_numpy())
            sure = calls[[f"prob_{c}" for c in classes]].max(axis=1)
            parts.append(found.assign(new=new, group=groups, sure=sure))
    t = pd.concat(parts)
    score = auroc(t.new.to_numpy(), t.novelty.to_numpy(), t.group.to_numpy())
    print(
        f"\nzips, {blank.sum()} blank patches and {cells.sum()} cells of held-out groups, 3 models: AUROC {span(score)}; "
    )
    print(f"marked {t.unlike[t.new].mean():.2f} of the blank ones, {t.unlike[~t.new].mean():.3f} of the cells; ")
    print(f"mean confidence {t.sure[t.new].mean():.2f} and {t.sure[~t.new].mean():.2f}", flush=True)


def show_wrong(sets, n=60):
    "Cells of other sets, brought to the model's size and number of channels by force."
    print("\n| model of | given | marked unlike | mean confidence |\n|---|---|---|---|")
    for name, s in sets.items():
        model, domain, _ = fit_with_limits(s["x"], s["y"], s["groups"], s["classes"], 2)
        for other, o in sets.items():
            if other == name:
                continue
            rows = np.linspace(0, len(o["y"]) - 1, n).astype(int)
            pixels = to_patches(list(o["pixels"][rows]), s["pixels"].shape[1])
            k = s["pixels"].shape[3]
            pixels = pixels[..., :k] if pixels.shape[3] >= k else np.repeat(pixels[..., :1], k, axis=3)
            x = describe(pixels, np.ones(pixels.shape[:3], bool), s["channels"])
            calls = call(model, x, s["classes"])
            unlike = check_domain(domain, embed(model, x), calls.entropy.to_numpy()).unlike
            sure = calls[[f"prob_{c}" for c in s["classes"]]].max(axis=1).mean()
            print(f"| {name} | {other} | {unlike.mean():.2f} | {sure:.2f} |", flush=True)


# ---- a model that learns a new source


def show_adapt(s, out, changes=(("camera", 1.0), ("contrast", 0.5), ("scale", 0.7)), folds=3, n=10):
    "Ten labels a class of the new source against all of them."
    old, new = halves(s)
    y, g, k = s["y"][new], s["groups"][new], len(s["classes"])
    model = fit(s["x"][old], s["y"][old], s["groups"][old], k)[0]
    learned = make_learned(s["x"][old], s["y"][old], s["groups"][old])
    for how, amount in changes:
        x, fold = changed(s, out, how, amount), make_folds(y, g, folds, seed=0)
        said = {m: np.zeros(len(y), int) for m in ("before", "few alone", "adapted", "all")}
        cells = Cells(None, None, y, g, k, x)
        for f in np.unique(fold):
            own, test, rng = np.flatnonzero(fold != f), np.flatnonzero(fold == f), np.random.default_rng(f)
            few = np.concatenate([rng.permutation(own[y[own] == c])[:n] for c in range(k)])
            models = dict(
                before=model,
                adapted=train_adapted(cells, few, model=model, learned=learned)[0],
                all=train_measured(cells, own)[0],
            )
            models["few alone"] = train_measured(cells, few)[0]
            for m, fitted in models.items():
                with torch.inference_mode():
                    said[m][test] = fitted.judge(torch.from_numpy(x[test])).argmax(1).numpy()

        def f1(m, i):
            return score_macro_f1(y[i], said[m][i])

        row = [span(bootstrap(lambda i, m=m: f1(m, i), g, 300)) for m in ("before", "few alone", "adapted", "all")]
        ratio = bootstrap(lambda i: f1("adapted", i) / f1("all", i), g, 300)
        print(f"| {s['name']} | {how} {amount} | {' | '.join(row)} | {span(ratio)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=Path("../shared/data/chromatin"))
    p.add_argument("--out", type=Path, default=Path("work/domain"), help="measurements are kept there")
    p.add_argument(
        "--only", default="curve,drift,answered,blank,wrong,adapt,withheld", help="some of these, separated by commas"
    )
    a = p.parse_args()
    warnings.simplefilter("ignore")  # folds of few groups say what they lack
    only = a.only.split(",")
    sets = {name: take(a.data, a.out, name) for name in (SETS if "drift" in only else list(SETS)[:3])}
    for name in ("jurkat", "redcells"):
        if "curve" in only:
            show_curve(sets[name], a.out)
    if "drift" in only:
        print(
            "\n| set | groups (of 5 cells and more) | a third held out: said | or mix | marked | one held out: said | or mix | marked | least size noticed: a third | one |\n|---|---|---|---|---|---|---|---|---|---|"
        )
        for s in sets.values():
            show_drifts(s)
    cells = dict(list(sets.items())[:3])
    if "answered" in only:
        print("\n| set | cells | unlike | all answered | 90 % | 75 % | 50 % |\n|---|---|---|---|---|---|---|")
        for s in cells.values():
            show_answered(s)
    if "blank" in only:
        show_blank(sets["zips"])
    if "wrong" in only:
        show_wrong(cells)
    if "adapt" in only:
        print(
            "\n| set | change | before | ten a class alone | adapted | all labels | adapted / all |\n|---|---|---|---|---|---|---|"
        )
        for name in ("jurkat", "redcells"):
            show_adapt(sets[name], a.out)
    if "withheld" in only:
        print("\n| set | withheld | its cells | AUROC | marked: withheld | marked: seen |\n|---|---|---|---|---|---|")
        for name, every in (("zips", 1), ("jurkat", 1), ("redcells", 3)):
            show_withheld(sets[name], every, folds=2)


if __name__ == "__main__":
    main()
