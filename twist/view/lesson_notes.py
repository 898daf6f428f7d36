"""A teacher's notes in Markdown as HTML that shows them and does nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from twist.view.pages import text

#: A question, and the answer that a click reveals: paragraphs that begin so.
_ASKED, _ANSWERED = re.compile(r"(?:Q|Question):\s*(.+)", re.DOTALL), re.compile(r"(?:A|Answer):\s*(.+)", re.DOTALL)
_HEADING = re.compile(r"(#{1,4})\s+(.+?)\s*#*")
_ITEM = re.compile(r"\s{0,3}(?:([-*+])|(\d{1,3})[.)])\s+(.*)")
_CODE = re.compile(r"(`+)(.+?)\1")
_LINK = re.compile(r"\[([^][]{1,200})\]\(([^()\s]{1,500})\)")
_SAFE = re.compile(r"#step=\d{1,9}|(?:https?://|mailto:)[\w.~:/?#@!$&'*+,;=%-]+")
_STRONG = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*|__(?=\S)(.+?)(?<=\S)__")
_SLANTED = re.compile(
    r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])|(?<![\w_])_(?=[^\s_])(.+?)(?<=[^\s_])_(?![\w_])"
)


def notes_html(markdown: str) -> str:
    """Notes as HTML: headings, paragraphs, lists, quotes, code, bold, slanted, links, and questions with answers.

    A paragraph that begins with ``Q:`` is a question; a next one that begins with ``A:`` is its answer, hidden until
    it is asked for. A link to ``#step=120`` moves the page to that step. Markup is shown as the text it is, and so is
    a link that leads anywhere but to a step, a web address or a mail address.

    Examples
    --------
    >>> notes_html("Look at [step 5](#step=5): **sharp** & <b>even</b>")
    '<p>Look at <a href="#step=5">step 5</a>: <strong>sharp</strong> &amp; &lt;b&gt;even&lt;/b&gt;</p>'
    """
    return "\n".join(_blocks(markdown.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4).split("\n")))


def question_html(question: str, answer: str) -> str:
    """A question, with an answer that a click reveals; both are plain text."""
    return _question(text(question), text(answer))


def _question(question: str, answer: str) -> str:
    if not answer:
        return f'<p class="twist-question">{question}</p>'
    return f"<details><summary>{question}</summary><p>{answer}</p></details>"


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.lstrip().startswith("```"):
            end = next((k for k in range(at + 1, len(lines)) if lines[k].lstrip().startswith("```")), len(lines))
            yield f"<pre><code>{_lines(lines[at + 1 : end])}</code></pre>"
            at = end + 1
        elif found := _HEADING.fullmatch(line.strip()):
            level = min(6, len(found[1]) + 2)  # the page has its own first two
            yield f"<h{level}>{_inline(found[2])}</h{level}>"
            at += 1
        elif re.fullmatch(r"\s*([-*_])(?:\s*\1){2,}\s*", line):
            yield "<hr>"
            at += 1
        elif line.lstrip().startswith(">"):
            end = _while(lines, at, lambda each: each.lstrip().startswith(">"))
            inner = [each.lstrip()[1:].removeprefix(" ") for each in lines[at:end]]
            yield f"<blockquote>{''.join(_blocks(inner)) if _depth(inner) < 5 else _lines(inner)}</blockquote>"
            at = end
        elif found := _ITEM.fullmatch(line):
            ordered, items = bool(found[2]), list[str]()
            while at < len(lines) and lines[at].strip():
                if item := _ITEM.fullmatch(lines[at]):
                    items.append(item[3])
                else:
                    items[-1] += f" {lines[at].strip()}"
                at += 1
            tag = "ol" if ordered else "ul"
            yield f"<{tag}>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</{tag}>"
        else:
            paragraph, at = _paragraph(lines, at)
            if asked := _ASKED.fullmatch(paragraph):
                start = _while(lines, at, lambda each: not each.strip())
                then, end = _paragraph(lines, start) if start < len(lines) else ("", start)
                answered = _ANSWERED.fullmatch(then)
                yield _question(_inline(asked[1]), _inline(answered[1]) if answered else "")
                at = end if answered else at
            else:
                yield f"<p>{_inline(paragraph)}</p>"


def _paragraph(lines: list[str], at: int) -> tuple[str, int]:
    end = at + 1
    while end < len(lines) and lines[end].strip() and not _begins_block(lines[end]):
        end += 1
    return " ".join(line.strip() for line in lines[at:end]), end


def _begins_block(line: str) -> bool:
    plain = line.lstrip()
    return plain.startswith((">", "```", "A:", "Answer:")) or bool(_HEADING.fullmatch(plain) or _ITEM.fullmatch(line))


def _while(lines: list[str], at: int, holds: Callable[[str], bool]) -> int:
    return next((k for k in range(at, len(lines)) if not holds(lines[k])), len(lines))


def _depth(lines: list[str]) -> int:
    return max((len(line) - len(line.lstrip("> ")) for line in lines), default=0)


def _lines(lines: list[str]) -> str:
    return "\n".join(map(text, lines))


def _inline(words: str) -> str:
    """Code first, for nothing in it is markup; then links; then what is stressed."""
    parts, at = list[str](), 0
    for found in _CODE.finditer(words):
        parts += [_linked(words[at : found.start()]), f"<code>{text(found[2].strip())}</code>"]
        at = found.end()
    return "".join([*parts, _linked(words[at:])])


def _linked(words: str) -> str:
    parts, at = list[str](), 0
    for found in _LINK.finditer(words):
        if _SAFE.fullmatch(found[2]):
            away = "" if found[2].startswith("#") else ' rel="noopener noreferrer" target="_blank"'
            parts += [
                _stressed(words[at : found.start()]),
                f'<a href="{text(found[2])}"{away}>{_stressed(found[1])}</a>',
            ]
            at = found.end()
    return "".join([*parts, _stressed(words[at:])])


def _stressed(words: str) -> str:
    plain = text(words)
    plain = _STRONG.sub(lambda found: f"<strong>{found[1] or found[2]}</strong>", plain)
    return _SLANTED.sub(lambda found: f"<em>{found[1] or found[2]}</em>", plain)
