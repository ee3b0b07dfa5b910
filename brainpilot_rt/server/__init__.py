"""HTTP and SSE: the route table, security, problem answers, streams, the web page.

Lives here: everything that knows starlette; parsing at the edge, one call inwards, one answer out.
Never here: session logic.
"""
