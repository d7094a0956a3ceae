"""Flat field and dust: known light comes back, nothing wraps round, cells are not taken for dust."""
import re
import numpy as np, pytest
from cellprotocols.flatfield import (Dust, FlatfieldError, dust_similarity, find_dust, fit_flatfield, flatten_field, group_by_dust, polynomial_background,
    smooth_background, to_transmission)
from cellprotocols.images import read_image
from cellprotocols.synth_dirt import make_dirty_set, paste_artifacts

def lamp(shape, strength=.25):
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return 1 - strength * (y[:, None]**2 + .5 * x**2) + .1 * x

def uneven(b, truth): return np.ptp(np.quantile(b / truth, [.01, .99])) / np.median(b / truth)

@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_background_of_a_field_with_things_in_it(fit):
    truth = 30_000 * lamp((301, 257))  # sides that no block divides
    rng = np.random.default_rng(0)
    img = truth * (1 + .01 * rng.standard_normal(truth.shape))
    img[40:140, 60:120] *= .6; img[200:215, 30:45] *= .1; img[-40:, :30] = 20  # a stained cell, a crystal, a black corner
    found = fit(img.astype(np.uint16))
    assert found.shape == img.shape and found.dtype == np.float32 and uneven(found, truth) < .04
    assert np.abs(np.median(found / truth) - 1) < .01

@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_masked_pixels_are_not_looked_at(fit):
    truth = 1000 * lamp((200, 220))
    mask = np.zeros(truth.shape, bool); mask[:, :120] = True  # more than half
    a, b = truth.copy(), truth.copy()
    a[mask], b[mask] = 5, 4000
    assert np.array_equal(fit(a, mask), fit(b, mask)) and uneven(fit(a, mask)[~mask], truth[~mask]) < .02
    nan = np.where(mask, np.nan, truth)
    assert np.allclose(fit(nan), fit(a, mask))

def test_polynomial_is_exact_for_a_polynomial_and_follows_scale():
    truth = 500 * lamp((160, 96))
    assert np.abs(polynomial_background(truth) / truth - 1).max() < .002
    assert np.allclose(polynomial_background(truth * 40), 40 * polynomial_background(truth), rtol=1e-4)
    colour = np.stack([truth, 2 * truth, truth[::-1]], -1)
    assert np.allclose(polynomial_background(colour)[..., 2], polynomial_background(truth[::-1]), rtol=1e-5)

@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_flatten_keeps_type_and_never_wraps(dtype):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e4
    img = np.linspace(0, top, 60 * 50).reshape(60, 50).astype(dtype)
    background = np.full((60, 50), 2.); background[:, :20] = .5
    flat = flatten_field(img, background)
    assert flat.dtype == dtype
    expected = np.minimum(img.astype(float) * np.where(background < 1, 4, 1), top if np.dtype(dtype).kind in "iu" else np.inf)
    assert np.allclose(flat.astype(float), expected, rtol=1e-6)
    assert np.array_equal(flatten_field(img, np.full((60, 50), 7.)), img)  # even light changes nothing

def test_transmission():
    img = np.full((20, 30, 2), 600, np.uint16)
    assert np.array_equal(to_transmission(img, np.full((20, 30), 1200.)), np.full((20, 30, 2), .5, np.float32))
    for bad in (np.zeros((20, 30)), np.full((20, 30), np.nan), np.ones((20, 29))):
        with pytest.raises(FlatfieldError): to_transmission(img, bad)

@pytest.mark.parametrize("bad", [np.zeros((2, 3, 4, 1)), np.zeros((0, 5)), np.zeros((9, 9), bool), np.array(["a"])])
def test_what_is_no_field(bad):
    with pytest.raises(FlatfieldError): smooth_background(bad)

def test_set_flatfield_reads_once_uses_masks_and_repeats():
    truth = lamp((128, 160))
    rng = np.random.default_rng(0)
    images = [(rng.uniform(1e4, 4e4) * truth * (1 + .01 * rng.standard_normal(truth.shape))).astype(np.uint16) for _ in range(9)]
    flat = fit_flatfield(iter(images))
    assert flat.shape == truth.shape and uneven(flat, truth) < .02 and abs(flat.mean() - 1) < 1e-5
    masks = []
    for im in images: m = np.zeros(truth.shape, bool); m[30:90, 30:100] = True; im[30:90, 30:100] = 60_000; masks.append(m)
    assert uneven(fit_flatfield(images, masks), truth) < .03 < uneven(fit_flatfield(images), truth)

def dusty_set(seed=0, n_wells=6, size=360, **kinds):
    fields, _ = make_dirty_set(n_wells, 2, (size, size), dirt=.5, seed=seed)
    dirt, labels, _ = paste_artifacts(np.full((size, size), 50_000, np.uint16), kinds or dict(speck=10, disc=1), seed)
    light = dirt[..., None] / 50_000
    return fields, [np.rint(f.image * light).astype(np.uint16) for f in fields], light, labels > 0

@pytest.mark.slow
def test_dust_is_found_cells_are_not_and_cleaning_helps():
    hits, false, gain = [], [], []
    for seed in range(4):
        fields, images, light, truth = dusty_set(seed)
        dust = find_dust(iter(images))
        hits.append((dust.mask & truth).sum() / truth.sum()); false.append((dust.mask & (light[..., 0] == 1)).mean())
        for img, f in zip(images[:4], fields):
            clean = flatten_field(img, dust.pattern)
            assert np.array_equal(clean[~dust.mask], img[~dust.mask]) and clean.dtype == img.dtype
            error = lambda a: np.abs(a[truth] / f.image[truth] - 1).mean()
            gain.append(error(clean) / error(img))
    assert np.median(hits) > .75 and max(false) < .005 and np.median(gain) < .6
    fields, _ = make_dirty_set(6, 2, (360, 360), seed=1)
    assert find_dust([f.image for f in fields]).mask.mean() < .004

