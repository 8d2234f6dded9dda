//! Pins the form of each type, and checks that reading gives back what was written. Each enum is
//! covered by a match, which a new variant breaks.

mod events;
mod handles;
mod ids;
mod numbers;

use std::{fmt::Debug, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::event::JobId;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(id: u64) -> JobId {
    JobId::from_u64(id).unwrap()
}

/// The value has this form and is read from it, also with an unknown field, and without the
/// optional fields.
#[track_caller]
pub(super) fn shape<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, shape: Value) {
    assert_eq!(serde_json::to_value(value).unwrap(), shape);
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value);
    reads(value, shape);
}

#[track_caller]
fn reads<T: DeserializeOwned + PartialEq + Debug>(value: &T, shape: Value) {
    assert_eq!(serde_json::from_value::<T>(shape.clone()).unwrap(), *value);
    if let Value::Object(mut fields) = shape {
        fields.retain(|_, value| !value.is_null());
        fields.insert("of_a_later_version".to_owned(), json!({"any": ["thing"]}));
        let later = Value::Object(fields);
        assert_eq!(serde_json::from_value::<T>(later).unwrap(), *value);
    }
}

/// Covers all variants: `next` returns the variant after each.
fn each<T: Clone>(first: T, next: impl Fn(&T) -> Option<T>) -> Vec<T> {
    std::iter::successors(Some(first), next).collect()
}
