# SPDX-License-Identifier: MIT
"""Puts many deliberate faults into one build: the variable LIBUMF_MUTANT chooses one.

A build takes ten times as long as the run of the models that notices its fault. So a function with
a fault in it keeps its body, and gets another one beside it. A fault outside the bodies of
functions, such as in a constant, cannot be chosen at run time.
"""

import re

# Functions that run only at run time, and return a type that both bodies can have.
FUNCTION = re.compile(r'( *)(pub(\([\w: ]+\))? )?(unsafe )?(extern "C" )?fn \w')

CHOICE = """
mod mutant {
    pub(crate) fn is_chosen(number: u32) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
        let choose = || std::env::var("LIBUMF_MUTANT").ok()?.parse().ok();
        *CHOSEN.get_or_init(choose) == Some(number)
    }
}
"""


def header_end(lines, start):
    """The line after a function's header, or None if no body follows that can be exchanged."""
    for end in range(start, len(lines)):
        line = lines[end].rstrip()
        if "impl " in line.partition("->")[2] or line.endswith((";", "}")):
            return None
        if line.endswith("{"):
            return end + 1
    return None


def pieces(text):
    """Splits a file, as rustfmt leaves it, at the bodies of its functions: every second is one."""
    found, current, at = [], [], 0
    lines = text.splitlines(keepends=True)
    while at < len(lines):
        function = FUNCTION.match(lines[at])
        body = header_end(lines, at) if function else None
        if body is None:
            current.append(lines[at])
            at += 1
            continue
        end = lines.index(function[1] + "}\n", body)
        found += ["".join(current + lines[at:body]), "".join(lines[body:end])]
        current, at = [], end
    return [*found, "".join(current)]


def can_be_chosen(text, mutant):
    """Whether the two versions of a file differ only in the bodies of functions."""
    return pieces(text)[::2] == pieces(mutant)[::2]


def with_choice(text, mutants):
    """A file from which the run chooses one of `mutants`, pairs of a number and a whole file."""
    versions = [(number, pieces(mutant)) for number, mutant in mutants]
    chosen = []
    for at, piece in enumerate(pieces(text)):
        choices = [
            f"if crate::mutant::is_chosen({number}) {{\n{version[at]}}} else "
            for number, version in versions
            if version[at] != piece
        ]
        chosen.append(f"{''.join(choices)}{{\n{piece}}}\n" if choices else piece)
    return "".join(chosen)
