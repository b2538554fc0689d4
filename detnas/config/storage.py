"""The address of a study's database: accepted only if it is understood entirely, so that it can hold no password."""

import re

REMEDY = "postgresql+psycopg://USER@HOST/DATABASE or mysql+pymysql://USER@HOST/DATABASE"
PARAMETERS = {
    "postgresql+psycopg": {
        *("host", "hostaddr", "port", "service", "passfile", "application_name", "fallback_application_name"),
        *("client_encoding", "connect_timeout", "tcp_user_timeout", "target_session_attrs", "load_balance_hosts"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "sslcertmode"),
        *("sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("channel_binding", "gssencmode", "krbsrvname", "require_auth", "requirepeer"),
    },
    "mysql+pymysql": {
        *("charset", "unix_socket", "read_default_file", "read_default_group"),
        *("connect_timeout", "read_timeout", "write_timeout"),
        *("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher", "ssl_check_hostname"),
    },
}
"""The parameters of libpq and PyMySQL that may stand in an address, by driver: none of them takes a secret."""

_NAME = re.compile(r"[\w.+-]{0,100}", re.ASCII)
"""Of users and databases. A colon, an equals sign or a space in one would let libpq read a password there."""
_HOST = re.compile(r"[\w.:-]{0,300}", re.ASCII)
_VALUE = re.compile(r"[\w.,:/\[\] ~+-]{1,300}", re.ASCII)


def check_storage(address: object) -> None:
    """Raise `ValueError`, whose message does not show `address`, unless it is that of a database without a password."""
    if not isinstance(address, str) or len(address) > 2000 or not address.startswith(tuple(PARAMETERS)):
        raise ValueError(f"storage is not the address of a database; write {REMEDY}")
    import sqlalchemy  # takes a fifth of a second, which recipes without a storage save

    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ValueError(f"storage is not the address of a database; write {REMEDY}") from None
    known = PARAMETERS.get(url.drivername)
    if known is None:
        raise ValueError(f"storage is not the address of a database; write {REMEDY}")
    if url.password:
        raise ValueError(
            "storage holds a password, which every copy of the recipe would show; leave it out, and give it by "
            "~/.pgpass or PGPASSWORD (PostgreSQL) or ?read_default_file=FILE (MySQL)"
        )
    # Of parameters that may hold a password, such as sslpassword, not even the name is shown: it may be one itself.
    if unknown := url.query.keys() - known:
        raise ValueError(
            f"storage has parameters ({len(unknown)}) that may hold a password, or that are not known; write {REMEDY} "
            "and no other parameters than docs/search-workers.md lists"
        )
    values = [value for given in url.query.values() for value in ([given] if isinstance(given, str) else given)]
    is_plain = (
        _NAME.fullmatch(url.username or "") and _HOST.fullmatch(url.host or "") and _NAME.fullmatch(url.database or "")
    )
    if not is_plain or not all(_VALUE.fullmatch(value) and "//" not in value for value in values):
        raise ValueError(
            "storage has characters that no plain name of a user, host, database or file has, behind which a password "
            f"may hide; write {REMEDY}"
        )
