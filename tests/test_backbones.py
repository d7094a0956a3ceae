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
