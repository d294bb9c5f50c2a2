"""Presets: every wrong scale, field, value or device is refused in one sentence that names what would be accepted."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tenpapers import presets


@dataclasses.dataclass(frozen=True)
class Settings:
    M: tuple[int, ...] = presets.field(minimum=1, maximum=512, ascending=True, doc="model sizes")
    gamma: float = presets.field(above=0, maximum=1, doc="stepsize")
    trials: int = presets.field(minimum=1)
    method: str = presets.field(choices=("exact", "sampled"))
    infinite: bool = presets.field()


TABLE = {
    "smoke": Settings((4,), 0.1, 2, "exact", True),
    "quick": Settings((4, 8), 0.1, 10, "exact", True),
    "full": Settings((4, 8, 16), 0.1, 100, "exact", True),
}


def test_a_scale_gives_its_preset_and_overrides_replace_fields():
    assert presets.resolve(TABLE, "quick") == TABLE["quick"]
    changed = presets.resolve(TABLE, "smoke", {"M": [16, 32], "gamma": 1, "trials": 3.0})
    assert changed == Settings((16, 32), 1.0, 3, "exact", True)
    assert isinstance(changed.gamma, float)
    assert isinstance(changed.trials, int)


def test_overrides_may_be_yaml_text():
    assert presets.resolve(TABLE, "smoke", "{M: [16], method: sampled}").M == (16,)
    assert presets.resolve(TABLE, "smoke", " ") == TABLE["smoke"]
    with pytest.raises(ValueError, match="not YAML"):
        presets.resolve(TABLE, "smoke", "{M: [16")
    with pytest.raises(ValueError, match="must map field names to values"):
        presets.resolve(TABLE, "smoke", "16")


@pytest.mark.parametrize(
    ("scale", "overrides", "words"),
    [
        ("quik", {}, "scale is 'quik'; did you mean 'quick'? Valid: smoke, quick, full."),
        ("quick", {"gama": 0.1}, "unknown field 'gama'; did you mean 'gamma'?"),
        ("quick", {"M": [4, -1]}, "an entry of M is -1; it must be at least 1 and at most 512."),
        ("quick", {"M": []}, "M is empty; it must have at least one entry."),
        ("quick", {"M": [8, 4]}, "M is [8, 4]; each of its entries must be above the one before."),
        ("quick", {"M": [4, 4]}, "M is [4, 4]; each of its entries must be above the one before."),
        ("quick", {"M": 4}, "M is 4; it must be a list."),
        ("quick", {"M": [4.5]}, "an entry of M is 4.5; it must be a whole number."),
        ("quick", {"gamma": 0}, "gamma is 0.0; it must be at most 1 and above 0."),
        ("quick", {"gamma": float("nan")}, "gamma is nan; it must be a finite number."),
        ("quick", {"gamma": "fast"}, "gamma is 'fast'; it must be a finite number."),
        ("quick", {"trials": True}, "trials is True; it must be a whole number."),
        ("quick", {"method": "exakt"}, "method is 'exakt'; did you mean 'exact'?"),
        ("quick", {"infinite": 1}, "infinite is 1; it must be true or false."),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(scale, overrides, words):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        presets.resolve(TABLE, scale, overrides)
    assert words in str(caught.value)


@given(st.integers(-1000, 1000), st.floats(allow_nan=True, allow_infinity=True))
def test_a_resolved_preset_is_always_in_range(M, gamma):
    try:
        settings = presets.resolve(TABLE, "smoke", {"M": [M], "gamma": gamma})
    except ValueError:
        assert not (1 <= M <= 512 and 0 < gamma <= 1)
    else:
        assert 1 <= settings.M[0] <= 512
        assert 0 < settings.gamma <= 1


def test_devices():
    assert presets.device("cpu") == torch.device("cpu")
    assert presets.device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r"did you mean .cpu.\? Valid: auto, cpu, cuda"):
        presets.device("gpu")


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no CUDA GPU; use 'auto' or 'cpu'"):
        presets.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert presets.device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="there are only 2 GPUs"):
        presets.device("cuda:2")
