"""Text from files and users: what a terminal obeys, passwords, endless texts, values that cannot be written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detnas.utils.errors import UserError
from detnas.utils.text import MOST_LETTERS, NAME, describe_value, printable

SECRET = "S3CR-ET"


@given(st.text(st.characters(codec=None)) | st.text("\x1b\x9b\n\r\u2028\u202e\ud800ab:/@?=&*password'\" "))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;x\x07b", "a\\x1b]0;x\\x07b"),
        ("one\ntwo\r\nthree", "one two three"),
        ("größer 例 👍🏽 é", "größer 例 👍🏽 é"),
        ("gnp.\u202egpj", "gnp.\\u202egpj"),
        ("\udcff.png", "\\udcff.png"),
    ],
)
def test_the_rest_stays_readable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql+psycopg://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@with/slash@host/db",
        f"postgresql://me:{SECRET} {SECRET}@host/db",
        f"'postgresql://me:{SECRET}\"' {SECRET}@host/db'",
        f"[mysql+pymysql://me:{SECRET}?@127.0.0.1:1/db]",
        f"postgresql+psycopg://host/db?sslpassword={SECRET}",
        f"postgresql+psycopg://host/db?host=a&ssl%5Fp%61ss={SECRET}&port=1",
        f"mysql+pymysql://host/db?ssl_key_password={SECRET};a=b",
        f"postgresql://host/postgresql://me:{SECRET}@other/db",
        f"host=a password={SECRET} dbname=b",
        f"host=a password = '{SECRET} {SECRET}' dbname=b",
        f"{{'password': '{SECRET}'}}",
        f'{{"PGPASSWORD": "{SECRET}"}}',
        f"--set search.storage=postgresql://me:{SECRET}@host",
        f"passphrase: {SECRET}",
    ],
)
def test_passwords_are_hidden(text: str) -> None:
    assert SECRET not in printable(text) and "***" in printable(text)


def test_addresses_without_a_password_are_shown() -> None:
    for text in (
        "postgresql+psycopg://me@host:5432/db",
        "postgresql+psycopg://postgres:@/postgres?host=/tmp/data",
        "see https://example.org/a#b",
        "mysql://host/db: Access denied for user 'root'@'localhost' (using password)",
        "storage holds a password, which every copy would show; use PGPASSWORD (PostgreSQL)",
    ):
        assert printable(text) == text


def test_hiding_takes_time_in_proportion_to_the_text() -> None:
    for part in ("://", "password", "password='", "a://b?c=d&", "://:@", ":" * 10):
        printable(part * 50_000)  # with a time that grows as the square of the length, this would take hours


@given(st.integers(0, 10**6))
def test_a_message_is_bounded_and_keeps_its_end(length: int) -> None:
    message = str(UserError(f"file: name {'x' * length}: write another"))
    assert len(message) <= MOST_LETTERS
    assert message.startswith("file: name ") and message.endswith("write another")
    assert str(UserError(message)) == message


@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.floats(allow_subnormal=False)
        | st.text()
        | st.binary()
        | st.builds(lambda: 16**5000),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_can_be_described(value: object) -> None:
    assert len(describe_value(value)) < 3000
    UserError(f"field = {describe_value(value)}: give another")


def test_values_without_end_are_described_in_no_time() -> None:
    endless: list[object] = []
    endless.append(endless)
    bomb: list[object] = ["x"]
    for _ in range(60):
        bomb = [bomb] * 10
    for value in (endless, bomb, "x" * 10**7, [0] * 10**6, 10**5000):
        assert len(describe_value(value)) < 3000


@pytest.mark.parametrize("name", ["a", "shapes-quick", "_x", "small-x0.5-c64.160", "9", "a" * 200])
def test_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "a/b", "a\\b", "a\0b", "a b", "a\n", "ä", "a" * 201, "a{0}", 'a"""', "$a", "%s"]
)
def test_no_names(name: str) -> None:
    assert not NAME.fullmatch(name)
