"""Language models: the provider port, one function per wire dialect, catalogue, dispatch.

Lives here: turning one request into a stream of our events, and the prices of models.
Never here: provider class towers, or knowledge of sessions and agents.
"""
