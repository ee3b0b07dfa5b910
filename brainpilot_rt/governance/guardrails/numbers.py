"""Numbers that belong to a person: cards, accounts, identity, telephones, addresses of machines.

A number is first looked at by its shape, then by its checksum, then by the words before it: an
order, a version or a part has numbers too. Pure.
"""

import re
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from brainpilot_rt.governance.guardrails.hits import Hit

CHARACTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ +().-/"
LONGEST: Final = 48
"""Characters, blanks included, with what decides that it ends."""

_Shape: TypeAlias = re.Pattern[str]
_ENDS: Final = r"(?![0-9A-Za-z_]|[-.][0-9])"
_START: Final = re.compile(
    # A digit that begins a number, not one with a long fraction, where the rest has some shape
    # below. A table of figures does not get any further than this.
    r"[0-9](?![0-9]{0,20}\.[0-9]{5})(?<![A-Za-z0-9_][0-9])(?<![A-Za-z0-9][-/.][0-9])"
    r"(?:(?<=\+[0-9])|(?<=\+\([0-9])|(?=[0-9]{13}|[0-9]{6,10}(?![0-9])"
    r"|[0-9]{3}[ -][0-9]{4}(?:[0-9]{2})?[ -]|[0-9]{2}[- ][0-9]{2}[- ][0-9]{4}"
    r"|[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.|[0-9]{2}(?:\) ?|[ .-])[0-9]{3,4}[ .-]?[0-9]{4}"
    r"|[0-9]{2}[ -][0-9]{4}(?![0-9])|(?<=1)[ .-]\(?[2-9][0-9]{2}[ .)-]{1,2}[0-9]{3}[ .-]"
    r"|(?<=0)[0-9]{1,4}\)?[ /-][0-9]{2}))"
)
_CARD: Final = re.compile(
    r"(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    rf"|[0-9]{{4}}([ -])[0-9]{{6}}\2[0-9]{{4,5}}|[0-9]{{14,16}}|[0-9]{{19}}){_ENDS}"
)
_ISSUERS: Final = re.compile(
    # Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay; each with its lengths.
    r"(?:4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|35[0-9]{14}"
    r"|62[0-9]{14}(?:[0-9]{3})?)\Z"
)
_RESIDENT: Final = re.compile(
    r"[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
    + _ENDS
)
_SSN: Final = re.compile(
    rf"(?!000|666|9)[0-9]{{3}}([- ])(?!00)[0-9]{{2}}\1(?!0000)[0-9]{{4}}{_ENDS}"
)
_SSN_PLAIN: Final = re.compile(rf"(?!000|666|9)[0-9]{{9}}{_ENDS}")
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z_]|\.[0-9]|-[A-Za-z])")
_ABROAD: Final = r"[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,4}\)?){1,2}(?:[ .-]?[0-9]{2,4}){1,4}"
_TELEPHONES: Final = tuple(
    (re.compile(shape + _ENDS), confidence, fewest, most)
    for shape, confidence, fewest, most in (
        (_ABROAD, 0.9, 8, 15),
        (r"(?<![0-9] )00" + _ABROAD, 0.75, 11, 17),
        # North America: with dots, dashes or brackets, then with blanks alone.
        (r"(?:1[ .-]\(?)?[2-9][0-9]{2}(?:\) ?|[.-])[2-9][0-9]{2}[ .-][0-9]{4}", 0.85, 10, 11),
        (r"(?:1[ .-])?[2-9][0-9]{2} [2-9][0-9]{2}[ .-][0-9]{4}", 0.72, 10, 11),
        # China: mobile, then fixed.
        (r"1[3-9][0-9]([ -]?)[0-9]{4}\1[0-9]{4}", 0.8, 11, 11),
        (r"0[1-9][0-9]{1,2}(?:-|\) ?)[1-9][0-9]{2,3}-?[0-9]{4}", 0.8, 10, 12),
        # As dialled at home in much of Europe; then anything, if it is called a telephone.
        (r"(?<![0-9] )0[1-9][0-9]{0,3}\)?(?:[ /-][0-9]{2,8}){1,4}", 0.6, 9, 12),
        (r"(?:[0-9]{7,11}|[0-9]{3}[ -][0-9]{4})", 0.52, 7, 11),
    )
)
"""Expression, confidence, fewest and most digits; the first one only after a plus."""
_IBAN: Final = re.compile(r"[A-Z](?<![A-Za-z0-9_][A-Z])[A-Z][0-9]{2}(?= ?[A-Z0-9]{4})")
_COUNTRIES: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 "
    "IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 "
    "MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 "
    "SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_CHARS: Final = {said[:2]: int(said[2:]) for said in _COUNTRIES.split()}
_COLONS: Final = re.compile(r":[0-9A-Fa-f]{0,4}:")
_HEX: Final = "0123456789abcdefABCDEF:"
_HEX_MIN: Final = 3
"""Groups; `a::b` is a name in C++ or Ruby more often than an address."""

