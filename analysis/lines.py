# SPDX-License-Identifier: BSD-2-Clause
"""What line figures share: the look of a series, the frame of a figure, its title and its stamp."""

from matplotlib import pyplot, ticker

from analysis import compare, figures

DASHES = {"linux-lazy": (0, (1, 1.2)), "linux-strict": (0, (5, 1.5, 1, 1.5)), "linux-identity": (0, (5, 3))}
# For series that are no placements.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7b4fa3", "#444444")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def marker(index):
    """Another one than the last time that the colours came round."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def panels(count, title, stamp, height=3.6, width=None, columns=3, left=0.75):
    """(figure, axes): panels side by side, at most so many, below a title, with the stamp under them."""
    columns = min(count, columns)
    rows = -(-count // columns)
    width = width or (9.6 if columns == 1 else 11.0)
    full = rows * height + 0.95
    figure, axes = pyplot.subplots(rows, columns, figsize=(width, full), squeeze=False)
    figure.subplots_adjust(left=left / width, right=1 - 0.8 / width, top=1 - 0.75 / full, bottom=0.95 / full, wspace=0.42, hspace=0.42)
    figure.text(0.08 / width, 1 - 0.10 / full, title, fontsize=12, fontweight="bold", va="top")
    figure.text(0.08 / width, 0.10 / full, stamp, fontsize=8.5, va="bottom")
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def plain(axis):
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(figures.FAINT)
    axis.tick_params(labelsize=8, length=3, color=figures.FAINT)
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)


def thousands(axis):
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))


def errors(summaries, scale):
    """Distances to both ends of the 95 % interval; 0 where one boot has none."""
    low = [(s.mean - max(s.low, 0)) * scale if s.low is not None else 0 for s in summaries]
    high = [(s.high - s.mean) * scale if s.high is not None else 0 for s in summaries]
    return [low, high]


def series(axis, points, scale=1, **style):
    """A line with intervals through [(x, Summary)]."""
    summaries = [summary for _, summary in points]
    axis.errorbar([x for x, _ in points], [s.mean * scale for s in summaries], yerr=errors(summaries, scale), capsize=2.5, elinewidth=1, **style)


MOST_TICKS = 11


def block_sizes(axis, sizes):
    """Block sizes on x, a doubling as wide as the next, named in the usual units."""
    axis.set_xscale("log", base=2)
    step = -(-len(sizes) // MOST_TICKS)
    axis.set_xticks(sizes[::step], [compare.size(size).replace(" KiB", "K").replace(" MiB", "M").replace(" B", "") for size in sizes[::step]])
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)


NAME_SIZE = 7.5
NAMES_WIDTH = 1.15  # inches beside each panel


def room_for_names(figure, axes):
    """Beside each panel, for name_ends()."""
    width = figure.get_figwidth()
    columns = len({round(axis.get_position().x0, 3) for axis in axes})
    left = figure.subplotpars.left * width
    between = NAMES_WIDTH + left - 0.25
    panel = (width - left - NAMES_WIDTH - (columns - 1) * between) / columns
    figure.subplots_adjust(right=1 - NAMES_WIDTH / width, wspace=between / panel)


def name_ends(axis, ends):
    """Names beside the right ends of lines, apart where they would cover each other: [(x, y, name, colour)]. The axis has its limits already."""
    step = NAME_SIZE * 1.25 * axis.figure.dpi / 72
    places = axis.transData.transform([(x, y) for x, y, _, _ in ends]) if ends else []
    ordered = sorted(zip(places, ends), key=lambda each: each[0][1])
    heights, floor = [], axis.bbox.y0
    for (_, y), _ in ordered:
        heights.append(max(y, floor))
        floor = heights[-1] + step
    # What was pushed up beyond the panel goes down again.
    ceiling = max(axis.bbox.y1, axis.bbox.y0 + step * (len(heights) - 1))
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], ceiling)
        ceiling = heights[index] - step
    for height, ((x, y), (_, _, name, colour)) in zip(heights, ordered):
        offset = ((axis.bbox.x1 - x) * 72 / axis.figure.dpi + 6, (height - y) * 72 / axis.figure.dpi)
        thread = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2} if abs(offset[1]) > 3 or offset[0] > 30 else None
        axis.annotate(name, axis.transData.inverted().transform((x, y)), xytext=offset, textcoords="offset points", va="center", fontsize=NAME_SIZE, color=colour,
                      arrowprops=thread, annotation_clip=False)
