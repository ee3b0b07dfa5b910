"""Retrieval: passages of a work tree that answer a few words. `text` is pure; `store` is SQLite;
`index` keeps one tree after the other up to date and answers.
"""
