"""The grammar of the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

KNOWN = ("model", "epochs", "imgsz", "lr0")
WORD = st.text(alphabet="abcxyz019_./", min_size=1)


@given(st.dictionaries(st.sampled_from(KNOWN), WORD), st.data())
def test_every_spelling_of_an_option_reads_the_same(options, data):
    spellings = [
        lambda key, value: [f"{key}={value}"],
        lambda key, value: [f"--{key}={value}"],
        lambda key, value: [f"--{key}", value],
        lambda key, value: [key, "=", value],
        lambda key, value: [f"{key}=", value],
        lambda key, value: [key, f"={value}"],
    ]
    words = [
        word
        for key, value in options.items()
        for word in data.draw(st.sampled_from(spellings))(key, value)
    ]
    assert read_options(words, KNOWN) == ([], options)


def test_plain_words_keep_their_order():
    assert read_options(["a", "epochs=3", "b"], KNOWN) == (["a", "b"], {"epochs": "3"})


def test_a_list_broken_at_spaces_is_one_value():
    _, options = read_options(["imgsz=[320,", "640]", "epochs=1"], KNOWN)
    assert options == {"imgsz": "[320,640]", "epochs": "1"}


def test_a_value_may_contain_an_equals_sign():
    assert read_options(["model=a=b.pt"], KNOWN)[1] == {"model": "a=b.pt"}


def test_a_flag_may_stand_alone_or_take_a_value():
    assert read_options(["--save", "model=x"], KNOWN, ["save"])[1] == {"save": "True", "model": "x"}
    assert read_options(["save"], KNOWN, ["save"])[1] == {"save": "True"}
    assert read_options(["--save", "False"], KNOWN, ["save"])[1] == {"save": "False"}


def test_dashes_and_underscores_name_the_same_option():
    assert read_options(["--num-images", "3"], ["num_images"])[1] == {"num_images": "3"}


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown option 'epoch'; did you mean epochs\?"):
        read_options(["epoch=3"], KNOWN)


def test_an_option_without_value_says_so():
    with pytest.raises(UsageError, match=r"option 'epochs' needs a value: epochs=\.\.\."):
        read_options(["--epochs"], KNOWN)
    with pytest.raises(UsageError, match="option 'epochs' needs a value"):
        read_options(["--epochs", "model=x"], KNOWN)


def test_an_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="'epochs' is given twice: '3' and '4'"):
        read_options(["epochs=3", "--epochs", "4"], KNOWN)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.01", 0.01),
        ("none", None),
        ("TRUE", True),
        ("False", False),
        ("[1, 2]", [1, 2]),
        ("0,1", (0, 1)),
        ("runs/best.pt", "runs/best.pt"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_are_literals_or_text(text, value):
    assert value_of(text) == value


def test_nothing_near_means_no_hint():
    assert nearest("qqqq", KNOWN) == ""
