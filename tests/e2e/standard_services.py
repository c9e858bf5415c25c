"""Calls gRPC's own services, health and reflection, without their classes,
which Debian does not package: their messages are a field or two."""

UNKNOWN, SERVING, NOT_SERVING = range(3)

_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_LIST_SERVICES = 7  # fields of ServerReflectionRequest
_FILE_OF_SYMBOL = 4
_FILE_DESCRIPTORS = 4  # fields of ServerReflectionResponse
_SERVICES = 6


def _varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def _fields(data):
    """The (number, value) of a message of varints, texts and messages."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at)
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        yield tag >> 3, value


def _text(number, text):
    encoded = text.encode()
    assert len(encoded) < 128
    return bytes([number << 3 | 2, len(encoded)]) + encoded


def _status(response):
    return dict(_fields(response)).get(1, UNKNOWN)


def health(channel, service="", timeout_s=10):
    """What health says about a service; all of them by default."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    return _status(check(_text(1, service), timeout=timeout_s))


def watch_health(channel, service=""):
    """A stream of what health says, beginning with now."""
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", response_deserializer=_status
    )
    return watch(_text(1, service), timeout=120)


def _reflect(channel, number, text):
    call = channel.stream_stream(_REFLECTION)
    (response,) = call(iter([_text(number, text)]), timeout=10)
    return dict(_fields(response))


def services(channel):
    """The names of the services that reflection lists."""
    listed = _fields(_reflect(channel, _LIST_SERVICES, "*")[_SERVICES])
    return {dict(_fields(service))[1].decode() for _, service in listed}


def file_of_symbol(channel, symbol):
    """The serialised FileDescriptorProto in which reflection finds it."""
    found = _reflect(channel, _FILE_OF_SYMBOL, symbol)[_FILE_DESCRIPTORS]
    return next(_fields(found))[1]
