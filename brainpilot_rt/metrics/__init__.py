"""Numbers about the daemon: folds over events, gauges by callback, exposition.

Lives here: counters derived from events and their Prometheus and JSON forms.
Never here: labels per session or per agent (they grow without bound), or a source of truth.
"""
