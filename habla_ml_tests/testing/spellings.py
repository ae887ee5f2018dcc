"""Spellings of one name, as keyboards, operating systems and spreadsheets write them."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st


def respell(name: str) -> list[str]:
    """Return a name of two words with accents in many spellings; the first is the name itself."""
    decomposed = unicodedata.normalize("NFD", name)
    full_width = "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in name)
    spaced = name.replace(" ", "\u00a0 ")
    return [
        *(name, decomposed, name.lower(), name.upper(), decomposed.upper(), f"  {name}\t", spaced, full_width),
        *(f"\ufeff{name}", f"{name[:2]}\u200b{name[2:]}", f"{decomposed[:1]}\u00ad{decomposed[1:]}\n"),
    ]


@st.composite
def spellings_of(draw: st.DrawFn, name: str) -> str:
    """Draw a spelling of the name: normal form, blanks, characters without width and, for simple letters, the case."""
    text = unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])), name)
    if text.upper().lower() == text.lower():  # not so for a few letters, such as the Turkish dotless i
        text = draw(st.sampled_from([text, text.lower(), text.upper(), text.casefold()]))
    if draw(st.booleans()):
        text = text.replace(" ", draw(st.sampled_from(["  ", "\u00a0", "\t", "\u3000"])))
    at = draw(st.integers(0, len(text)))
    text = text[:at] + draw(st.sampled_from(["", "\u200b", "\ufeff", "\u00ad"])) + text[at:]
    blanks = st.sampled_from(["", " ", "\t", "\u00a0", "\n"])
    return draw(blanks) + text + draw(blanks)
