"""`cmd`, `args` and `ros_args`: one string into the words of a command line, as launch splits it.

Only the text between substitutions is split (by the shell's rules); what a substitution yields stays in one word.
"""

from __future__ import annotations

import shlex

from robot_pt_ros.launch_runner.document import Where
from robot_pt_ros.launch_runner.template import Part, Template, Text

Word = Template


def words(template: Template, where: Where) -> tuple[Word, ...]:
    """The words of a parsed `cmd` or `args`. Raises DataError: quotes around a substitution, or of both kinds."""
    text = "".join(part.text for part in template if isinstance(part, Text))
    if "'" in text and '"' in text:
        where.fail(
            f"the words of {text!r} use both kinds of quotes, which launch splits in the wrong place; use one kind."
        )
    found: list[Word] = []
    word: list[Part] = []
    for part in template:
        if not isinstance(part, Text):
            word.append(part)
            continue
        try:
            texts = shlex.split(part.text)
        except ValueError:
            where.fail(
                f"the quotes in {part.text!r} do not close before the next $(...); launch keeps its value in one word anyway."
            )
        if (part.text[0].isspace() or not texts) and word:
            found.append(tuple(word))
            word = []
        for i, piece in enumerate(texts):
            word.append(Text(piece))
            if i < len(texts) - 1 or part.text[-1].isspace():
                found.append(tuple(word))
                word = []
    if word:
        found.append(tuple(word))
    return tuple(found)
