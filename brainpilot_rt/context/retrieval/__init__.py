"""Passages of a work tree that answer a few words.

`text` is pure; `store` is SQLite; `index` keeps the trees up to date and answers.
"""