_TELEPHONE: Final = re.compile(
    r"phone|\bt[eé]l\b|mobile|\bcell|\bcall|\bfax\b|whatsapp|\bsms\b|\btext (?:me|him|her|us)|reach"
    r"|\bdial|contact|\bring\b|telefon|ruft an|landline|电话|手机|致电|联系|拨打|号码是"
)
_OTHER: Final = re.compile(
    r"order|invoice|tracking|ticket|\bparts?\b|\bsku|isbn|serial|\bcase\b|\bref\b|\bmodel\b|timestamp"
    r"|\bbuild\b|\bids?\b|\bitem|batch|\blot\b|shipment|receipt|transaction|\bpo\b|catalog|\bdoi\b"
    r"|订单|单号|编号|发票|工单|型号|流水|版本|批次|序列"
)
_VERSION: Final = re.compile(
    r"(?:\bv|versions?|\bver|releases?|build|firmware|driver|upgraded? (?:to|from)|update to|rev"
    r"|sections?|§|chapter|clause|figure|table|[a-z]/|[=~<>]=|版本|升级到|章节)[ :.]{0,3}\Z"
)
_NAME: Final = re.compile(r"[a-z] \Z")
_PLACE: Final = re.compile(
    r"\b(?:ips?|from|to|hosts?|address|addr|at|ping|client|server|peer|via|by|login|visited|gateway|dns"
    r"|proxy|node|connect\w*|subnet|deny|allow|is|was|user|block\w*|remote)\b"
)
_SMALL: Final = 100
"""A version has small parts; beside a name alone, an address needs a larger one."""
_SOCIAL: Final = re.compile(r"\bssn\b|social security|社保|社会安全")
_BEFORE: Final = 40
"""Characters before a number that say what it is."""


def numbers(text: str) -> Iterator[Hit]:
    """Hits among the numbers of a text."""
    for found in _START.finditer(text):
        if hit := _number(text, found.start()):
            yield hit
    for found in _IBAN.finditer(text):
        if end := _account_end(text, found.start()):
            yield Hit(found.start(), end, "iban", 0.98, "a bank account (IBAN)")
    yield from _ipv6(text)


def _number(text: str, at: int) -> Hit | None:
    before = text[max(0, at - _BEFORE) : at].lower()
    other = bool(_OTHER.search(before[-24:]))
    if found := _CARD.match(text, at):
        digits = re.sub(r"[ -]", "", found[0])
        if _ISSUERS.match(digits) and luhn(digits) and len(set(digits)) > 1:
            sure = 0.95 if found[1] or found[2] else 0.85
            return _hit(found, "card", 0.5 if other else sure, "a payment card")
    if (found := _RESIDENT.match(text, at)) and _resident(found[0]):
        return _hit(found, "national_id", 0.95, "a Chinese identity number")
    if found := _SSN.match(text, at):
        return _hit(found, "ssn", _ssn_confidence(found, before, other), "a social security number")
    if (found := _SSN_PLAIN.match(text, at)) and _SOCIAL.search(before):
        return _hit(found, "ssn", 0.85, "a social security number")
    if found := _IPV4.match(text, at):
        return _hit(found, "ip", _ipv4_confidence(found[0], before), "an IP address")
    return _telephone(text, at, before, other)


def _hit(found: re.Match[str], label: str, confidence: float, reason: str) -> Hit:
    return Hit(found.start(), found.end(), label, confidence, reason)


def _ssn_confidence(found: re.Match[str], before: str, other: bool) -> float:  # noqa: FBT001 - private
    if _SOCIAL.search(before):
        return 0.98
    if other or found[1] == " ":
        return 0.5
    return 0.85


def _ipv4_confidence(said: str, before: str) -> float:
    address = IPv4Address(said)
    says_nothing = address.is_loopback or address.is_unspecified or said.startswith("255.")
    if says_nothing or _VERSION.search(before):
        return 0.0
    if _NAME.search(before) and not _PLACE.search(before) and max(address.packed) < _SMALL:
        return 0.6
    return 0.75 if address.is_private else 0.85


def _telephone(text: str, at: int, before: str, other: bool) -> Hit | None:  # noqa: FBT001 - private
    opens = before[-2:].rstrip("+(")
    start = at - len(before[-2:]) + len(opens)
    international = "+" in text[start:at]
    for shape, confidence, fewest, most in _TELEPHONES[:1] if international else _TELEPHONES[1:]:
        found = shape.match(text, at)
        if found and fewest <= sum(one.isdigit() for one in found[0]) <= most:
            called = _TELEPHONE.search(before[-30:])
            sure = min(0.98, confidence + 0.2) if called else confidence - 0.3 * other
            return Hit(start, found.end(), "phone", round(sure, 2), "a telephone number")
    return None


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - the sum of its digits
    return total % 10 == 0


def _resident(said: str) -> bool:
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(said[:17]))
    return "10X98765432"[total % 11] == said[17].upper()


def _account_end(text: str, at: int) -> int | None:
    """Where the account number ends that begins here; None: it is none."""
    chars = _IBAN_CHARS.get(text[at : at + 2])
    found = _account(chars).match(text, at) if chars else None
    if not found:
        return None
    said = found[0].replace(" ", "")
    number = "".join(str(int(one, 36)) for one in said[4:] + said[:4])
    return found.end() if int(number) % 97 == 1 else None


@cache
def _account(chars: int) -> _Shape:
    return re.compile(rf"[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]){{{chars - 4}}}(?![A-Za-z0-9_])")


def _ipv6(text: str) -> Iterator[Hit]:
    done = 0
    for found in _COLONS.finditer(text):
        if found.start() < done:
            continue
        near = text[max(0, found.start() - LONGEST) : found.start()]
        start = found.start() - len(near) + len(near.rstrip(_HEX))
        rest = text[found.start() : found.start() + LONGEST]
        end = found.start() + len(rest) - len(rest.lstrip(_HEX))
        if end - start >= LONGEST:
            continue
        done = end
        beside = text[max(0, start - 1) : start] + text[end : end + 1]
        if not re.search(r"[A-Za-z0-9_]", beside) and _is_ipv6(text[start:end]):
            yield Hit(start, end, "ip", 0.85, "an IP address")


def _is_ipv6(said: str) -> bool:
    groups = [one for one in said.split(":") if one]
    if len(groups) < _HEX_MIN or not any(one.isdigit() for one in said):
        return False
    try:
        IPv6Address(said)
    except ValueError:
        return False
    return True
