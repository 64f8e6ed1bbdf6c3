//! Whose a collection is, and how far it was written: what tells a collection of ours from another installation's, and
//! one that was restored from last week from one that is as we left it. Counting vectors can tell neither.
//!
//! A store that keeps files of its own keeps the marker in one; a server keeps it in a reserved point, so that it goes
//! wherever the points go, into snapshots and back out of them. No search, count, scroll or look-up shows that point.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Payload, PayloadValue, Point};

/// The reserved point: the last of all ids, which no picture can have, since those are of version 5.
pub(super) const MARKER_ID: Uuid = Uuid::max();
const INSTALLATION: &str = "image_search_installation";
const EPOCH: &str = "image_search_epoch";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// See [`crate::types::Installation::id`].
    pub installation: Uuid,
    /// Number of the last write. The catalog counts them, and notes each before it is made.
    pub epoch: u64,
}

impl Marker {
    /// As the reserved point of a collection of `dim` dimensions.
    pub(super) fn to_point(self, dim: usize) -> Point {
        let mut vector = vec![0.0; dim];
        // Stores refuse a vector without a direction.
        if let Some(first) = vector.first_mut() {
            *first = 1.0;
        }
        let payload = Payload::from([
            (INSTALLATION.to_owned(), PayloadValue::Keyword(self.installation.to_string())),
            (EPOCH.to_owned(), PayloadValue::Integer(self.epoch as i64)),
        ]);
        Point { id: MARKER_ID, vector, payload }
    }

    /// From the payload of the reserved point.
    pub(super) fn from_payload(payload: &Payload) -> Option<Self> {
        match (payload.get(INSTALLATION)?, payload.get(EPOCH)?) {
            (PayloadValue::Keyword(installation), PayloadValue::Integer(epoch)) => Some(Self {
                installation: installation.parse().ok()?,
                epoch: u64::try_from(*epoch).ok()?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_way_through_a_point() {
        let marker = Marker { installation: Uuid::new_v4(), epoch: 1 << 40 };
        let point = marker.to_point(3);
        assert_eq!((point.id, point.vector.len()), (MARKER_ID, 3));
        assert_eq!(Marker::from_payload(&point.payload), Some(marker));
        assert_eq!(Marker::from_payload(&Payload::new()), None);
    }
}
