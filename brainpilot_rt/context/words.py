"""Words of a text, as ranking in memory sees them: English and scripts without spaces alike. Pure.

Chinese, Japanese and Korean are written without spaces: a run of them becomes its overlapping pairs
of characters, which find a word wherever it stands.
"""

import re
from typing import Final

CJK: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Han, kana, hangul and their extensions, as a range of characters in a pattern."""
_TOKEN: Final = re.compile(f"[{CJK}]+|[^\\W_{CJK}]+")


def words(text: str) -> list[str]:
    """Lower-case words of a text in their order, repeats kept; pairs of characters for CJK."""
    found: list[str] = []
    for token in _TOKEN.findall(text.lower()):
        if "\u3040" <= token[0] <= "\ufaff":
            found += [token[at : at + 2] for at in range(len(token) - 1)] or [token]
        else:
            found.append(token)
    return found
