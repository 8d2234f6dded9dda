//! Serialization of Dedup's counts and executions in flight.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use super::value::time;
use crate::{
    dedup::{DedupCounts, InFlight},
    event::JobId,
};

#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "DedupCounts", default)]
struct DedupCountsForm {
    executions: u64,
    joined: u64,
    replaced: u64,
    rejected: u64,
    hits: u64,
    stale_hits: u64,
    failed_revalidations: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "InFlight")]
struct InFlightForm<K> {
    key: K,
    job: Option<JobId>,
    followers: usize,
    #[serde(with = "time")]
    since: Instant,
    waiting: bool,
}

impl<K: Serialize> Serialize for InFlight<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        InFlightForm {
            key: self.key(),
            job: self.job(),
            followers: self.followers(),
            since: self.since(),
            waiting: self.is_waiting(),
        }
        .serialize(to)
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for InFlight<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let InFlightForm {
            key,
            job,
            followers,
            since,
            waiting,
        } = InFlightForm::deserialize(from)?;
        Ok(Self::new(key, job, followers, since, waiting))
    }
}

is_its_form! {
    DedupCounts => DedupCountsForm,
}
