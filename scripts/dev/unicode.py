#!/usr/bin/env python3
"""Writes src/data/unicode_runs.def and unicode_lower.def from the tables of Python's unicodedata."""
import os
import unicodedata

SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CLASSES = {"L": 2, "M": 3, "N": 4, "P": 5, "S": 6}  # as nnl_char_class
FOLDER = os.path.join(os.path.dirname(__file__), "../../src/data")
ABOUT = f"// Written by scripts/dev/unicode.py: Unicode {unicodedata.unidata_version}. "


def class_of(character):
    if character in SPACES:
        return 1  # White_Space
    return CLASSES.get(unicodedata.category(chr(character))[0], 0)


def runs():
    before = None
    for character in range(0x110000):
        kind = class_of(character)
        if kind != before:
            yield character << 3 | kind
        before = kind


def lower_ranges():
    """Ranges [first, last, step, delta]; characters that become several are left out."""
    ranges = []
    for character in range(0x110000):
        lower = chr(character).lower()
        if len(lower) != 1 or ord(lower) == character:
            continue
        delta, last = ord(lower) - character, ranges[-1] if ranges else None
        step = character - last[1] if last else 0
        if last and last[3] == delta and step in (1, 2) and last[2] in (0, step):
            last[1], last[2] = character, step
        else:
            ranges.append([character, character, 0, delta])
    return ranges


def write(name, about, items):
    lines, line = [ABOUT + about], ""
    for item in items:
        if len(line) + len(item) + 2 > 108:
            lines.append(line.rstrip())
            line = ""
        line += item + ", "
    lines.append(line.rstrip())
    with open(os.path.join(FOLDER, name), "w") as file:
        file.write("\n".join(lines) + "\n")


write("unicode_runs.def", "Where each run of one class begins: character << 3 | class.",
      [hex(run) for run in runs()])
write("unicode_lower.def", "Capitals: {first, last, step, what is added}.",
      ["{%d, %d, %d, %d}" % (a, b, max(step, 1), delta) for a, b, step, delta in lower_ranges()])
