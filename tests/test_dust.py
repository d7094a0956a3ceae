"Dust: the same in every picture of a session, and told from the specimen."

import re

import numpy as np
import pytest
from fields import write

from cellprotocols.dust import Dust, find_dust, find_set_dust, measure_similarity, split_by_dust
from cellprotocols.flatfield import FlatfieldError, flatten_field
from cellprotocols.images import read_image
from cellprotocols.synth_dirt import make_dirty_field, make_dirty_set, paste_artifacts

# Outlines of the neuron in four pictures, drawn by hand for this test, (x, y) px.
NEURONS = {
    22: [
        (90, 875),
        (200, 800),
        (310, 730),
        (500, 640),
        (640, 550),
        (760, 380),
        (860, 210),
        (900, 210),
        (830, 350),
        (825, 450),
        (850, 545),
        (960, 580),
        (980, 610),
        (880, 605),
        (640, 630),
        (520, 670),
        (400, 720),
        (220, 810),
        (110, 885),
    ],
    55: [
        (0, 825),
        (400, 790),
        (470, 735),
        (540, 745),
        (660, 650),
        (740, 510),
        (850, 330),
        (800, 230),
        (770, 100),
        (800, 80),
        (860, 240),
        (900, 310),
        (960, 390),
        (1040, 460),
        (1150, 430),
        (1270, 360),
        (1270, 385),
        (1150, 460),
        (1060, 485),
        (1040, 510),
        (1130, 560),
        (1215, 590),
        (1215, 640),
        (1180, 620),
        (1030, 535),
        (900, 585),
        (720, 680),
        (620, 760),
        (580, 780),
        (480, 775),
        (400, 815),
        (0, 845),
    ],
    71: [
        (910, 300),
        (1010, 255),
        (1075, 260),
        (1190, 110),
        (1210, 115),
        (1095, 270),
        (1175, 400),
        (1175, 450),
        (1270, 470),
        (1270, 485),
        (1180, 475),
        (1080, 505),
        (980, 515),
        (920, 495),
        (900, 420),
        (905, 320),
        (700, 240),
        (705, 215),
        (860, 275),
    ],
    104: [
        (170, 290),
        (210, 290),
        (300, 330),
        (450, 385),
        (580, 370),
        (800, 435),
        (1000, 445),
        (1060, 500),
        (1090, 580),
        (1085, 640),
        (1150, 760),
        (1140, 790),
        (1080, 660),
        (990, 690),
        (900, 610),
        (800, 490),
        (650, 420),
        (560, 395),
        (450, 405),
        (300, 350),
        (170, 305),
    ],
}


def dusty_set(seed=0, n_wells=6, size=360, **kinds):
    fields, _ = make_dirty_set(n_wells, 2, (size, size), dirt=0.5, seed=seed)
    dirt, labels, _ = paste_artifacts(np.full((size, size), 50_000, np.uint16), kinds or dict(speck=10, disc=1), seed)
    light = dirt[..., None] / 50_000
    return fields, [np.rint(f.image * light).astype(np.uint16) for f in fields], light, labels > 0


