# SPDX-License-Identifier: BSD-2-Clause
"""The document as a PDF, with matplotlib alone: text is set on pages by measured words, figures are drawn as vectors."""

import functools

import matplotlib
from matplotlib import font_manager, pyplot, transforms
from matplotlib.backends import backend_pdf
from matplotlib.textpath import text_to_path

from analysis import figures, text

# A4, landscape, in inches.
WIDTH, HEIGHT = 11.69, 8.27
MARGIN = 0.65
POINTS = 72.0
LEADING = 1.42
COLOURS = {"reproduced": "#0072B2", "contradicted": "#D55E00"}


@functools.cache
def font(size, bold=False):
    return font_manager.FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")


@functools.cache
def width_of(word, size, bold=False):
    """In inches."""
    return text_to_path.get_text_width_height_descent(word, font(size, bold), ismath=False)[0] / POINTS if word else 0.0


def wrapped(content, room, size, bold=False):
    """Lines no wider than `room`; a word that is wider is cut."""
    lines, line = [], ""
    for word in text.printable(content).split():
        while width_of(word, size, bold) > room:
            cut = next(length for length in range(len(word), 0, -1) if length == 1 or width_of(word[:length], size, bold) <= room)
            if cut == len(word):
                break
            lines += [line] if line else []
            lines.append(word[:cut])
            word, line = word[cut:], ""
        longer = f"{line} {word}" if line else word
        if line and width_of(longer, size, bold) > room:
            lines.append(line)
            longer = word
        line = longer
    return lines + [line] if line or not lines else lines


