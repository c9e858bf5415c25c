"""Ways to damage the frames of a Read or of a Write.

A fault takes the messages of one call, a random.Random and a function that it
calls as it strikes; it gives the messages that go on.  Messages are
ReadResponse or WriteRequest.
"""
import xxhash


def _seal(frame):
    frame.checksum = xxhash.xxh3_64(frame.content).intdigest()


def _edit(change):
    """A fault that changes one frame."""

    def fault(messages, chance, strike):
        left = chance.randrange(8)
        for message in messages:
            if message.HasField("frame"):
                if left == 0:
                    change(message.frame, chance)
                    strike()
                left -= 1
            yield message

    fault.__name__ = change.__name__
    return fault


@_edit
def flip_byte(frame, chance):
    content = bytearray(frame.content)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    frame.content = bytes(content)


@_edit
def flip_byte_and_seal(frame, chance):
    """Damaged before its frame was made: the segment's checksum must tell."""
    content = bytearray(frame.content)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    frame.content = bytes(content)
    _seal(frame)


@_edit
def truncate(frame, chance):
    frame.content = frame.content[: chance.randrange(1, len(frame.content))]


@_edit
def truncate_and_seal(frame, chance):
    frame.content = frame.content[: chance.randrange(1, len(frame.content))]
    _seal(frame)


@_edit
def too_many_bytes(frame, chance):
    frame.content += chance.randbytes(64)
    _seal(frame)


@_edit
def wrong_segment(frame, chance):
    frame.segment_index += 1 + chance.randrange(1 << 31)


@_edit
def wrong_offset(frame, chance):
    frame.offset += 1 + chance.randrange(1 << 62)


@_edit
def huge_frame(frame, chance):
    frame.content = chance.randbytes(9 << 20)
    _seal(frame)


def reorder(messages, chance, strike):
    """A frame comes after the message that followed it."""
    left = chance.randrange(8)
    held = None
    for message in messages:
        if held is not None:
            strike()
            yield message
            yield held
            held = None
        elif message.HasField("frame") and left == 0:
            held, left = message, -1
        else:
            left -= message.HasField("frame")
            yield message


def repeat(messages, chance, strike):
    left = chance.randrange(8)
    for message in messages:
        yield message
        if message.HasField("frame"):
            if left == 0:
                strike()
                yield message
            left -= 1


def swap_contents(messages, chance, strike):
    """Two segments of one size get each other's bytes, and good checksums."""
    del chance  # the first two of equal size
    held = []
    struck = False
    for message in messages:
        if struck or not message.HasField("frame") and not held:
            yield message
            continue
        other = _equal_in_size(held, message)
        held.append(message)
        if other is not None:
            one, two = other.frame, message.frame
            one.content, two.content = two.content, one.content
            _seal(one)
            _seal(two)
            strike()
            struck = True
            yield from held
            held = []
    yield from held


def _equal_in_size(held, message):
    """A held frame that starts another segment with as many bytes."""
    if not message.HasField("frame") or message.frame.offset != 0:
        return None
    for other in held:
        if (
            other.HasField("frame")
            and other.frame.offset == 0
            and len(other.frame.content) == len(message.frame.content)
        ):
            return other
    return None


def cut(messages, chance, strike):
    """The stream ends in good order, but early."""
    left = 2 + chance.randrange(8)
    for message in messages:
        if left == 0:
            strike()
            return
        left -= 1
        yield message


class Broken(Exception):
    """Ends a call with UNAVAILABLE."""


def break_off(messages, chance, strike):
    left = 2 + chance.randrange(8)
    for message in messages:
        if left == 0:
            strike()
            raise Broken()
        left -= 1
        yield message


def huge_segment(messages, chance, strike):
    """A Read announces a segment of 2^62 bytes and more."""
    announced = False
    for message in messages:
        if not announced and message.HasField("segment"):
            message.segment.size_bytes = (1 << 62) + chance.randrange(1 << 20)
            announced = True
            strike()
        yield message
