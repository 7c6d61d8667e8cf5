"""Server cookies: the test vectors of RFC 9018 appendix A, and what is no cookie of ours."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import cookies

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
OLD = bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715")
NEW = bytes.fromhex("445536bcd2513298075a5d379663c962")
CLIENT = "2464c4abcf10c957"
IPV6 = "2001:db8:220:1:59de:d0f4:8769:82b8"


def test_siphash_of_its_authors() -> None:
    # Appendix A of the paper: key and input are 00 01 02 …
    assert cookies.siphash(bytes(range(16)), bytes(range(15))).hex() == "e545be4961ca29a1"


@pytest.mark.parametrize(
    ("secret", "client", "address", "now", "made"),
    [
        (SECRET, CLIENT, "198.51.100.100", 1559731985, "010000005cf79f111f8130c3eee29480"),
        (SECRET, CLIENT, "198.51.100.100", 1559734385, "010000005cf7a871d4a564a1442aca77"),
        (SECRET, "fc93fc62807ddb86", "203.0.113.203", 1559734700, "010000005cf7a9acf73a7810aca2381e"),
        (OLD, "22681ab97d52c298", IPV6, 1559741817, "010000005cf7c57926556bd0934c72f8"),
        (NEW, "22681ab97d52c298", IPV6, 1559741961, "010000005cf7c609a6bb79d16625507a"),
    ],
)
def test_the_vectors_of_the_rfc(secret: bytes, client: str, address: str, now: int, made: str) -> None:
    packed = ip_address(address).packed
    assert cookies.make(secret, bytes.fromhex(client), packed, now).hex() == made
    assert cookies.age((secret,), bytes.fromhex(client + made), packed, now + 7) == 7


def test_reserved_octets_are_hashed_as_they_came() -> None:
    option = bytes.fromhex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5")
    assert cookies.age((SECRET,), option, ip_address("203.0.113.203").packed, 1559727985 + 600) == 600


def test_a_secret_that_was_in_use_is_good_while_secrets_change() -> None:
    option = bytes.fromhex("22681ab97d52c298010000005cf7c57926556bd0934c72f8")
    address = ip_address(IPV6).packed
    assert cookies.age((NEW, OLD), option, address, 1559741961) == 144
    assert cookies.age((NEW,), option, address, 1559741961) is None


@pytest.mark.parametrize(("seconds", "good"), [(-301, False), (-300, True), (0, True), (3600, True), (3601, False)])
def test_a_cookie_has_its_time(seconds: int, good: bool) -> None:
    made = 0xFFFFFFF0  # the clock's 32 bits wrap meanwhile
    option = bytes(8) + cookies.make(SECRET, bytes(8), bytes(4), made)
    assert (cookies.age((SECRET,), option, bytes(4), made + seconds) is not None) == good


@given(st.binary(max_size=60), st.sampled_from([bytes(4), bytes(16)]), st.integers(0, 1 << 33))
def test_nobody_guesses_one(option: bytes, address: bytes, now: int) -> None:
    if cookies.is_well_formed(option):
        assert cookies.age((SECRET, OLD), option, address, now) is None


@given(st.binary(min_size=8, max_size=8), st.integers(0, 1 << 32), st.integers(0, 23), st.integers(1, 255))
def test_one_octet_changed_and_it_is_none(client: bytes, now: int, at: int, change: int) -> None:
    option = bytearray(client + cookies.make(SECRET, client, b"\x7f\0\0\1", now))
    assert cookies.age((SECRET,), bytes(option), b"\x7f\0\0\1", now) == 0
    assert cookies.age((SECRET,), bytes(option), b"\x7f\0\0\2", now) is None
    option[at] ^= change
    assert cookies.age((SECRET,), bytes(option), b"\x7f\0\0\1", now) is None


def test_a_file_of_secrets() -> None:
    text = f"# in use\n{NEW.hex()}\n\n{OLD.hex().upper()}  # until Monday\n"
    assert cookies.secrets_from_text(text) == (NEW, OLD)


@pytest.mark.parametrize("text", ["", "# nothing", "abcd", "x" * 32, NEW.hex() + "\n" + OLD.hex()[:-1]])
def test_a_file_that_is_none(text: str) -> None:
    with pytest.raises(cookies.SecretError, match="openssl rand -hex 16") as caught:
        cookies.secrets_from_text(text)
    assert OLD.hex()[:-1] not in str(caught.value)
