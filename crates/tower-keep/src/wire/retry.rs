//! Serialization of a retry budget's `Balance`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::retry::Balance;

#[derive(Serialize, Deserialize)]
#[serde(rename = "Balance")]
struct BalanceForm {
    first_attempts: u64,
    retries: u64,
    available: u64,
}

impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        BalanceForm {
            first_attempts: self.first_attempts(),
            retries: self.retries(),
            available: self.available(),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = BalanceForm::deserialize(from)?;
        Ok(Self::of(read.first_attempts, read.retries, read.available))
    }
}