class Pages:
    """Sets blocks one below the other, and begins a page where the next does not fit."""

    def __init__(self, file, footer):
        self.file, self.footer = file, footer
        self.figure, self.number, self.y = None, 0, 0.0

    def begin(self):
        self.end()
        self.number += 1
        self.figure = pyplot.figure(figsize=(WIDTH, HEIGHT))
        self.y = MARGIN
        self.put(MARGIN, HEIGHT - 0.35, self.footer, 7.5, colour=figures.FAINT)
        self.put(WIDTH - MARGIN, HEIGHT - 0.35, str(self.number), 7.5, colour=figures.FAINT, align="right")

    def end(self):
        if self.figure is not None:
            self.file.savefig(self.figure)
            pyplot.close(self.figure)
            self.figure = None

    def put(self, x, y, content, size, bold=False, colour=figures.INK, align="left"):
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, content, fontproperties=font(size, bold), color=colour, ha=align, va="top")

    def need(self, height):
        if self.figure is None or self.y + height > HEIGHT - MARGIN:
            self.begin()

    def paragraph(self, content, size=9, bold=False, colour=figures.INK, after=0.08, keep=0.0):
        """`keep`: how much of what follows has to be on the same page."""
        lines = wrapped(content, WIDTH - 2 * MARGIN, size, bold)
        height = size / POINTS * LEADING
        self.need(height * len(lines) + keep)
        for line in lines:
            self.put(MARGIN, self.y, line, size, bold, colour)
            self.y += height
        self.y += after

    def table(self, header, rows, shares, size=8, colours=None):
        """`shares`: of the width, a column. The header is repeated on every page. `colours`: of the first cell of a row."""
        room = [(WIDTH - 2 * MARGIN) * share for share in shares]
        height = size / POINTS * LEADING

        def lay(cells, bold=False):
            return [wrapped(cell, space - 0.12, size, bold) for cell, space in zip(cells, room)]

        def draw(cells, bold=False, colour=None):
            depth = max(len(lines) for lines in cells) * height
            x = MARGIN
            for index, (lines, space) in enumerate(zip(cells, room)):
                for line_number, line in enumerate(lines):
                    shown = colour if index == 0 and colour else figures.INK
                    self.put(x, self.y + line_number * height, line, size, bold or bool(index == 0 and colour), shown)
                x += space
            self.y += depth + 0.04
            self.figure.add_artist(pyplot.Line2D([MARGIN / WIDTH, 1 - MARGIN / WIDTH], [1 - self.y / HEIGHT] * 2, color=figures.INK if bold else "#d9d9d9", linewidth=0.6))
            self.y += 0.04

        top = lay(header, bold=True)
        laid = [lay(row) for row in rows]
        depth = [max(len(lines) for lines in cells) * height + 0.08 for cells in (top, *laid)]
        self.need(depth[0] + (depth[1] if laid else 0))
        draw(top, bold=True)
        for index, cells in enumerate(laid):
            if self.y + depth[index + 1] > HEIGHT - MARGIN:
                self.begin()
                draw(top, bold=True)
            draw(cells, colour=(colours or {}).get(index))
        self.y += 0.1

    def drawing(self, drawing):
        """A figure on a page of its own."""
        self.end()
        self.number += 1
        figure = drawing.figure()
        figure.set_size_inches(WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
        self.file.savefig(figure, bbox_inches=transforms.Bbox.from_bounds(-MARGIN, -MARGIN, WIDTH, HEIGHT))
        pyplot.close(figure)


def write(path, made):
    settings = {**figures.STYLE, "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), backend_pdf.PdfPages(path, metadata={"Title": "dmatoll: reproduction", "CreationDate": None}) as file:
        pages = Pages(file, f"dmatoll · reproduction · {made['written']}")
        front(pages, made)
        for figure in made["figures"]:
            if figure.drawing is not None:
                pages.drawing(figure.drawing)
        pages.begin()
        pages.paragraph("The claims, one by one", 14, bold=True)
        for claim in made["claims"]:
            one(pages, claim, made)
        pages.paragraph("Where the numbers come from", 12, bold=True, keep=0.6)
        if made["sources"]:
            pages.table(made["sources_header"], made["sources"], (0.2, 0.13, 0.12, 0.15, 0.18, 0.12, 0.1), size=7.5)
        else:
            pages.paragraph("No run was used.")
        pages.end()


def front(pages, made):
    pages.begin()
    pages.paragraph("What safe DMA costs: published claims, run again", 18, bold=True)
    pages.paragraph(f"{made['counts']}. Written {made['written']}" + (", with the quick amounts." if made["quick"] else "."), 10, after=0.14)
    for line in made["honesty"]:
        pages.paragraph(line, 9)
    pages.paragraph(made["how"], 8.5, colour=figures.FAINT, after=0.15)
    rows = [[claim["verdict"], claim["statement"], claim["expected"], claim["reason"], claim["stamp"] or "–"] for claim in made["claims"]]
    colours = {index: COLOURS.get(claim["verdict"], figures.FAINT) for index, claim in enumerate(made["claims"])}
    pages.table(["verdict", "claim", "expected", "why", "numbers"], rows, (0.11, 0.31, 0.24, 0.23, 0.11), size=7.5, colours=colours)
    for figure in made["figures"]:
        if figure.drawing is not None:
            pages.paragraph(f"Figure: {figure.title}: {figure.stamp}, from {figure.source}; on a page of its own.", 8.5)
        else:
            pages.paragraph(f"Figure: {figure.title}: not run. {figure.command}", 8.5)


def one(pages, claim, made):
    pages.paragraph(f"{claim['id']}: {claim['verdict']}", 11, bold=True, colour=COLOURS.get(claim["verdict"], figures.INK), keep=2.2)
    pages.paragraph(claim["statement"], after=0.03)
    pages.paragraph(f"Source: {claim['source']}." + (f" It says: {claim['published']}." if claim["published"] else ""), 8.5, colour=figures.FAINT, after=0.03)
    if claim["note"]:
        pages.paragraph(claim["note"], 8.5, colour=figures.FAINT, after=0.03)
    pages.paragraph(claim["finding"], after=0.05)
    if claim["command"]:
        origin = f"From {claim['from']} ({claim['stamp']}). " if claim["from"] else ""
        pages.paragraph(f"{origin}Again: {claim['command']}", 8.5, colour=figures.FAINT)
    if claim["points"]:
        header = [*made["point_header"]]
        header[1] = f"means, {claim['unit']}"
        pages.paragraph(claim["stamp"], 8, colour=figures.FAINT, after=0.02, keep=0.5)
        pages.table(header, claim["points"], (0.3, 0.17, 0.07, 0.16, 0.13, 0.17), size=7.5)
    pages.y += 0.12
