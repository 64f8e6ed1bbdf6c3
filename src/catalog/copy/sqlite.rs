//! A SQLite file as one end of a copy. As a target it has another name until it is whole.

use std::path::{Path, PathBuf};

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr};

use super::tables::{IMAGES, Row, Table, UNFINISHED, Value, values_of};
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::{Catalog, CatalogError};

pub(super) struct SqliteSide {
    pool: SqlitePool,
    /// Where the rows are, and the name that the file gets at the end.
    file: PathBuf,
    whole: Option<PathBuf>,
}

impl SqliteSide {
    pub(super) async fn source(file: &Path) -> Result<Self, CatalogError> {
        Self::open(file, None).await
    }

    pub(super) async fn target(file: &Path) -> Result<Self, CatalogError> {
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push(".copying");
        Self::open(Path::new(&unfinished), Some(file.to_owned())).await
    }

    async fn open(file: &Path, whole: Option<PathBuf>) -> Result<Self, CatalogError> {
        // Makes and migrates the tables.
        SqliteCatalog::open(file, SqliteOptions::default()).await?.close().await;
        let connect = SqliteConnectOptions::new().filename(file).foreign_keys(false);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await?;
        Ok(Self { pool, file: file.to_owned(), whole })
    }

    /// Claims on work say nothing here: one that was killed leaves them, and a file is locked by who has its data folder.
    pub(super) async fn is_worked_on(&self, now_ms: i64) -> Result<bool, CatalogError> {
        let asked = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM leases WHERE until_ms > ?1 AND token NOT LIKE 'work/%')",
        );
        Ok(asked.bind(now_ms).fetch_one(&self.pool).await?.try_get(0)?)
    }

    pub(super) async fn installation(&self) -> Result<String, CatalogError> {
        Ok(sqlx::query("SELECT id FROM installation").fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Whether it is empty, or an unfinished copy of the same.
    pub(super) async fn begin(&self, installation: &str) -> Result<bool, CatalogError> {
        self.run(
            format!("CREATE TABLE IF NOT EXISTS {UNFINISHED} (installation TEXT PRIMARY KEY)"),
            |q| q,
        )
        .await?;
        let note = format!(
            "INSERT INTO {UNFINISHED} SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM {UNFINISHED})"
        );
        self.run(note, |query| query.bind(installation.to_owned())).await?;
        let asked = AssertSqlSafe(format!("SELECT installation FROM {UNFINISHED}"));
        let noted: String = sqlx::query(asked).fetch_one(&self.pool).await?.try_get(0)?;
        Ok(noted == installation)
    }

    /// The last key, and how many rows there are.
    pub(super) async fn last(&self, table: &Table) -> Result<(Option<Row>, u64), CatalogError> {
        if table.is_one_row() {
            return Ok((None, 0));
        }
        let (name, key) = (table.name, Table::names(table.key()));
        let order = key.replace(", ", " DESC, ");
        let asked = format!("SELECT {key} FROM {name} ORDER BY {order} DESC LIMIT 1");
        let row = sqlx::query(AssertSqlSafe(asked)).fetch_optional(&self.pool).await?;
        let last = row.map(|row| values_of(&row, table.key())).transpose()?;
        let asked = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows: i64 = sqlx::query(asked).fetch_one(&self.pool).await?.try_get(0)?;
        Ok((last, rows as u64))
    }

    pub(super) async fn page(
        &self,
        table: &Table,
        after: Option<&Row>,
        limit: u32,
    ) -> Result<Vec<Row>, CatalogError> {
        let (name, columns) = (table.name, Table::names(table.columns));
        let key = Table::names(table.key());
        let places = vec!["?"; table.key_columns].join(", ");
        let sql = match after {
            _ if table.is_one_row() => format!("SELECT {columns} FROM {name}"),
            None => format!("SELECT {columns} FROM {name} ORDER BY {key} LIMIT ?"),
            Some(_) => format!(
                "SELECT {columns} FROM {name} WHERE ({key}) > ({places}) ORDER BY {key} LIMIT ?"
            ),
        };
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in after.into_iter().flatten() {
            query = bind(query, value);
        }
        if !table.is_one_row() {
            query = query.bind(limit);
        }
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| values_of(row, table.columns)).collect()
    }

    pub(super) async fn put(&self, table: &Table, rows: &[Row]) -> Result<(), CatalogError> {
        let (name, columns) = (table.name, Table::names(table.columns));
        let places = vec!["?"; table.columns.len()].join(", ");
        let sql = if table.is_one_row() {
            format!("UPDATE {name} SET ({columns}) = ({places})")
        } else {
            format!("INSERT INTO {name} ({columns}) VALUES ({places})")
        };
        let sql = AssertSqlSafe(sql).into_sql_str();
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            let mut query = sqlx::query(sql.clone());
            for value in row {
                query = bind(query, value);
            }
            query.execute(&mut *transaction).await?;
        }
        if table.name == IMAGES
            && let (Some(Value::Integer(first)), Some(Value::Integer(last))) =
                (rows.first().and_then(|row| row.first()), rows.last().and_then(|row| row.first()))
        {
            const WORDS: &str = "INSERT INTO image_words (rowid, name, camera) SELECT id, name, camera
                FROM images LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
                WHERE id BETWEEN ?1 AND ?2 AND format IS NOT NULL";
            const CHANGES: &str = "INSERT INTO image_changes (image) SELECT id FROM images
                WHERE id BETWEEN ?1 AND ?2 AND format IS NOT NULL ORDER BY id";
            for statement in [WORDS, CHANGES] {
                sqlx::query(statement).bind(first).bind(last).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// It is whole: it gets its name.
    pub(super) async fn finish(self) -> Result<(), CatalogError> {
        self.run(format!("DROP TABLE {UNFINISHED}"), |query| query).await?;
        self.run("PRAGMA wal_checkpoint(TRUNCATE)".to_owned(), |query| query).await?;
        self.pool.close().await;
        let Some(whole) = &self.whole else { return Ok(()) };
        let synced = std::fs::File::open(&self.file).and_then(|file| file.sync_all());
        let named = synced.and_then(|()| std::fs::rename(&self.file, whole));
        named.map_err(|error| CatalogError::Query(format!("{}: {error}", whole.display())))
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }

    async fn run(
        &self,
        sql: String,
        bind: impl FnOnce(Bound<'static>) -> Bound<'static>,
    ) -> Result<(), CatalogError> {
        bind(sqlx::query(AssertSqlSafe(sql))).execute(&self.pool).await?;
        Ok(())
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Bound<'q>, value: &Value) -> Bound<'q> {
    match value.clone() {
        Value::Integer(value) => query.bind(value),
        Value::Boolean(value) => query.bind(value.map(i64::from)),
        Value::Real(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    }
}
