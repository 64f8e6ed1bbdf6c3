//! A PostgreSQL database as one end of a copy. As a target it is marked until it is whole, and nobody serves from it meanwhile.

use sqlx::postgres::{PgArguments, PgPool, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row as _};

use super::Access;
use super::tables::{IMAGES, Kind, Row, TABLES, Table, UNFINISHED, Value, values_of};
use crate::catalog::CatalogError;
use crate::catalog::postgres::{connect_for_copy, told, words_of};

/// Ids and keys are given by the other side; new ones begin behind them.
const GO_ON_NUMBERING: &str = "SELECT setval(pg_get_serial_sequence('images', 'id'), greatest(1, (SELECT max(id) FROM images))),
    setval(pg_get_serial_sequence('sources', 'key'), greatest(1, (SELECT max(key) FROM sources)))";
const NAMED: &str = "SELECT id, name, camera FROM images
    LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
    WHERE id BETWEEN $1 AND $2 AND format IS NOT NULL ORDER BY id";
const WORDS: &str = "INSERT INTO image_words (image, words)
    SELECT image, words::tsvector FROM unnest($1::bigint[], $2::text[]) AS noted (image, words)";
const CHANGES: &str = "INSERT INTO image_changes (image) SELECT unnest($1::bigint[])";

pub(super) struct PostgresSide {
    pool: PgPool,
}

impl PostgresSide {
    pub(super) async fn open(address: &str, access: Access<'_>) -> Result<Self, CatalogError> {
        Ok(Self { pool: connect_for_copy(address, access.password, access.options).await? })
    }

    pub(super) async fn is_worked_on(&self, now_ms: i64) -> Result<bool, CatalogError> {
        let asked = sqlx::query("SELECT EXISTS (SELECT 1 FROM leases WHERE until_ms > $1)");
        Ok(asked.bind(now_ms).fetch_one(&self.pool).await.map_err(told)?.try_get(0)?)
    }

    pub(super) async fn installation(&self) -> Result<String, CatalogError> {
        let asked = sqlx::query("SELECT id FROM installation");
        Ok(asked.fetch_one(&self.pool).await.map_err(told)?.try_get(0)?)
    }

    /// Whether it is empty, or an unfinished copy of the same.
    pub(super) async fn begin(&self, installation: &str) -> Result<bool, CatalogError> {
        let marked = sqlx::query("SELECT to_regclass($1) IS NOT NULL").bind(UNFINISHED);
        if !marked.fetch_one(&self.pool).await.map_err(told)?.try_get::<bool, _>(0)? {
            for table in TABLES.iter().filter(|table| !table.is_one_row()) {
                if self.last(table).await?.0.is_some() {
                    return Ok(false);
                }
            }
            let mut transaction = self.pool.begin().await.map_err(told)?;
            let make =
                AssertSqlSafe(format!("CREATE TABLE {UNFINISHED} (installation TEXT NOT NULL)"));
            sqlx::query(make).execute(&mut *transaction).await.map_err(told)?;
            let note = AssertSqlSafe(format!("INSERT INTO {UNFINISHED} VALUES ($1)"));
            let note = sqlx::query(note).bind(installation);
            note.execute(&mut *transaction).await.map_err(told)?;
            transaction.commit().await.map_err(told)?;
        }
        let asked = AssertSqlSafe(format!("SELECT installation FROM {UNFINISHED}"));
        let row = sqlx::query(asked).fetch_one(&self.pool).await.map_err(told)?;
        Ok(row.try_get::<String, _>(0)? == installation)
    }

    /// The last key, and how many rows there are.
    pub(super) async fn last(&self, table: &Table) -> Result<(Option<Row>, u64), CatalogError> {
        if table.is_one_row() {
            return Ok((None, 0));
        }
        let (name, key) = (table.name, Table::names(table.key()));
        let order = key.replace(", ", " DESC, ");
        let asked = format!("SELECT {key} FROM {name} ORDER BY {order} DESC LIMIT 1");
        let row =
            sqlx::query(AssertSqlSafe(asked)).fetch_optional(&self.pool).await.map_err(told)?;
        let last = row.map(|row| values_of(&row, table.key())).transpose()?;
        let asked = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows = sqlx::query(asked).fetch_one(&self.pool).await.map_err(told)?;
        Ok((last, rows.try_get::<i64, _>(0)? as u64))
    }

