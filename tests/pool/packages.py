"""Packages of articles, made by hand as PubMed Central makes them."""

import io
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
DOCTYPE = (
    '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD v1.0'
    ' 20120330//EN" "JATS-archivearticle1.dtd">'
)


def figure(name: str, caption: str, *, graphic: str = "", label: str = "") -> str:
    """A figure as articles have it; its graphic is called like it."""
    head = f"<label>{label}</label>" if label else ""
    text = f"<caption><p>{caption}</p></caption>" if caption else ""
    return f'<fig id="{name}">{head}{text}<graphic xlink:href="{graphic or name}"/></fig>'


def article(
    *figures: str, pmc: int | None = 1, body: str = "", license: str | None = "by", front: str = ""
) -> bytes:
    """An article with these figures, and paragraphs before them."""
    ids = f'<article-id pub-id-type="pmc">{pmc}</article-id>' if pmc is not None else ""
    link = f"https://creativecommons.org/licenses/{license}/4.0/"
    terms = (
        f'<permissions><license license-type="open-access" xlink:href="{link}"><license-p>Free to use'
        "</license-p></license></permissions>"
        if license
        else ""
    )
    return (
        f'<?xml version="1.0"?>\n{DOCTYPE}\n<article {XLINK}><front><article-meta>{ids}'
        f'<article-id pub-id-type="pmid">{1000 + (pmc or 0)}</article-id>'
        f'<article-id pub-id-type="doi">10.1/{pmc}</article-id>'
        f"<title-group><article-title>Of <italic>rats</italic></article-title></title-group>{terms}"
        f"{front}</article-meta></front><body><sec>{body}{''.join(figures)}</sec></body></article>"
    ).encode()


def picture(shade: int, *, size: tuple[int, int] = (96, 128), kind: str = ".jpg") -> bytes:
    """An image that is as bright as `shade` says, with something on it."""
    pixels = np.full((*size, 3), shade, np.uint8)
    pixels[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 255 - shade
    return bytes(cv2.imencode(kind, pixels)[1])


def package(path: Path, members: dict[str, bytes], *, mode: Any = "w:gz") -> Path:
    """A tar of these files, packed with gzip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def folder(path: Path, members: dict[str, bytes]) -> Path:
    """The same files in a folder."""
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
