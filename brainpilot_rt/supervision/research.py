"""Evidence for one run: what retrieval finds for its question, and whether its answer holds."""

import asyncio

from brainpilot_rt.agents.intent import TEXT_CHARS_MAX
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.agents.programs import research
from brainpilot_rt.context.fences import tame
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.citations import parse
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.passages import Passages
from brainpilot_rt.supervision.evidence import looked_up
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.tools.retrieving import shown


class RunResearch:
    """The research of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity) -> None:
        self._organs = organs
        self._identity = identity
        self._passages: Passages | None = None
        self._complaint = ""

    async def retrieve(self, question: str) -> Passages:
        """The passages for the run's question; looked for once."""
        if self._passages is None:
            organs, session = self._organs, self._identity.session
            count = organs.thinking.research_passages
            tree = organs.workspace(session)
            try:
                self._passages = await organs.search(session, tree, question, count)
            except RuntimeFault:
                self._passages = Passages()  # the agent's own search tool will tell it why
        return self._passages

    async def retrieved(self, question: str) -> ev.PassagesRetrieved:
        """The fact of it."""
        return ev.PassagesRetrieved(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            query=question[:TEXT_CHARS_MAX],
            passages=tuple(await self.retrieve(question)),
        )

    def guidance(self) -> str:
        """What the model is told, and shown."""
        found = self._passages
        return research.guidance(tame(f"{shown(found)}\n{found.notice}".rstrip()) if found else "")

    async def judge(
        self, said: str, tries: int, *, asked: bool, owed: bool
    ) -> tuple[str, tuple[ev.Event, ...]]:
        """Look every citation of an answer up.

        Returns what to say to the model (empty: the answer stands, or nothing more is tried) and
        what is to be recorded. `tries`: how often it was told so before. `asked`: this run was
        told to cite; else an answer without a citation is sent back for none. `owed`: the request
        is research, so that an answer that nothing shows is insufficient evidence.
        """
        claims = research.claims(said)
        tree = self._organs.workspace(self._identity.session)
        found = await asyncio.to_thread(looked_up, tree, [citation for citation, _ in claims])
        checked = [
            research.Checked(citation, claim, not wrong, wrong)
            for (citation, wrong), (_, claim) in zip(found, claims, strict=True)
        ]
        facts: list[ev.Event] = [self._checked(one) for one in checked]
        if len(claims) == research.CITED_MAX and (total := len(parse(said))) > len(claims):
            facts.append(self._beyond(total))
        complaint = research.complaint(checked)
        holds = any(one.verified for one in checked)
        refusal = "" if holds else research.refusal(said)
        if refusal and owed:
            facts.append(self._insufficient("the answer says so itself", refusal))
        if not complaint or refusal:
            return "", tuple(facts)
        if (
            (asked or checked)
            and tries < self._organs.thinking.evidence_tries_max
            and complaint != self._complaint
        ):
            self._complaint = complaint
            return complaint, tuple(facts)
        if tries:
            facts.append(self._limit(tries, holds=holds))
        if owed and not holds:
            reason, remedy = research.shortfall(checked, found=len(self._passages or ()))
            facts.append(self._insufficient(reason, remedy))
        return "", tuple(facts)

    def _checked(self, one: research.Checked) -> ev.CitationChecked:
        return ev.CitationChecked(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            claim=one.claim,
            citation=one.citation,
            verified=one.verified,
            reason=one.reason,
        )

    def _insufficient(self, reason: str, remedy: str) -> ev.EvidenceInsufficient:
        return ev.EvidenceInsufficient(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            reason=reason,
            what_would_resolve=remedy,
        )

    def _beyond(self, total: int) -> ev.LimitExceeded:
        return ev.LimitExceeded(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            kind="citations",
            limit=research.CITED_MAX,
            actual=total,
            reason="the citations beyond are not looked up and count as not shown",
        )

    def _limit(self, tries: int, *, holds: bool) -> ev.LimitExceeded:
        return ev.LimitExceeded(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            kind="evidence",
            limit=self._organs.thinking.evidence_tries_max,
            actual=tries + 1,
            reason="the answer stands with the citations that hold"
            if holds
            else "the answer stands without evidence, marked so",
        )
