"""Evidence: what an answer claims, what does not hold, when it refuses by itself."""

from brainpilot_rt.agents.programs import research
from brainpilot_rt.agents.programs.research import Checked
from brainpilot_rt.domain.citations import Citation

CITED = Citation(path="a.txt", start_line=1, end_line=2, quote="wet leaves")


def test_each_citation_is_told_with_the_sentence_before_it():
    said = (
        'Rain fell. Leaves were wet [a.txt:1-2 "wet leaves"]. Frost came [b.txt:3 "frost. hard"]\n'
        '- Salt rose. [a.txt:1-2 "wet leaves"]'
    )
    assert [(one.path, claim) for one, claim in research.claims(said)] == [
        ("a.txt", "Leaves were wet"),
        ("b.txt", "Frost came"),
    ]


def test_the_mark_of_a_list_is_no_part_of_a_claim():
    said = '1. Salt rose [a.txt:1 "salt"]\n- Ice fell [a.txt:2 "ice"]\n2021 was dry [a.txt:3 "dry"]'
    assert [claim for _, claim in research.claims(said)] == [
        "Salt rose",
        "Ice fell",
        "2021 was dry",
    ]


def test_so_many_citations_of_an_answer_are_looked_up_and_no_more():
    said = "".join(f'Claim {number} [a.txt:{number} "salt"]. ' for number in range(1, 2_000))
    found = research.claims(said)
    assert [one.start_line for one, _ in found] == list(range(1, research.CITED_MAX + 1))


def test_one_citation_written_over_and_over_is_one_and_takes_no_time():
    said = 'Salt rose [a.txt:1 "salt"]. ' * 50_000
    assert [claim for _, claim in research.claims(said)] == ["Salt rose"]


def test_an_answer_stands_when_every_citation_holds():
    assert research.complaint([Checked(CITED, "c", verified=True)]) == ""


def test_what_does_not_hold_is_said_exactly():
    bad = CITED.model_copy(update={"path": "b.txt"})
    text = research.complaint(
        [
            Checked(CITED, "c", verified=True),
            Checked(bad, "c", verified=False, reason="no such file"),
        ]
    )
    assert "1 of 2" in text
    assert '[b.txt:1-2 "wet leaves"]: no such file' in text
    assert "a.txt" not in text.partition("\nLook")[0]
    assert "no citation" in research.complaint([])


def test_a_refusal_is_recognised_with_what_would_resolve_it():
    said = "I looked.\nInsufficient evidence: the minutes of 2021 are missing."
    assert research.refusal(said) == "Insufficient evidence: the minutes of 2021 are missing."
    assert research.refusal("证据不足, 需要会议记录")
    assert research.refusal("The documents do not mention frost.")
    assert research.refusal("I found nothing: no passage covers it.")
    assert research.refusal("The evidence is clear.") == ""


def test_why_evidence_is_missing_depends_on_what_there_was():
    assert "none of the 1" in research.shortfall([Checked(CITED, "", verified=False)], found=3)[0]
    assert "3 passages" in research.shortfall([], found=3)[0]
    assert "no passage" in research.shortfall([], found=0)[0]


def test_passages_are_fenced_as_untrusted():
    text = research.guidance("### 1. a.txt:1-2")
    assert "untrusted" in text
    assert text.rstrip().endswith("[end of passages]")
    assert "found no passage" in research.guidance("")
