//! The hints of gRPC: `grpc-retry-pushback-ms`, and the details of a status.

use std::time::Duration;

use http::HeaderMap;

use super::{Hint, base64, parse_number, retry_info};

/// What the server's pushback says, if there is one.
///
/// A negative number, or anything that is no number, forbids a repetition. So do several fields:
/// nothing says which of them counts.
pub(super) fn pushback(headers: &HeaderMap) -> Option<Hint> {
    let mut values = headers.get_all("grpc-retry-pushback-ms").iter();
    let first = parse_number(values.next()?);
    Some(match (first, values.next()) {
        (Some(ms), None) => Hint::Wait(Duration::from_millis(ms)),
        _ => Hint::Never,
    })
}

/// The longest delay of each status in the headers.
pub(super) fn retry_delays(headers: &HeaderMap) -> impl Iterator<Item = Duration> {
    let values = headers.get_all("grpc-status-details-bin").iter();
    // A proxy may have joined several fields of binary metadata by commas.
    let statuses = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    statuses
        .filter_map(|status| base64::decode(status.trim_ascii()))
        .filter_map(|status| retry_info::longest_delay(&status))
}