def test_dust_in_few_pictures_is_refused_and_memory_is_bounded():
    with pytest.raises(FlatfieldError, match="at least 5"): find_dust([np.full((64, 64), 9, np.uint8)] * 4)
    from cellprotocols.flatfield import _keep_some
    assert len(_keep_some((np.zeros(3) for _ in range(1000)), 25)) == 25
    spread = [k for seed in range(200) for k in _keep_some(range(100), 10, seed)]
    assert 45 < np.mean(spread) < 54  # every picture has the same chance

def test_no_dust_pattern_changes_nothing():
    dust = Dust(np.zeros((5, 6), bool), np.full((5, 6, 3), -.4, np.float32), np.zeros((5, 6), np.float32))
    img = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(flatten_field(img, dust.pattern), img)

def test_sessions_are_told_apart():
    fields, images, light, _ = dusty_set(1, disc=3, crystal=6, bubble=5)
    moved = [np.rint(f.image * np.roll(light, 70, 0)).astype(np.uint16) for f in fields]
    order = [images[0], moved[1], images[2], moved[3], images[4], moved[5]]
    alike = dust_similarity(order)
    assert np.allclose(alike, alike.T) and np.allclose(np.diag(alike), 1)
    assert group_by_dust(order).tolist() == [0, 1, 0, 1, 0, 1]
    assert group_by_dust(images[:1]).tolist() == [0]

# Outlines of the neuron in four pictures, drawn by hand for this test, (x, y) px.
NEURONS = {
    22: [(90,875),(200,800),(310,730),(500,640),(640,550),(760,380),(860,210),(900,210),(830,350),(825,450),(850,545),(960,580),(980,610),(880,605),(640,630),(520,670),(400,720),(220,810),(110,885)],
    55: [(0,825),(400,790),(470,735),(540,745),(660,650),(740,510),(850,330),(800,230),(770,100),(800,80),(860,240),(900,310),(960,390),(1040,460),(1150,430),(1270,360),(1270,385),(1150,460),(1060,485),(1040,510),(1130,560),(1215,590),(1215,640),(1180,620),(1030,535),(900,585),(720,680),(620,760),(580,780),(480,775),(400,815),(0,845)],
    71: [(910,300),(1010,255),(1075,260),(1190,110),(1210,115),(1095,270),(1175,400),(1175,450),(1270,470),(1270,485),(1180,475),(1080,505),(980,515),(920,495),(900,420),(905,320),(700,240),(705,215),(860,275)],
    104: [(170,290),(210,290),(300,330),(450,385),(580,370),(800,435),(1000,445),(1060,500),(1090,580),(1085,640),(1150,760),(1140,790),(1080,660),(990,690),(900,610),(800,490),(650,420),(560,395),(450,405),(300,350),(170,305)],
}

@pytest.mark.slow
def test_real_dust_comes_in_sessions_and_cleaning_spares_the_neuron(shared_data):
    """Dust of the neuron pictures: three sessions; the strong spots found; the neuron's own detail is still there where dust is divided out."""
    import cv2
    from skimage.draw import polygon2mask
    number = lambda p: int(re.search(r"\((\d+)\)", p.name)[1])
    files = sorted((shared_data/"artifacts"/"dust"/"images").glob("*.jpg"), key=number)
    groups = group_by_dust(read_image(f) for f in files)
    assert groups.tolist() == [0] * 6 + [1] * 5 + [2] * 8
    spots = {0: (150, 350), 1: (150, 430), 2: (100, 540)}  # the darkest spot of each session, (y, x)
    fine = lambda a: (lambda g: cv2.GaussianBlur(g, (0, 0), 1.5) - cv2.GaussianBlur(g, (0, 0), 12))(a.astype(np.float32).mean(-1))
    for g, (y, x) in spots.items():
        dust = find_dust(read_image(f) for f, h in zip(files, groups) if h == g)
        assert dust.mask[y, x] and .02 < dust.mask.mean() < .1
        for f in files:
            if groups[files.index(f)] != g or number(f) not in NEURONS: continue
            img = read_image(f)
            clean = flatten_field(img, dust.pattern)
            neuron = polygon2mask(img.shape[:2], [(y, x) for x, y in NEURONS[number(f)]])
            both = neuron & dust.mask
            change = np.abs(clean.astype(float).mean(-1) / img.mean(-1) - 1)[neuron].mean()
            assert np.array_equal(clean[~dust.mask], img[~dust.mask]) and change < .05
            if both.sum() > 500: assert np.corrcoef(fine(img)[both], fine(clean)[both])[0, 1] > .7

@pytest.mark.slow
@pytest.mark.parametrize("fit", [polynomial_background, smooth_background])
def test_real_fields_become_even_and_a_black_corner_stays_black(shared_data, fit):
    from cellprotocols.names import read_operetta_name
    for f in sorted((shared_data/"artifacts"/"sabgal"/"images").glob("*.tif")):
        img = read_image(f)
        background = fit(img)
        x, flat = to_transmission(img, background), flatten_field(img, background)
        assert np.ptp(background) / np.median(background) < .35 and abs(np.median(x) - 1) < .02 and flat.dtype == np.uint16
        assert abs(np.median(flat) / np.median(img) - 1) < .02
        if read_operetta_name(f)["field"] == 256: assert x[-60:, :40].max() < .2  # the edge of the well is not lamp light
