"""What a run came to: added up event by event, told once at its end. Pure.

The two last words about a run are those of KAOS: the span that completes, then the summary
(turn-loop.md 1.1; its "turn" is our run). They follow `run_finished` in the same commit, whatever
the outcome, so that whoever reads the log up to there has it all.
"""

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.thinking import CallSummary
from brainpilot_rt.domain.usage import add_cost
from brainpilot_rt.sessions.mappings import changed, having
from brainpilot_rt.sessions.state import CALLS_MAX, RunRecord, RunState


def tally(record: RunRecord, event: ev.Event) -> RunRecord:
    """The record with one more fact of its run."""
    match event:
        case ev.IntentClassified():
            return changed(record, intent=event.intent, program=event.program)
        case ev.ProgramPrompted(reason=reason):
            prompts = having(record.prompts, reason, record.prompts.get(reason, 0) + 1)
            return changed(record, prompts=prompts)
        case ev.ModelReplied() | ev.ModelAsked():
            return changed(
                record,
                model_calls=record.model_calls + 1,
                usage=record.usage.plus(event.usage),
                cost_usd=add_cost(record.cost_usd, event.cost_usd),
            )
        case ev.ToolFinished():
            call = CallSummary(
                tool_name=event.name,
                call_id=event.call_id,
                is_error=event.status != "completed",
                duration_ms=event.duration_ms,
            )
            return changed(record, calls=(*record.calls, call)[-CALLS_MAX:])
        case ev.ToolJudged(action="downgrade"):
            return changed(record, downgraded=True)
        case _:
            return record


def last_words(run: RunState, facts: list[ev.Event], now_ms: int) -> list[ev.Event]:
    """The span and the summary of a run; `facts` end with its `run_finished`."""
    end = facts[-1]
    assert isinstance(end, ev.RunFinished)
    record = run.record
    for fact in facts:
        record = tally(record, fact)
    failed = end.outcome != "completed"
    usage = record.usage
    return [
        ev.SpanCompleted(
            run_id=run.run_id,
            agent=run.agent,
            name=f"turn.{record.number}",
            span_id=run.run_id,
            parent_span_id=run.host_run_id,
            duration_ms=max(0, now_ms - record.began_ms),
            error_type=(end.error_code or end.outcome) if failed else None,
            error_message=end.reason if failed else None,
            attributes={"turn_number": record.number, "outcome": end.outcome, "turns": end.turns},
        ),
        ev.TurnSummarised(
            run_id=run.run_id,
            agent=run.agent,
            text=end.answer,
            intent=record.intent,
            program=record.program,
            tool_calls=record.calls,
            model_calls=record.model_calls,
            tokens_used=usage.total,
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            output_tokens=usage.output,
            cost_usd=record.cost_usd,
        ),
    ]
