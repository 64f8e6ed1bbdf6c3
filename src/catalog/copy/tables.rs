//! What is copied: tables, columns and keys, the same on both sides. Whatever is not named here can be made from the rest.

use crate::catalog::CatalogError;
use crate::catalog::rows::Columns;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// 0 and 1 in SQLite.
    Boolean,
    Real,
    Text,
    Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(Option<i64>),
    Boolean(Option<bool>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

pub(super) type Row = Vec<Value>;

/// The values of these columns.
pub(super) fn values_of(row: &impl Columns, columns: &[(&str, Kind)]) -> Result<Row, CatalogError> {
    let value = |(name, kind): &(&str, Kind)| {
        Ok(match kind {
            Kind::Integer => Value::Integer(row.integer(name)?),
            Kind::Boolean => Value::Boolean(row.boolean(name)?),
            Kind::Real => Value::Real(row.real(name)?),
            Kind::Text => Value::text(row.text(name)?),
            Kind::Bytes => Value::Bytes(row.bytes(name)?),
        })
    };
    columns.iter().map(value).collect()
}

impl Value {
    /// PostgreSQL has no text with a zero in it, so both sides read as if there were none.
    pub(super) fn text(text: Option<String>) -> Self {
        Self::Text(
            text.map(
                |text| {
                    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
                },
            ),
        )
    }

    /// Each value says what it is and how long, so that no two rows look alike.
    pub(super) fn digest(&self, hasher: &mut blake3::Hasher) {
        let mut add = |tag: u8, bytes: Option<&[u8]>| {
            hasher.update(&[tag, u8::from(bytes.is_some())]);
            let bytes = bytes.unwrap_or_default();
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match self {
            Self::Integer(value) => add(1, value.map(i64::to_le_bytes).as_ref().map(|b| &b[..])),
            Self::Boolean(value) => {
                add(2, value.map(|value| [u8::from(value)]).as_ref().map(|b| &b[..]));
            }
            Self::Real(value) => add(3, value.map(f64::to_le_bytes).as_ref().map(|b| &b[..])),
            Self::Text(value) => add(4, value.as_ref().map(String::as_bytes)),
            Self::Bytes(value) => add(5, value.as_deref()),
        }
    }
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// So many of the first columns are the key; 0: the table has one row, always.
    pub(super) key_columns: usize,
}

impl Table {
    pub(super) fn is_one_row(&self) -> bool {
        self.key_columns == 0
    }

    pub(super) fn key_of(&self, row: &Row) -> Row {
        row.iter().take(self.key_columns).cloned().collect()
    }

    pub(super) fn key(&self) -> &'static [(&'static str, Kind)] {
        &self.columns[..self.key_columns]
    }

    /// Names with commas between them.
    pub(super) fn names(columns: &[(&str, Kind)]) -> String {
        columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

use Kind::{Boolean, Bytes, Integer, Real, Text};

/// Facts of contents come before images, since words of images are made from both.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "sources",
        columns: &[
            ("key", Integer),
            ("id", Text),
            ("location", Text),
            ("identity", Text),
            ("away_since_ms", Integer),
            ("away_reason", Text),
            ("unconfigured_since_ms", Integer),
            ("last_listed_ms", Integer),
        ],
        key_columns: 1,
    },
    Table {
        name: "vectors",
        columns: &[
            ("model", Text),
            ("content_hash", Bytes),
            ("stored", Boolean),
            ("format", Text),
            ("width", Integer),
            ("height", Integer),
            ("orphaned_ms", Integer),
            ("deleting_token", Text),
        ],
        key_columns: 2,
    },
    Table {
        name: "content_facts",
        columns: &[
            ("content_hash", Bytes),
            ("camera", Text),
            ("lens", Text),
            ("latitude", Real),
            ("longitude", Real),
            ("altitude_m", Real),
            ("grey", Boolean),
        ],
        key_columns: 1,
    },
    Table {
        name: IMAGES,
        columns: &[
            ("id", Integer),
            ("source", Integer),
            ("name", Text),
            ("size_bytes", Integer),
            ("version", Text),
            ("modified_ms", Integer),
            ("state", Text),
            ("missing_since_ms", Integer),
            ("content_hash", Bytes),
            ("outdated", Boolean),
            ("format", Text),
            ("width", Integer),
            ("height", Integer),
            ("attempts", Integer),
            ("interruptions", Integer),
            ("failure_code", Text),
            ("failure", Text),
            ("due_ms", Integer),
            ("discovered_ms", Integer),
            ("indexed_ms", Integer),
            ("taken_ms", Integer),
            ("taken_offset_minutes", Integer),
            ("taken_from", Text),
        ],
        key_columns: 1,
    },
    Table {
        name: "previews",
        columns: &[("content_hash", Bytes), ("thumbhash", Bytes)],
        key_columns: 1,
    },
    Table {
        name: "impressions",
        columns: &[
            ("id", Text),
            ("query", Text),
            ("model", Text),
            ("results", Text),
            ("searched_ms", Integer),
        ],
        key_columns: 1,
    },
    Table {
        name: "feedback",
        columns: &[
            ("impression_id", Text),
            ("rating", Integer),
            ("image_ratings", Text),
            ("created_ms", Integer),
            ("updated_ms", Integer),
        ],
        key_columns: 1,
    },
    Table {
        name: "remembered_ratings",
        columns: &[("impression_id", Text), ("rater", Text), ("thumbs", Text), ("change", Integer)],
        key_columns: 1,
    },
    Table {
        name: "query_vectors",
        columns: &[("query", Text), ("model", Text), ("vector", Bytes)],
        key_columns: 2,
    },
    Table {
        name: "memory_state",
        columns: &[("change", Integer), ("forgotten", Integer)],
        key_columns: 0,
    },
    Table {
        name: "gate_decisions",
        columns: &[
            ("gate", Text),
            ("number", Integer),
            ("model", Text),
            ("former", Text),
            ("outcome", Text),
            ("figures", Text),
            ("by_operator", Boolean),
            ("decided_ms", Integer),
        ],
        key_columns: 2,
    },
    Table {
        name: "used_models",
        columns: &[("name", Text), ("revision", Text), ("display_name", Text), ("banner", Text)],
        key_columns: 2,
    },
    Table {
        name: "api_keys",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("hash", Bytes),
            ("beginning", Text),
            ("scopes", Text),
            ("created_ms", Integer),
        ],
        key_columns: 1,
    },
    Table { name: "store_epochs", columns: &[("model", Text), ("epoch", Integer)], key_columns: 1 },
    Table { name: "vectors_complete_for", columns: &[("model", Text)], key_columns: 0 },
    Table {
        name: "installation",
        columns: &[("id", Text), ("has_plain_names", Boolean)],
        key_columns: 0,
    },
];

/// The table whose words are made while it is copied.
pub(super) const IMAGES: &str = "images";
/// In a target, while it is not whole: the installation that is being copied.
pub(super) const UNFINISHED: &str = "catalog_copy_unfinished";
