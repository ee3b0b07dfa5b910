"""Graph-of-Trace: an event consumer that builds the reasoning graph and the causal view.

Lives here: nodes, edges, cycle checks, queries over the graph.
Never here: being asked for permission; nothing waits for the trace.
"""
