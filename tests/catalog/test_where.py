import pytest

from catalog.tables import entry
from eosin.catalog.where import select
from eosin.errors import ConfigError

SLIDES = (
    entry("dir/a.svs", organ="lung", mpp_x=0.25, is_test=True, **{"Primary Site": "lung"}),
    entry("dir/b.svs", organ="skin", mpp_x=0.5, is_test=False, **{"Primary Site": "skin"}),
    entry("dir/c.svs", organ=None, mpp_x=None, is_test=None, **{"Primary Site": None}),
)
COLUMNS = ("organ", "mpp_x", "is_test", "Primary Site", "never_filled")


def chosen(where):
    return "".join(found.name[0] for found in select(SLIDES, where, COLUMNS))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("organ == 'lung'", "a"),
        ("organ != 'lung'", "bc"),
        ("'lung' == organ", "a"),
        ("organ in ('lung', 'skin')", "ab"),
        ("organ not in ['lung']", "bc"),
        ("mpp_x < 0.3", "a"),
        ("mpp_x <= 0.5 and not mpp_x < 0.3", "b"),
        ("mpp_x > -1", "ab"),
        ("mpp_x >= 0.5", "b"),
        ("0.2 < mpp_x < 0.4", "a"),
        ("not (organ == 'lung' or organ == 'skin')", "c"),
        ("organ == 'lung' or mpp_x == 0.5", "ab"),
        ("organ is missing", "c"),
        ("organ is not missing", "ab"),
        ("never_filled is missing", "abc"),
        ("never_filled == 'x'", ""),
        ("is_test", "a"),
        ("not is_test", "bc"),
        ("is_test == False", "b"),
        ("Primary_Site == 'lung'", "a"),
        ("organ == Primary_Site", "ab"),
        ("name == 'a.svs' or path == 'dir/b.svs'", "ab"),
        ("  organ == 'lung'\n", "a"),
        ("held_out(0)", ""),
        ("held_out(1, 7)", "abc"),
    ],
)
def test_conditions_choose_the_slides_they_hold_for(where, expected):
    assert chosen(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("organ = 'lung'", "cannot be understood"),
        ("organ ==", "cannot be understood"),
        ("", "cannot be understood"),
        ("'lung'", "'lung' is no condition"),
        ("organs == 'lung'", "names 'organs', which is no column; did you mean 'organ'"),
        ("mpp_x < '0.3'", "compares a number .* with text .*without"),
        ("organ == 5", "compares text"),
        ("organ", "compares text"),
        ("is_test == 1", "compares a truth value"),
        ("organ is 'lung'", "cannot stand after `is`"),
        ("organ in organ", "cannot stand after"),
        ("organ in (Primary_Site,)", "neither a column nor a text"),
        ("mpp_x + 1 == 2", "neither a column"),
        ("len(organ) == 2", "neither a column"),
        ("__import__('os').system('false')", "is no condition"),
        ("organ.upper() == 'LUNG'", "neither a column"),
        ("(lambda: True)()", "is no condition"),
        ("[x for x in (1,)]", "is no condition"),
        ("organ == f'{organ}'", "neither a column"),
        ("held_out(2)", "held_out takes a share"),
        ("held_out('0.1')", "held_out takes a share"),
        ("held_out(0.1, 0.5)", "held_out takes a share"),
        ("held_out()", "held_out takes a share"),
        ("held_out(0.1, seed=3)", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_reason(where, message):
    with pytest.raises(ConfigError, match=message):
        chosen(where)
