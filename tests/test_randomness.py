import itertools

from hypothesis import given
from hypothesis import strategies as st

from eosin.randomness import Purpose, rng_at

places = st.tuples(
    st.integers(0, 2**40), st.sampled_from(Purpose), st.integers(0, 2**31), st.integers(0, 2**16)
)


@given(places)
def test_a_place_always_has_the_same_numbers(place):
    assert rng_at(*place).random(3).tolist() == rng_at(*place).random(3).tolist()


@given(places, places)
def test_two_places_have_different_numbers(one, other):
    if one != other:
        assert rng_at(*one).random(3).tolist() != rng_at(*other).random(3).tolist()


def test_neighbouring_places_do_not_collide_where_added_seeds_would():
    first = {
        rng_at(seed, purpose, index, part).integers(2**62)
        for seed, purpose, index, part in itertools.product(range(6), Purpose, range(6), range(6))
    }
    assert len(first) == 6 * len(Purpose) * 6 * 6