    pub(super) async fn page(
        &self,
        table: &Table,
        after: Option<&Row>,
        limit: u32,
    ) -> Result<Vec<Row>, CatalogError> {
        let (name, columns) = (table.name, Table::names(table.columns));
        let key = Table::names(table.key());
        let places: Vec<String> = (1..=table.key_columns).map(|n| format!("${n}")).collect();
        let sql = match after {
            _ if table.is_one_row() => format!("SELECT {columns} FROM {name}"),
            None => format!("SELECT {columns} FROM {name} ORDER BY {key} LIMIT {limit}"),
            Some(_) => format!(
                "SELECT {columns} FROM {name} WHERE ({key}) > ({}) ORDER BY {key} LIMIT {limit}",
                places.join(", ")
            ),
        };
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in after.into_iter().flatten() {
            query = bind(query, value);
        }
        let rows = query.fetch_all(&self.pool).await.map_err(told)?;
        rows.iter().map(|row| values_of(row, table.columns)).collect()
    }

    pub(super) async fn put(&self, table: &Table, rows: &[Row]) -> Result<(), CatalogError> {
        let (name, columns) = (table.name, Table::names(table.columns));
        let mut transaction = self.pool.begin().await.map_err(told)?;
        let query = if table.is_one_row() {
            let places: Vec<String> = (1..=table.columns.len()).map(|n| format!("${n}")).collect();
            let sql = format!("UPDATE {name} SET ({columns}) = ROW({})", places.join(", "));
            let query = sqlx::query(AssertSqlSafe(sql));
            rows.iter().flatten().fold(query, |query, value| bind(query, value))
        } else {
            let arrays = table.columns.iter().enumerate();
            let arrays: Vec<String> = arrays
                .map(|(place, (_, kind))| format!("${}::{}[]", place + 1, type_of(*kind)))
                .collect();
            let sql = format!(
                "INSERT INTO {name} ({columns}) SELECT * FROM unnest({})",
                arrays.join(", ")
            );
            let query = sqlx::query(AssertSqlSafe(sql));
            (0..table.columns.len()).fold(query, |query, place| {
                bind_column(query, table.columns[place].1, rows.iter().map(|row| &row[place]))
            })
        };
        query.execute(&mut *transaction).await.map_err(told)?;
        if table.name == IMAGES
            && let (Some(Value::Integer(first)), Some(Value::Integer(last))) =
                (rows.first().and_then(|row| row.first()), rows.last().and_then(|row| row.first()))
        {
            let named = sqlx::query(NAMED).bind(first).bind(last);
            let named = named.fetch_all(&mut *transaction).await.map_err(told)?;
            let (mut images, mut words) = (Vec::<i64>::new(), Vec::new());
            for row in &named {
                images.push(row.try_get("id")?);
                let camera = row.try_get::<Option<&str>, _>("camera")?;
                words.push(words_of(row.try_get("name")?, camera));
            }
            let note = sqlx::query(WORDS).bind(&images).bind(words);
            note.execute(&mut *transaction).await.map_err(told)?;
            let note = sqlx::query(CHANGES).bind(images);
            note.execute(&mut *transaction).await.map_err(told)?;
        }
        transaction.commit().await.map_err(told)
    }

    /// It is whole: it may be served from.
    pub(super) async fn finish(self) -> Result<(), CatalogError> {
        sqlx::query(GO_ON_NUMBERING).fetch_one(&self.pool).await.map_err(told)?;
        sqlx::query("ANALYZE").execute(&self.pool).await.map_err(told)?;
        let unmark = AssertSqlSafe(format!("DROP TABLE {UNFINISHED}"));
        sqlx::query(unmark).execute(&self.pool).await.map_err(told)?;
        self.pool.close().await;
        Ok(())
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        Kind::Boolean => "boolean",
        Kind::Real => "float8",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

fn bind<'q>(query: Bound<'q>, value: &Value) -> Bound<'q> {
    match value.clone() {
        Value::Integer(value) => query.bind(value),
        Value::Boolean(value) => query.bind(value),
        Value::Real(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    }
}

fn bind_column<'q>(
    query: Bound<'q>,
    kind: Kind,
    values: impl Iterator<Item = &'q Value>,
) -> Bound<'q> {
    macro_rules! column {
        ($variant:ident) => {
            values
                .map(|value| match value {
                    Value::$variant(value) => value.clone(),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
    }
    match kind {
        Kind::Integer => query.bind(column!(Integer)),
        Kind::Boolean => query.bind(column!(Boolean)),
        Kind::Real => query.bind(column!(Real)),
        Kind::Text => query.bind(column!(Text)),
        Kind::Bytes => query.bind(column!(Bytes)),
    }
}
