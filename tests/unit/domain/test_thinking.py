"""A context in the log: short, and the same when it is read again."""

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.thinking import ContextSection

SECTIONS = st.builds(
    ContextSection,
    name=st.sampled_from(["persona", "documents"]),
    tokens=st.integers(0, 9),
    budget=st.none() | st.integers(0, 9),
    items=st.integers(0, 2),
    left_out=st.integers(0, 2),
    why=st.sampled_from(["", "no room for it"]),
    item_ids=st.lists(st.sampled_from(["a", "b"])).map(tuple),
    digest=st.sampled_from(["", "0" * 16]),
    text=st.none() | st.sampled_from(["", "words"]),
)


@given(SECTIONS)
def test_a_section_is_read_back_as_it_was_written(section: ContextSection):
    assert ContextSection.model_validate_json(section.model_dump_json()) == section


def test_what_is_at_its_default_is_not_written():
    assert ContextSection(name="team", tokens=0).model_dump_json() == '{"name":"team","tokens":0}'
