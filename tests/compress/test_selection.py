"""What holds for a weight: names over types of operation over everything, the more particular name over the other."""

from typing import Any

import pytest

from sdbuild.compress.selection import Selection, Subject
from sdbuild.errors import UserError

CONV = Subject("mid_conv_weight_to_fp16", "mid.conv.weight", (("conv", "conv2d_1"),))
DEEP = Subject("mid_deep_conv_weight_to_fp16", "mid.deep.conv.weight", (("conv", "conv2d_2"),))
LINEAR = Subject("out_weight_to_fp16", "out.weight", (("linear", "linear_0"),))
TOKENS = Subject("tokens_weight_to_fp16", "tokens.weight", (("gather", "gather_0"),))
BOTH = Subject("tied_weight_to_fp16", "tied.weight", (("gather", "gather_1"), ("linear", "linear_1")))
ALL = (CONV, DEEP, LINEAR, TOKENS)


def bits(subject: Subject, subjects: tuple[Subject, ...] = ALL, **step: Any) -> int | None:
    found = Selection("palettize", {"bits": 6, **step}, subjects).settings(subject)
    return None if found is None else found["bits"]


def test_what_is_not_overridden_holds_for_all_but_embeddings() -> None:
    assert [bits(subject) for subject in ALL] == [6, 6, 6, None]
    assert bits(TOKENS, embeddings=True) == 6
    assert bits(TOKENS, op_types={"gather": {"bits": 8}}) == 8
    assert bits(TOKENS, parameters={"tokens.*": {}}) == 6


def test_names_win_over_types_and_parameters_over_names() -> None:
    types = {"op_types": {"conv": {"bits": 8}, "linear": None}}
    assert [bits(subject, **types) for subject in ALL] == [8, 8, None, None]
    assert bits(CONV, **types, op_names={"conv2d_1": {"bits": 4}}) == 4
    assert bits(CONV, **types, op_names={"mid_conv_weight_to_fp16": {"bits": 3}, "conv2d_1": {"bits": 4}}) == 3
    assert bits(CONV, **types, op_names={"conv2d_?": {"bits": 4}}, parameters={"mid.*": {"bits": 2}}) == 2
    assert bits(LINEAR, **types, parameters={"out.weight": {"bits": 2}}) == 2
    assert bits(CONV, parameters={"mid.conv.weight": None}) is None


def test_of_patterns_the_more_particular_one_wins_wherever_it_stands() -> None:
    patterns: dict[str, Any] = {"*": None, "mid.*": {"bits": 8}, "mid.deep.*": {"bits": 4}, "*.weight": {"bits": 2}}
    for order in (list(patterns), list(reversed(patterns))):
        parameters = {key: patterns[key] for key in order}
        assert [bits(subject, parameters=parameters) for subject in ALL] == [2, 4, 2, 2]
    assert bits(CONV, parameters={"mid.conv.weigh?": {"bits": 1}, "mid.conv.weight": {"bits": 2}}) == 2


def test_an_override_keeps_what_it_does_not_say() -> None:
    step = {"bits": 6, "exact": True, "op_types": {"conv": {"bits": 8}}}
    assert Selection("palettize", step, ALL).settings(CONV) == {"bits": 8, "exact": True}


def test_equally_particular_patterns_must_agree() -> None:
    assert bits(CONV, parameters={"mid.*": {"bits": 8}, "*ight": {"bits": 8}}) == 8
    with pytest.raises(UserError, match=r"'mid\.\*' and '\*ight' both match mid\.conv\.weight and say different"):
        bits(CONV, parameters={"mid.*": {"bits": 8}, "*ight": {"bits": 4}})


def test_users_of_one_weight_must_agree() -> None:
    with pytest.raises(
        UserError, match=r"tied_weight_to_fp16 is used by gather, linear, for which .* different things"
    ):
        bits(BOTH, (BOTH,))
    assert bits(BOTH, (BOTH,), embeddings=True) == 6
    assert bits(BOTH, (BOTH,), parameters={"tied.weight": {"bits": 4}}) == 4


def test_keys_that_match_nothing_are_told_together_with_what_is_like_them() -> None:
    with pytest.raises(UserError) as caught:
        bits(
            CONV,
            op_types={"matmul": {"bits": 8}},
            op_names={"conv2d_3": None},
            parameters={"mid.conf.weight": None, "mid.conv.weight": None},
        )
    first, second, third = str(caught.value).splitlines()
    assert first == (
        "compress: 'matmul' under palettize.op_types matches no weight of this model; there are conv, gather, linear"
    )
    assert second.startswith("'conv2d_3' under palettize.op_names")
    assert "conv2d_1" in second
    assert (
        "'mid.conf.weight' under palettize.parameters matches no weight of this model; there are mid.conv.weight"
        in third
    )


@pytest.mark.parametrize("pattern", ["midd.*", "MID.*", "mid:*"])
def test_a_pattern_that_matches_nothing_is_told_which_would(pattern: str) -> None:
    with pytest.raises(UserError, match=r"no weight of this model; there are mid\.\*"):
        bits(CONV, parameters={pattern: None})


def test_parameters_of_a_package_without_names() -> None:
    nameless = Subject("conv_weight", None, (("conv", "conv"),))
    with pytest.raises(UserError, match="the package does not say any"):
        bits(nameless, (nameless,), parameters={"conv.weight": None})
