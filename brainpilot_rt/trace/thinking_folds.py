"""How a run thinks and what the team remembers, as causes: `THINKING` is a part of the fold.

What a run came to (an intent, a plan, passages, a lack) is read by its next turn; what was
remembered leads to every turn whose context showed it, whichever agent's that is.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.trace.causes import FILES_MAX, Because, Cause, Causes, Kind, cut, node_of

_ITEMS_MAX: Final = 50
"""Steps of a plan and passages of a retrieval that are told."""


def _thought(graph: Causes, node: Cause, relation: str, fed: str, *because: Because) -> None:
    """Something a run came to, which its next turn reads."""
    assert node.run_id is not None
    graph.add(node, *graph.from_run(node.run_id, relation), *because)
    graph.feed(node.run_id, node.id, fed)


def _intent(graph: Causes, at: Recorded, event: ev.IntentClassified) -> None:
    label = f"intent {event.intent}, program {event.program}"
    node = node_of(at, f"{event.run_id}/intent", "intent", label, text=event.reasoning)
    node.facts = {"confidence": event.confidence, "source": event.source}
    _thought(graph, node, "understood", "guided")


def _plan(graph: Causes, at: Recorded, event: ev.PlanChanged) -> None:
    plan = event.plan
    done = sum(step.status != "open" for step in plan.steps)
    label = f"plan {event.op} (version {plan.version}, {done} of {len(plan.steps)}): {plan.goal}"
    node = node_of(at, f"{event.run_id}/plan", "plan", label, text=event.reason)
    node.facts = {"steps": [step.model_dump() for step in plan.steps[:_ITEMS_MAX]]}
    before = graph.names.get(f"plan:{event.run_id}")
    _thought(graph, node, "planned", "guided", *([Because(before, "revised")] if before else ()))
    graph.names[f"plan:{event.run_id}"] = node.id


def _retrieved(graph: Causes, at: Recorded, event: ev.PassagesRetrieved) -> None:
    found = event.passages[:_ITEMS_MAX]
    label = f"retrieved {len(event.passages)} passages: {event.query}"
    node = node_of(at, f"{event.run_id}/retrieval", "retrieval", label)
    node.facts = {"passages": [f"{one.path}:{one.start_line}-{one.end_line}" for one in found]}
    paths = list(dict.fromkeys(one.path for one in found))[:FILES_MAX]
    files = [Because(graph.file(path, node).id, "held") for path in paths]
    _thought(graph, node, "looked up", "informed", *files)


def _checked(graph: Causes, at: Recorded, event: ev.CitationChecked) -> None:
    like = node_of(at, "", "citation", "")
    node = graph.cite(event.citation, like, *graph.from_run(event.run_id, "cited"))
    node.status = "verified" if event.verified else "not verified"
    node.facts |= {"claim": cut(event.claim, 300), "reason": event.reason}


def _gap(graph: Causes, at: Recorded, event: ev.EvidenceInsufficient | ev.LimitExceeded) -> None:
    if isinstance(event, ev.EvidenceInsufficient):
        node = node_of(at, f"{event.run_id}/gap", "gap", f"not enough evidence: {event.reason}")
        node.text = event.what_would_resolve
    else:
        label = f"limit of {event.limit} {event.kind} reached: {event.reason}"
        node = node_of(at, f"{event.run_id}/gap", "gap", label)
    _thought(graph, node, "lacked", "limited")


def _remembered(graph: Causes, at: Recorded, event: ev.MemoryAdded) -> None:
    run_id = event.run_id or graph.runs_of.get(event.agent)  # noted after its run, or in it
    for item in event.items:
        kind: Kind = "memory" if item.finding is None else "finding"
        label = item.content if item.finding is None else item.finding.claim
        node = node_of(at, f"memory:{item.id}", kind, label, text=item.content)
        node.facts = {"section": item.section}
        because = [*graph.from_run(run_id, "noted")]
        if item.finding is not None:
            node.status = "verified" if item.finding.verified else "not verified"
            node.facts["confidence"] = item.finding.confidence
            if item.finding.citation is not None:
                source = graph.cite(item.finding.citation, node, *because)
                because.append(Because(source.id, "cited"))
        graph.names[f"memory:{item.id}"] = graph.add(node, *because).id


def _summarised(graph: Causes, at: Recorded, event: ev.MemorySummarised) -> None:
    label = f"summary of {len(event.item_ids)}: {event.item.content}"
    node = node_of(at, f"memory:{event.item.id}", "memory", label, text=event.item.content)
    node.facts = {"section": event.section}
    known = [graph.names.get(f"memory:{one}", "") for one in event.item_ids]
    graph.add(node, *(Because(one, "summarised") for one in known))
    graph.names[f"memory:{event.item.id}"] = node.id


def _context(graph: Causes, _: Recorded, event: ev.ContextAssembled) -> None:
    for section in event.sections:
        for item_id in section.item_ids:
            known = graph.names.get(f"memory:{item_id}")
            if known is not None:
                graph.feed(event.run_id, known, "remembered")


THINKING: Final[Mapping[type, Callable[[Causes, Recorded, Any], None]]] = {
    ev.IntentClassified: _intent,
    ev.PlanChanged: _plan,
    ev.PassagesRetrieved: _retrieved,
    ev.CitationChecked: _checked,
    ev.EvidenceInsufficient: _gap,
    ev.LimitExceeded: _gap,
    ev.MemoryAdded: _remembered,
    ev.MemorySummarised: _summarised,
    ev.ContextAssembled: _context,
}
