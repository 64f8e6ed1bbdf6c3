//! Ratings as rows that a model can be trained on, in Apache Parquet: one row for each result of a rated answer, with its place and
//! its score, the number that the answer got, and the thumb that the result got.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::FeedbackError;
use crate::catalog::{Catalog, RememberedRating};

const PAGE: u32 = 500;
/// `content` is the beginning of the content's hash, as tokens carry it; `position` begins with 1. `user_feedback` and `relevant` are
/// missing where nothing was said.
const SCHEMA: &str = "message rated_result {
    required binary id (STRING);
    required binary text (STRING);
    required binary model (STRING);
    required int64 searched_at (TIMESTAMP(MILLIS,true));
    optional int32 user_feedback;
    required int32 position;
    required binary content (STRING);
    required float score;
    optional boolean relevant;
}";

/// Writes all ratings, in the order in which they were last changed. Returns how many.
pub(super) async fn export(
    catalog: &dyn Catalog,
    out: &mut (dyn Write + Send),
) -> std::result::Result<u64, FeedbackError> {
    let failed = |error: ParquetError| FeedbackError::Write(error.to_string());
    let mut file = begin(out).map_err(failed)?;
    let (mut after, mut count) = (0, 0);
    loop {
        let page = catalog.remembered(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.change;
        count += page.len() as u64;
        write(&mut file, &page).map_err(failed)?;
    }
    file.close().map_err(failed)?;
    Ok(count)
}

fn begin<W: Write + Send>(out: W) -> Result<SerializedFileWriter<W>> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    SerializedFileWriter::new(out, schema, Arc::new(WriterProperties::default()))
}

/// A column, and which of its rows have a value.
struct Column<T> {
    values: Vec<T>,
    /// 1 for each row that has one; `None` if all have.
    has_value: Option<Vec<i16>>,
}

impl<T> Column<T> {
    fn whole(values: impl Iterator<Item = T>) -> Self {
        Self { values: values.collect(), has_value: None }
    }

    fn with_gaps(values: impl Iterator<Item = Option<T>> + Clone) -> Self {
        let has_value = values.clone().map(|value| i16::from(value.is_some())).collect();
        Self { values: values.flatten().collect(), has_value: Some(has_value) }
    }
}

struct Row<'a> {
    rating: &'a RememberedRating,
    position: i32,
    content: &'a str,
    score: f32,
    relevant: Option<bool>,
}

/// The results of some ratings, as one group of rows.
fn write<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    ratings: &[RememberedRating],
) -> Result<()> {
    let rows: Vec<Row<'_>> = ratings.iter().flat_map(rows).collect();
    let impressions = rows.iter().map(|row| &row.rating.row.impression);
    let text = |text: &str| ByteArray::from(text);
    let number = |row: &Row<'_>| row.rating.row.rating.value.map(i32::from);
    let mut group = file.next_row_group()?;
    let ids = impressions.clone().map(|impression| text(&impression.id));
    put::<ByteArrayType>(&mut group, &Column::whole(ids))?;
    let queries = impressions.clone().map(|impression| text(&impression.query));
    put::<ByteArrayType>(&mut group, &Column::whole(queries))?;
    let models = impressions.clone().map(|impression| text(&impression.model));
    put::<ByteArrayType>(&mut group, &Column::whole(models))?;
    let times = impressions.map(|impression| impression.searched_ms);
    put::<Int64Type>(&mut group, &Column::whole(times))?;
    put::<Int32Type>(&mut group, &Column::with_gaps(rows.iter().map(number)))?;
    put::<Int32Type>(&mut group, &Column::whole(rows.iter().map(|row| row.position)))?;
    let contents = rows.iter().map(|row| text(row.content));
    put::<ByteArrayType>(&mut group, &Column::whole(contents))?;
    put::<FloatType>(&mut group, &Column::whole(rows.iter().map(|row| row.score)))?;
    put::<BoolType>(&mut group, &Column::with_gaps(rows.iter().map(|row| row.relevant)))?;
    group.close()?;
    Ok(())
}

fn rows(rating: &RememberedRating) -> impl Iterator<Item = Row<'_>> {
    let thumbs = rating.thumbs.iter().flatten();
    let thumbs: HashMap<String, bool> =
        thumbs.map(|thumb| (thumb.hash.prefix(), thumb.relevant)).collect();
    let results = rating.row.impression.results.iter().zip(1..);
    results.map(move |(result, position)| Row {
        rating,
        position,
        content: &result.hash_prefix,
        score: result.score,
        relevant: thumbs.get(&result.hash_prefix).copied(),
    })
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    column: &Column<T::T>,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    writer.typed::<T>().write_batch(&column.values, column.has_value.as_deref(), None)?;
    writer.close()
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::catalog::{FeedbackRow, Rating, Thumb};
    use crate::types::{ContentHash, Impression, ImpressionResult};

    fn rating(id: &str, value: Option<u8>, thumb: Option<bool>) -> RememberedRating {
        let hashes = [ContentHash::of(b"first"), ContentHash::of(b"second")];
        let result = |hash: &ContentHash| ImpressionResult {
            hash_prefix: hash.to_string()[..16].to_owned(),
            score: 0.25,
        };
        let thumb = thumb.map(|relevant| vec![Thumb { hash: hashes[1], relevant }]);
        let impression = Impression {
            id: id.into(),
            query: "rain, \"quoted\"".into(),
            model: "clip@1".into(),
            results: hashes.iter().map(result).collect(),
            searched_ms: 1_000,
        };
        let row = FeedbackRow {
            impression,
            rating: Rating { value, images: Vec::new() },
            created_ms: 0,
            updated_ms: 0,
        };
        RememberedRating { row, rater: "somebody".into(), thumbs: thumb, change: 1 }
    }

    #[test]
    fn each_result_is_a_row_that_others_can_read() {
        let mut bytes = tempfile::tempfile().expect("a file");
        let mut file = begin(&mut bytes).expect("begun");
        let page = [rating("a", Some(7), Some(false)), rating("b", None, None)];
        write(&mut file, &page).expect("written");
        write(&mut file, &[rating("c", Some(1), Some(true))]).expect("written");
        file.close().expect("closed");
        let reader = SerializedFileReader::new(bytes).expect("a Parquet file");
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let rows: Vec<HashMap<String, String>> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| {
                let cells = row.expect("a row").into_columns().into_iter();
                cells.map(|(name, field)| (name, field.to_string())).collect()
            })
            .collect();
        assert_eq!(rows.len(), 6);
        let names = ["id", "model", "user_feedback", "position", "score", "relevant"];
        assert_eq!(
            names.map(|name| rows[1][name].as_str()),
            ["\"a\"", "\"clip@1\"", "7", "2", "0.25", "false"]
        );
        assert_eq!(
            (rows[0]["relevant"].as_str(), rows[2]["user_feedback"].as_str()),
            ("null", "null")
        );
        assert_eq!((rows[5]["relevant"].as_str(), rows[5]["id"].as_str()), ("true", "\"c\""));
        let hash = ContentHash::of(b"second").to_string();
        assert_eq!(rows[3]["content"], format!("\"{}\"", &hash[..16]));
        assert!(rows[4]["searched_at"].starts_with("1970-01-01 00:00:01"), "{:?}", rows[4]);
    }
}
