"""SQLAlchemy: one span per query, without values."""

import pytest
from observability import traced
from observability._redaction import redact_sql
from opentelemetry.trace import StatusCode
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from .conftest import FinishedSpans


@pytest.mark.parametrize(
    ("dialect", "statement", "redacted"),
    [
        ("sqlite", "SELECT a = 'it''s secret' AND b = 4.2e3", "SELECT a = ? AND b = ?"),
        # A dialect may or may not end the text at the second quote.
        ("sqlite", r"SELECT 'a\' , 'secret'", "SELECT ?"),
        ("unknown", r"SELECT 'a\'secret', b", "SELECT ?"),
        ("unknown", r"SELECT 'a\\', b, 0x5EC, 5e-3", "SELECT ?, b, ?, ?"),
        ("mysql", "SELECT 1 # secret\n FROM a$1$b", "SELECT ? FROM a$1$b"),
        ("postgresql", "SELECT a #>> '{secret}'", "SELECT a #>> ?"),
        ("postgresql", "SELECT \"col'umn\" , 'secret'", 'SELECT "col\'umn" , ?'),
        (
            "sqlite",
            'SELECT "secret" FROM "t" WHERE "t"."a" = "secret"',
            'SELECT ? FROM "t" WHERE "t"."a" = ?',
        ),
        ("postgresql", "SELECT 1 /* a /* b */ 'secret' */, 2", "SELECT ? , ?"),
        ("postgresql", r"SELECT a like'a\' and 'secret'", "SELECT a like?"),
        ("mssql", "SELECT [never ends 'secret'", "SELECT [never ends 'secret'"),
        (
            "postgresql",
            "SELECT $1, :name_1, %(a)s, ?, t1.c2",
            "SELECT $1, :name_1, %(a)s, ?, t1.c2",
        ),
        ("postgresql", "SELECT $a$ secret $a$, $$secret$$, E'\\'secret'", "SELECT ?, ?, ?"),
        ("postgresql", "SELECT 1 -- secret\n, /* secret */ 2", "SELECT ? , ?"),
        ("postgresql", "INSERT INTO t\n  VALUES (-17, 'x')", "INSERT INTO t VALUES (-?, ?)"),
        ("postgresql", "SELECT 'never ends", "SELECT ?"),
        ("mysql", "SELECT `a'b`, \"secret\", 'se\\'cret' # secret", "SELECT `a'b`, ?, ?"),
        ("mssql", "SELECT [it's], 'secret'", "SELECT [it's], ?"),
        ("microsoft.sql_server", "SELECT [it's], 'secret'", "SELECT [it's], ?"),
        *[
            (
                dialect,
                """SELECT "it's" FROM "t" WHERE a = 'secret'""",
                'SELECT "it\'s" FROM "t" WHERE a = ?',
            )
            for dialect in ("aws.redshift", "clickhouse", "duckdb", "snowflake", "trino")
        ],
        # These dialects, and others that are not known, may quote a text like a name.
        ("bigquery", 'SELECT "secret", `a` # secret', "SELECT ?, `a`"),
        (
            "databricks",
            'SELECT * FROM `t` WHERE a = "it\'s secret"',
            "SELECT * FROM `t` WHERE a = ?",
        ),
        ("neo4j", 'MATCH (n {email: "secret"}) RETURN n', "MATCH (n {email: ?}) RETURN n"),
        ("None", 'SELECT "secret"', "SELECT ?"),
        ("oracle", "SELECT q'[it's secret]', nq'{secret}' FROM dual", "SELECT ?"),
        ("postgresql", "SELECT .5, a>.5, t.c5, -.5e3", "SELECT ?, a>?, t.c5, -?"),
    ],
)
def test_values_in_sql_are_redacted(dialect: str, statement: str, redacted: str) -> None:
    assert redact_sql(statement, dialect) == redacted


def test_each_query_is_one_span(spans: FinishedSpans) -> None:
    engine = create_engine("sqlite://")

    with traced("work"), engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (a TEXT)"))
        connection.execute(text("INSERT INTO t VALUES (:a)"), [{"a": "x"}, {"a": "y"}])
        connection.execute(text("SELECT a FROM t")).all()

    names = [span.name for span in spans()]
    assert names == ["work", "CREATE", "INSERT", "SELECT"]


@pytest.mark.parametrize(
    ("dialect", "system"),
    [("sqlite", "sqlite"), ("mssql", "microsoft.sql_server"), ("oracle", "oracle.db")],
)
def test_database_has_its_name_in_the_conventions(
    dialect: str, system: str, spans: FinishedSpans
) -> None:
    engine = create_engine("sqlite://")
    engine.dialect.name = dialect
    with traced("work"), engine.connect() as connection:
        connection.execute(text("select 1"))

    _, query = spans()
    assert query.name == "SELECT"
    assert dict(query.attributes or {}) == {"db.system.name": system, "db.query.text": "select ?"}


def test_failed_query_has_one_exception_event(spans: FinishedSpans) -> None:
    engine = create_engine("sqlite://", hide_parameters=True)

    with pytest.raises(OperationalError), traced("work"), engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing WHERE a = :a"), {"a": "a-secret"})

    work, query = spans()
    assert query.status.status_code is work.status.status_code is StatusCode.ERROR
    assert len(query.events) == 1
    assert not work.events
    assert "a-secret" not in str(query.to_json())


def test_query_outside_a_trace_has_no_span(spans: FinishedSpans) -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("SELECT 1"))

    assert spans() == []
