"""Documents of the Jargon File, each with one number hidden in it."""
import gzip
import hashlib
import pathlib
import typing

JARGON = pathlib.Path("/usr/share/doc/jargon-text")
SEED = 20260
DOCUMENT_CHARACTERS = 11000  # 2,000 to 3,000 tokens of this text
PROSE_CHARACTERS = 150  # shorter paragraphs are headwords and tables
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the document, of its start
HEAD = (
    "A special magic number is hidden within the following text. Make sure to "
    "memorize it. I will quiz you about the number afterwards.\n"
)
CITIES = (
    "Lisbon Cairo Toronto Vienna Nairobi Madrid Seattle Prague Mumbai Dublin "
    "Athens Chicago Warsaw Sydney Berlin Havana Geneva Boston Seoul Denver"
).split()


class Needle(typing.NamedTuple):
    city: str
    number: str
    depth: float
    context: str

    @property
    def question(self):
        return (
            f"What is the special magic number for {self.city} mentioned in "
            "the provided text?"
        )

    @property
    def answer(self):
        return (
            f"The special magic number for {self.city} mentioned in the "
            f"provided text is {self.number}"
        )


def _jargon():
    for name in ("jargon.txt.gz", "jargon.txt"):
        path = JARGON / name
        if path.exists():
            raw = path.read_bytes()
            is_packed = path.suffix == ".gz"
            return (gzip.decompress(raw) if is_packed else raw).decode()
    raise FileNotFoundError(
        f"{JARGON} has no jargon.txt; install the package jargon-text"
    )


def _is_table(paragraph):
    return any("\u2500" <= character <= "\u257f" for character in paragraph)


def _prose(text):
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return [
        paragraph
        for paragraph in paragraphs
        if len(paragraph) >= PROSE_CHARACTERS and not _is_table(paragraph)
    ]


def _number(index):
    digest = hashlib.sha256(f"{SEED} {index}".encode()).digest()
    return str(1000000 + int.from_bytes(digest[:8], "big") % 9000000)


def make_needles():
    """Twenty: document i has depth i mod 5, its own city, number and text."""
    paragraphs = _prose(_jargon())
    stride = len(paragraphs) // len(CITIES)
    needles = []
    for index, city in enumerate(CITIES):
        start = index * stride
        text = " ".join(paragraphs[start : start + stride])
        text = text[:DOCUMENT_CHARACTERS]
        depth = DEPTHS[index % len(DEPTHS)]
        cut = text[: int(depth * len(text))].rfind(". ") + 1
        number = _number(index)
        hidden = f" The special magic number for {city} is: {number}."
        needles.append(
            Needle(city, number, depth, HEAD + text[:cut] + hidden + text[cut:])
        )
    return needles
