"""What the model gets to read: sections with token budgets, retrieval, compaction, skills.

Lives here: choosing and shortening text. Assembly and sections are pure.
Never here: a call of a model.
"""
