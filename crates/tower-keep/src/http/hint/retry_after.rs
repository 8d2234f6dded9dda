//! The header `Retry-After`: seconds, or a date.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};

use super::{Hint, parse_date, parse_number};

/// The valid ones among the fields of this name.
pub(super) fn hints(headers: &HeaderMap) -> impl Iterator<Item = Hint> {
    headers.get_all(RETRY_AFTER).iter().filter_map(parse)
}

fn parse(value: &HeaderValue) -> Option<Hint> {
    match parse_number(value) {
        Some(seconds) => Some(Hint::Wait(Duration::from_secs(seconds))),
        None => parse_date(value).map(Hint::At),
    }
}