def test_dust_is_found_in_each_session_and_a_place_seen_twice_is_no_dust(tmp_path, capsys):
    spots = [np.ones((240, 240), np.float32) for _ in range(2)]
    for s, at in zip(spots, ([(50, 60), (150, 180), (200, 40)], [(90, 120), (30, 200), (180, 100)])):
        for y, x in at:
            s[y - 14 : y + 14, x - 14 : x + 14] = 0.6
    field = lambda k: make_dirty_field((240, 240), seed=[7, k], dirt=0.0).image[..., 0]
    files = [
        write(tmp_path / "moved" / f"f{k:02}.tif", np.clip(field(k) * spots[k // 7], 0, 65535).astype(np.uint16))
        for k in range(14)
    ]
    which, found = find_set_dust(files)
    assert which.tolist() == [0] * 7 + [1] * 7 and len(found) == 2
    for d, s in zip(found, spots):
        assert d.mask[s < 1].mean() > 0.8 and d.mask[s == 1].mean() < 0.1
    rng = np.random.default_rng(0)
    same = [
        write(
            tmp_path / "same" / f"f{k}.tif",
            np.clip(field(0) * (1 + 0.01 * rng.standard_normal((240, 240))), 0, 65535).astype(np.uint16),
        )
        for k in range(8)
    ]
    which, found = find_set_dust(same)
    assert not found and set(which) == {-1} and "show one place" in capsys.readouterr().out


@pytest.mark.slow
def test_dust_is_found_cells_are_not_and_cleaning_helps():
    hits, false, gain = [], [], []
    for seed in range(4):
        fields, images, light, truth = dusty_set(seed)
        dust = find_dust(iter(images))
        hits.append((dust.mask & truth).sum() / truth.sum())
        false.append((dust.mask & (light[..., 0] == 1)).mean())
        for img, f in zip(images[:4], fields):
            clean = flatten_field(img, dust.pattern)
            assert np.array_equal(clean[~dust.mask], img[~dust.mask]) and clean.dtype == img.dtype
            error = lambda a: np.abs(a[truth] / f.image[truth] - 1).mean()
            gain.append(error(clean) / error(img))
    assert np.median(hits) > 0.75 and max(false) < 0.005 and np.median(gain) < 0.6
    fields, _ = make_dirty_set(6, 2, (360, 360), seed=1)
    assert find_dust([f.image for f in fields]).mask.mean() < 0.004


def test_dust_in_few_pictures_is_refused_and_memory_is_bounded():
    with pytest.raises(FlatfieldError, match="at least 5"):
        find_dust([np.full((64, 64), 9, np.uint8)] * 4)
    from cellprotocols.dust import _keep_some

    assert len(_keep_some((np.zeros(3) for _ in range(1000)), 25)) == 25
    spread = [k for seed in range(200) for k in _keep_some(range(100), 10, seed)]
    assert 45 < np.mean(spread) < 54  # every picture has the same chance


def test_no_dust_pattern_changes_nothing():
    dust = Dust(np.zeros((5, 6), bool), np.full((5, 6, 3), -0.4, np.float32), np.zeros((5, 6), np.float32))
    img = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(flatten_field(img, dust.pattern), img)


def test_sessions_are_told_apart():
    fields, images, light, _ = dusty_set(1, disc=3, crystal=6, bubble=5)
    moved = [np.rint(f.image * np.roll(light, 70, 0)).astype(np.uint16) for f in fields]
    order = [images[0], moved[1], images[2], moved[3], images[4], moved[5]]
    alike = measure_similarity(order)
    assert np.allclose(alike, alike.T) and np.allclose(np.diag(alike), 1)
    assert split_by_dust(order).tolist() == [0, 1, 0, 1, 0, 1]
    assert split_by_dust(images[:1]).tolist() == [0]


@pytest.mark.slow
def test_real_dust_comes_in_sessions_and_cleaning_spares_the_neuron(shared_data):
    """Dust of the neuron pictures: three sessions; the strong spots found; the neuron's own detail is still there where dust is divided out."""
    import cv2
    from skimage.draw import polygon2mask

    number = lambda p: int(re.search(r"\((\d+)\)", p.name)[1])
    files = sorted((shared_data / "artifacts" / "dust" / "images").glob("*.jpg"), key=number)
    groups = split_by_dust(read_image(f) for f in files)
    assert groups.tolist() == [0] * 6 + [1] * 5 + [2] * 8
    spots = {0: (150, 350), 1: (150, 430), 2: (100, 540)}  # the darkest spot of each session, (y, x)
    fine = lambda a: (lambda g: cv2.GaussianBlur(g, (0, 0), 1.5) - cv2.GaussianBlur(g, (0, 0), 12))(
        a.astype(np.float32).mean(-1)
    )
    for g, (y, x) in spots.items():
        dust = find_dust(read_image(f) for f, h in zip(files, groups) if h == g)
        assert dust.mask[y, x] and 0.02 < dust.mask.mean() < 0.1
        for f in files:
            if groups[files.index(f)] != g or number(f) not in NEURONS:
                continue
            img = read_image(f)
            clean = flatten_field(img, dust.pattern)
            neuron = polygon2mask(img.shape[:2], [(y, x) for x, y in NEURONS[number(f)]])
            both = neuron & dust.mask
            change = np.abs(clean.astype(float).mean(-1) / img.mean(-1) - 1)[neuron].mean()
            assert np.array_equal(clean[~dust.mask], img[~dust.mask]) and change < 0.05
            if both.sum() > 500:
                assert np.corrcoef(fine(img)[both], fine(clean)[both])[0, 1] > 0.7
