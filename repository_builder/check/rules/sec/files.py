"""SEC001 to SEC003: permissions and secrets."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from repository_builder.check.inputs import Repository
from repository_builder.check.rule import Found, Mode, Severity, rule

FILE_LIMIT = 20_000
"""Files that are looked at; a repository has few, a data set that lies in it by mistake many."""

TEXT_LIMIT = 200_000
"""Bytes of a text file that are searched."""


def walk(repository: Repository) -> Iterator[os.DirEntry[str]]:
    """All files and folders below the root, links not followed."""
    waiting, seen = [str(repository.path)], 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    seen += 1
                    if seen > FILE_LIMIT:
                        return
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue


@rule("SEC001", "world-writable", Severity.WARNING)
def world_writable(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports files and folders of the repository that every user of the machine may write.

    ## Why is this bad?
    A Python model, a plugin or a backend library in the repository is code that the server runs: whoever can write it is the
    server.

    ## Example
    ```
    -rw-rw-rw-  net/1/model.py
    ```
    """
    for entry in walk(repository):
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not stat.S_ISLNK(mode) and not mode & stat.S_ISVTX:
            path, safe = Path(entry.path), stat.S_IMODE(mode) & ~stat.S_IWOTH
            message = f"everybody may write it ({stat.filemode(mode)})"
            yield repository.finding(path, message, fix=f"chmod o-w {path.name}", changes=(Mode(path, safe),))


SECRETS = {
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(rb"-----BEGIN (?:RSA |EC |OPENSSH |DSA |PGP )?PRIVATE KEY"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{34}\b"),
    "an NGC key": re.compile(rb"\bnvapi-[A-Za-z0-9_-]{40,}"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "an OpenAI key": re.compile(rb"\bsk-(?:proj-)?[A-Za-z0-9_-]{40,}"),
    "a Google key": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a password in a URL": re.compile(rb"://[^/\s:@\"'{}$<>]+:[^/\s:@\"'{}$<>]{6,}@[\w.-]+"),
}
"""What it is → how it looks."""

_TEXT = {
    ".pbtxt",
    ".py",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".cfg",
    ".ini",
    ".env",
    ".sh",
    ".md",
    ".pem",
    ".key",
    "",
}


@rule("SEC002", "secret-in-repository", Severity.WARNING)
def secret_in_repository(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports texts in the repository that look like keys, tokens or passwords. The finding never repeats them.

    ## Why is this bad?
    A repository is copied to buckets, images and laptops, and Triton gives `parameters` of a configuration to every client
    that asks for it.

    ## Example
    ```pbtxt
    parameters { key: "aws_key" value { string_value: "AKIA…" } }
    ```
    """
    for entry in walk(repository):
        path = Path(entry.path)
        if path.suffix.lower() not in _TEXT or not entry.is_file(follow_symlinks=False):
            continue
        try:
            with path.open("rb") as stream:
                content = stream.read(TEXT_LIMIT)
        except OSError:
            continue
        for kind, pattern in SECRETS.items():
            if found := pattern.search(content):
                line = content.count(b"\n", 0, found.start()) + 1
                fix = "take it out (and revoke it); read it from the environment or a mounted secret"
                yield repository.finding(path, f"this looks like {kind}", fix=fix, line=line)


_KEY_FILES = re.compile(
    r"(\.env|id_(rsa|dsa|ecdsa|ed25519)|credentials|\.netrc|\.npmrc|\.pypirc|.*\.(pem|p12|pfx|keystore))"
)


@rule("SEC003", "key-file-in-repository", Severity.WARNING, requires=("SEC002",))
def key_file_in_repository(repository: Repository) -> Iterator[Found]:
    """## What it does
    Reports files whose name says that they hold credentials: `.env`, `id_rsa`, `credentials`, `*.pem`, `.netrc`.

    ## Why is this bad?
    A repository is copied to buckets, images and laptops.

    ## Example
    ```
    net/1/.env
    ```
    """
    for entry in walk(repository):
        if _KEY_FILES.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            yield repository.finding(
                Path(entry.path), f"`{entry.name}` is a file for credentials", fix="move it elsewhere"
            )
