"""The data of a record set as one value of the database: each record with its length (2 octets) before it."""

from collections.abc import Sequence


def pack(datas: Sequence[bytes]) -> bytes:
    """The data of the records, in their order, as octets."""
    if len(datas) == 1:
        return len(datas[0]).to_bytes(2, "big") + datas[0]
    return b"".join([len(data).to_bytes(2, "big") + data for data in datas])


def unpack(packed: bytes) -> tuple[bytes, ...]:
    """The data of the records from what ``pack`` made."""
    end = 2 + (packed[0] << 8 | packed[1])
    if end == len(packed):
        return (packed[2:],)
    datas = [packed[2:end]]
    while end < len(packed):
        start = end + 2
        end = start + (packed[end] << 8 | packed[end + 1])
        datas.append(packed[start:end])
    return tuple(datas)
