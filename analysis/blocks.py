# SPDX-License-Identifier: BSD-2-Clause
"""What a part of the report is made of. A family of trials makes blocks; the page and the terminal show any block alike."""

from dataclasses import dataclass, field


@dataclass
class Table:
    caption: str  # begins with the stamp: where the numbers come from
    header: list
    rows: list  # lists of text, as many as the header
    left: int = 2  # columns of words; the others hold numbers
    flagged: set = field(default_factory=set)  # indices of rows that deserve a second look


@dataclass
class Drawing:
    name: str  # of its file, unique in the section
    title: str
    figure: object  # called with nothing, it makes matplotlib's figure
    note: str = ""


@dataclass
class Block:
    title: str
    paragraphs: list = field(default_factory=list)
    drawings: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    texts: list = field(default_factory=list)  # (summary, what a program or a kernel wrote)
