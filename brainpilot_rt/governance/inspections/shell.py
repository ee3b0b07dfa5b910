"""Command lines that destroy, leak, or stay behind when the run is over.

A shell tool is there to run commands: what it may reach is the sandbox's to decide (D22), not a
rule's about strings, and a determined command gets past any of these. They catch what an injected
or confused model writes plainly, so that a person sees it first. Quoted text, comments and here
documents are data, unless a shell reads them: searching for `rm -rf /` is no danger.

Every repetition is bounded, so that a long command costs time in proportion to its length.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_GAP: Final = r"[^|;&\n]{0,400}?"
_BLANK: Final = r"[ \t]{0,20}"
_START: Final = (
    r"(?:^|[;|&({]|\$\(|`|\bthen\s|\bdo\s|\belse\s|(?:-\w{0,4}c|\beval)\s[\"']|-exec\s)"
    + _BLANK
    + r"(?:"
    r"(?:sudo|doas|env|nohup|exec|time|xargs|command)\s+"
    r"(?:-\S{1,40}\s+(?:\w{1,40}\s+)?|\w{1,40}=\S{0,80}\s+){0,4}"
    r"){0,3}(?:/(?:usr/)?s?bin/)?"
)
"""Where a command begins."""
_END: Final = r"(?=\s|$|[;|&)\"'`])"
_SHELL: Final = r"(?:/(?:usr/)?bin/)?(?:ba|z|da|k|fi)?sh\b"
_RUNS: Final = rf"(?:{_SHELL}|python[\d.]*\b|perl\b|ruby\b|node\b|php\b)"
_PIPED: Final = rf"\|{_BLANK}(?:sudo\s+(?:-\S{{1,40}}\s+){{0,3}})?{_RUNS}(?!\s+-[mcn]\b)"
_FETCH: Final = r"(?:curl|wget|fetch)\b"
_SEND: Final = r"(?:curl|wget|nc|ncat|netcat|socat|scp|rsync|sftp|ftp|telnet|ssh)\b(?!-)"
_HOME: Final = r"(?:~|\$\{?HOME\}?|/root|/home/\w{1,40})"
_SYSTEM: Final = (
    r"(?:bin|boot|dev|etc|home|lib\w{0,3}|opt|proc|root|sbin|srv|sys|usr|var|workspace)"
)
_ALL: Final = rf"[\"']?(?:/(?:{_SYSTEM}/?)?|{_HOME}/?)(?:\*|\.\*)?[\"']?{_END}"
_REMOVE: Final = (
    rf"{_START}rm\s+(?=[^;|&\n]{{0,200}}(?:-\w{{0,8}}[rR]|--recursive|--no-preserve-root))"
)
_READS: Final = rf"(?:{_RUNS}(?:\s+-c)?|\beval|\bsource|^\.|[;&]{_BLANK}\.)\s+"
_SECRETS: Final = (
    r"(?:\.ssh/|\bid_(?:rsa|ed25519|ecdsa)\b|\.aws/|\.gnupg/|\.(?:netrc|npmrc|pypirc)\b"
    r"|(?<![\w.])\.env\b|/etc/(?:passwd|shadow)\b|/proc/\w{1,9}/environ|\.kube/config"
    r"|\$\{?[A-Z_]{0,40}(?:TOKEN|SECRET|PASSWORD|API_?KEY)|\bprintenv\b|\$\(env\)|`env`|--export-secret)"
)
_STAYS: Final = (
    rf"(?:{_HOME}/\.(?:ssh|aws|gnupg|config/(?:autostart|systemd))\b|\bauthorized_keys\b"
    r"|\.(?:bashrc|bash_profile|zshrc|zshenv|profile)\b|/etc/|\.git/hooks/|/var/spool/cron)"
)
_CHANGES: Final = rf"{_START}(?:cp|mv|ln|install|tee|chmod|sed\s+-i\S{{0,9}})\s+"
_DISKS: Final = r"/dev/(?:sd|hd|vd|nvme|mmcblk|mapper|disk)"

_SAVED_AND_RUN: Final = (
    rf"{_FETCH}[^\n]{{0,300}}?(?:-o|>|--output){_BLANK}([^\s;|&]{{1,80}}+)[^\n]{{0,200}}?[;&]{_BLANK}"
    rf"(?:{_RUNS}\s+|\./)\1{_END}"
)

_RISKS: Final[Mapping[str, tuple[str, ...]]] = {
    "removes everything below a root": (
        "rm find",
        rf"{_REMOVE}(?:\S{{1,200}}\s+){{0,8}}?{_ALL}",
        rf"{_START}cd\s+{_ALL}{_BLANK}(?:;|&&){_BLANK}rm\s+-\w{{0,8}}[rR]\w{{0,8}}\s+[.*]{_END}",
        rf"{_START}find\s+(?!/workspace/?\s){_ALL}{_GAP}\s-(?:delete\b|exec\s+rm\b)",
    ),
    "opens everything to everybody": (
        "chmod chown",
        rf"{_START}ch(?:mod|own)\s+(?=[^;|&\n]{{0,100}}-\w{{0,8}}R)(?:\S{{1,40}}\s+){{2,4}}?{_ALL}",
    ),
    "starts itself without end": (
        "()",
        rf"(\w{{1,20}}|:){_BLANK}\(\){_BLANK}\{{{_BLANK}\1{_BLANK}\|{_BLANK}\1{_BLANK}&",
    ),
    "writes to a disk": (
        "/dev/",
        rf"\bof={_DISKS}|>{_BLANK}{_DISKS}",
        rf"{_START}(?:mkfs(?:\.\w{{1,9}})?|wipefs|fdisk|parted|shred)\s+{_GAP}/dev/",
    ),
    "stops the machine or every process": (
        "shutdown reboot halt poweroff init kill",
        rf"{_START}(?:shutdown|reboot|halt|poweroff|init\s+[06]|killall5|kill\s+-(?:9|KILL|SIGKILL)\s+-1){_END}",
    ),
    "runs what it downloads": (
        "curl wget fetch",
        rf"{_START}{_FETCH}[^;\n]{{0,400}}?{_PIPED}",
        _SAVED_AND_RUN,
        rf"{_READS}[\"']?(?:<\(|\$\(|`){_BLANK}{_FETCH}",
    ),
    "runs what is hidden in an encoding": (
        "base64 xxd openssl",
        r"\beval\s+[\"']?(?:\$\(|`)[^\n]{0,200}?\bbase64\b",
        rf"\b(?:base64\s+(?:-d|-D|--decode)|xxd\s+-r|openssl\s+enc){_GAP}{_PIPED}",
    ),
    "opens a shell to the network": (
        "/dev/tcp /dev/udp nc netcat ncat socket socat sh",
        r"/dev/(?:tcp|udp)/",
        r"\bn(?:et)?c(?:at)?\s[^;\n]{0,200}?-\w{0,8}[ec]\s+\S{0,80}sh\b",
        rf"{_SHELL}\s+-i\b[^;\n]{{0,100}}?\|{_BLANK}{_SEND}",
        r"(?i:\bsocket)\b[^\n]{0,300}?\b(?:dup2|pty\.spawn|exec\()",
        rf"\bsocat\b{_GAP}(?i:exec):",
    ),
    "sends secrets away": (
        "curl wget nc netcat socat scp rsync ftp telnet ssh",
        rf"{_START}{_SEND}[^\n]{{0,400}}?{_SECRETS}",
        rf"{_SECRETS}[^\n]{{0,400}}?[|;&]{_BLANK}{_SEND}",
        rf"{_START}(?:env|printenv|set|history){_BLANK}\|[^\n]{{0,200}}?{_SEND}",
    ),
    "changes what starts or governs later": (
        "/. rc profile zshenv authorized_keys /etc/ hooks cron systemctl core.",
        rf"(?:>|\|{_BLANK}tee\b(?:\s+-a)?){_BLANK}[\"']?[^\s;|&>]{{0,200}}?{_STAYS}",
        rf"{_CHANGES}[^;|&\n]{{0,300}}?{_STAYS}[^\s;|&]{{0,200}}{_BLANK}(?:$|[;|&<])",
        rf"{_START}crontab\s+(?!-l\b)\S|\|{_BLANK}(?:sudo\s+)?crontab\s+-",
        rf"{_START}systemctl\s+(?:--user\s+)?(?:enable|link)\b",
        r"\bgit\s[^;|&\n]{0,100}?(?:\bconfig\s[^;|&\n]{0,100}?|-c\s*)(?i:core\.(?:hookspath|sshcommand|fsmonitor))[\s=]+\S",
    ),
    "contains hidden characters": (
        "",
        r"[\x00\x08\x1b\u200b\u2060\u202a-\u202e\u2066-\u2069]",
    ),
}
"""Danger -> some words without one of which there is none (a command in small letters is searched
for them first), then its expressions."""
_PIECE: Final = re.compile(r"(?<!\S)#[^\n]*|\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_ENDS_COMMAND: Final = re.compile(r"[;|&\n({`>]")
_READ_BY_SHELL: Final = re.compile(r"(?:-\w{0,4}c|\beval|\bssh\s+\S{1,80})\s+\Z")
_HERE: Final = re.compile(r"(?<!<)<<(?!<)-?[ \t]*(['\"]?)([A-Za-z_]\w{0,60})\1")
_FED: Final = re.compile(rf"(?:^|[;|&])\s*(?:sudo\s+)?(?:{_RUNS}|ssh\b)")


def shell_risks(command: str) -> tuple[str, ...]:
    """What is dangerous about a command line; usually nothing."""
    said = _plain("\n".join(_without_documents(command.split("\n"))))
    small = said.lower()
    return tuple(
        risk
        for risk, (words, *expressions) in _RISKS.items()
        if (not words or any(word in small for word in words.split()))
        and any(re.search(one, said, re.MULTILINE) for one in expressions)
    )


def _without_documents(lines: list[str]) -> Iterator[str]:
    """The lines without here documents that no interpreter reads."""
    ends = {line.strip() for line in lines}
    until = ""
    for line in lines:
        if until:
            until = "" if line.strip() == until else until
            continue
        yield line
        here = _HERE.search(line)
        # `1 << n` is none: nothing ends it.
        if here and here[2] in ends and not _FED.search(line):
            until = here[2]


def _plain(command: str) -> str:
    """Without comments and without ends of commands in quotes; plain disguises are taken off."""
    joined = re.sub(r"\\\n|''|\"\"", "", command)
    spaced = re.sub(r"\$\{?IFS\}?(?:\$\d)?", " ", joined)

    def piece(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] == "#":
            return ""
        if text[0] == "\\":
            return text[1] if text[1].isalnum() or text[1] in "./~-" else " "
        runs = text[0] == '"' and ("$(" in text or "`" in text)
        if runs or _READ_BY_SHELL.search(spaced, max(0, found.start() - 100), found.start()):
            return text
        return _ENDS_COMMAND.sub(" ", text)

    return _PIECE.sub(piece, spaced)
