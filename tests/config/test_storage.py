"""The address of a study's database: accepted only if it can hold no password, and never shown otherwise."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from recipes import MINIMAL, refusal, write_tree

import detnas
from detnas.config import SearchSettings, load_recipe
from detnas.config.storage import PARAMETERS, check_address
from detnas.utils.errors import UserError

SECRET = "S3CRET"
REFUSED = [
    f"postgresql+psycopg://me:{SECRET}@host/db",
    f"postgresql+psycopg://me:@host:{SECRET}/db",
    f"postgresql+psycopg://me:a@b:{SECRET}@host/db",
    f"postgresql+psycopg://me%3A{SECRET}@host/db",
    f"postgresql+psycopg://me:%53%33CRET{SECRET}@host/db",
    f"postgresql+psycopg://host/password={SECRET}",
    f"postgresql+psycopg://host/dbname=a password={SECRET}",
    f"postgresql+psycopg://host/postgresql://me:{SECRET}@other/db",
    f"postgresql+psycopg://host/db?dbname=postgresql://me:{SECRET}@other/db",
    f"postgresql+psycopg://host/db?dbname=password%3D{SECRET}",
    f"postgresql+psycopg://host/db?host=a%20password%3D{SECRET}",
    f"postgresql+psycopg://host/db?application_name=me:{SECRET}@other//x",
    f"postgresql+psycopg://host/db?sslpassword={SECRET}",
    f"postgresql+psycopg://host/db?PASSWORD={SECRET}",
    f"postgresql+psycopg://host/db?p%61ssword={SECRET}",
    f"postgresql+psycopg://host/db?user=me&pass+word={SECRET}",
    f"postgresql+psycopg://host/db?options=-c%20a={SECRET}",
    f"postgresql+psycopg://host/db?oauth_client_secret={SECRET}",
    f"postgresql+psycopg://host/db?{SECRET}=1",
    f"postgresql+psycopg://host/db?sslmode=require;password={SECRET}",
    f"postgresql+psycopg://host/db?sslmode=require&sslmode=a=b:{SECRET}",
    f"postgresql+psycopg://host/db#password={SECRET}",
    f"postgresql+psycopg://host,{SECRET}@/db",
    f"postgresql+psycopg2://host/{SECRET}",
    f"postgresql+psycopg_async://host/{SECRET}",
    f"postgresql+psycopg:{SECRET}",
    f"postgresql+psycopg://me@host/db\n{SECRET}",
    f"mysql+pymysql://me@host/db?passwd={SECRET}",
    f"mysql+pymysql://me@host/db?ssl_key_password={SECRET}",
    f"mysql+pymysql://me@host/db?init_command=SET%20a={SECRET}",
    f"mysql+pymysql://me@host/db?db=a&password={SECRET}",
    f"mysql+pymysql://me@host/db?read_default_file=mysql://me:{SECRET}@a",
    f"sqlite:///{SECRET}",
    f"host=a password={SECRET}",
    SECRET,
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_may_hold_a_password_is_refused_and_not_shown(address: str, tmp_path: Path) -> None:
    recipe = write_tree(tmp_path / "r.yaml", MINIMAL)
    for value in (repr(address), f"[{address!r}]", f"{{a: {address!r}}}", f"{{{address!r}: a}}", f"!!binary {SECRET}"):
        assert SECRET not in refusal(recipe, f"search.storage={value}")
    for part in ("search", "search.storage.x", "storage", "search.stroage"):
        assert f"@{SECRET}" not in refusal(recipe, f"{part}={address!r}")
    written = write_tree(tmp_path / "written.yaml", MINIMAL | {"search": {"storage": address}})
    assert SECRET not in refusal(written)
    with pytest.raises(UserError) as refused:
        detnas.search(lambda one: 0.0, "tiny", tmp_path / "out", storage=address)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(ValidationError) as invalid:
        SearchSettings(storage=address)
    assert SECRET not in str(invalid.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://",
        "postgresql+psycopg:///db",
        "postgresql+psycopg://me@host:5432/studies",
        "postgresql+psycopg://postgres:@/postgres?host=/tmp/server",
        "mysql+pymysql://me@host/studies?read_default_file=/home/me/.my.cnf",
        "postgresql+psycopg://me.name-1@db.example.org:5432/studies_1",
        "postgresql+psycopg://me@[::1]:5432/studies",
        "postgresql+psycopg:///db?host=a:5432&host=b:5433&target_session_attrs=read-write",
        "postgresql+psycopg://me@host/db?sslmode=verify-full&sslrootcert=/etc/root%20ca.crt&sslkey=~/k.pem",
        "postgresql+psycopg://host/db?passfile=/home/me/.pgpass&service=studies&connect_timeout=3",
        "mysql+pymysql://me@host:3306/db?charset=utf8mb4&unix_socket=/run/mysql.sock&ssl_ca=/a/ca.pem",
    ],
)
def test_an_address_that_holds_none_is_taken(address: str, minimal: Path) -> None:
    assert load_recipe(minimal, [f"search.storage={address!r}"]).search.storage == address
    assert address not in repr(load_recipe(minimal, [f"search.storage={address!r}"]))


@given(
    st.sampled_from([*PARAMETERS]),
    st.text(st.sampled_from("ab:@/?&=;#%[] 3\n'\\")),
    st.text(st.sampled_from("ab:@/?&=;#%[] 3\n'\\")),
)
@settings(deadline=None)
def test_no_drawn_address_that_is_taken_has_a_password(driver: str, before: str, after: str) -> None:
    import sqlalchemy

    address = f"{driver}://{before}{SECRET}{after}"
    try:
        check_address(address)
    except ValueError as error:
        assert SECRET not in str(error)
    else:
        url = sqlalchemy.make_url(address)
        assert not url.password and url.query.keys() <= PARAMETERS[driver]
        assert not any(sign in part for part in (url.username or "", url.database or "") for sign in ":=@ /")


@pytest.mark.parametrize("value", [3, True, 1.5, ["a"], {"a": SECRET}, b"a", "a" * 10**6])
def test_what_is_no_text_is_no_address(value: object) -> None:
    with pytest.raises(ValueError, match="not the address of a database"):
        check_address(value)
