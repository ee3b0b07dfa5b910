"""Passages of a work tree that answer a few words.

Lives here: what is indexed of a file (`text`, pure), the index in SQLite (`store`), and what keeps
it up to date with the work trees and answers (`index`).
Never here: a file that is not of a work tree, memory, and anything that cannot be made again.
"""
