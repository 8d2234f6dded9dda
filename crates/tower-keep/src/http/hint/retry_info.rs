//! `google.rpc.RetryInfo` among the details of a `google.rpc.Status`, as protobuf.
//!
//! The nesting is fixed, so nothing recurses, and every step consumes input. Where the input is no
//! protobuf, reading ends, and the fields before count: a wait asked for there is not shortened.

use std::time::Duration;

/// The longest `retry_delay` among the details of this status.
///
/// ```protobuf
/// message Status { repeated Any details = 3; }
/// message Any { string type_url = 1; bytes value = 2; }
/// message RetryInfo { Duration retry_delay = 1; }
/// message Duration { int64 seconds = 1; int32 nanos = 2; }
/// ```
pub(super) fn longest_delay(status: &[u8]) -> Option<Duration> {
    submessages(status, 3).filter_map(retry_delay).max()
}

/// The delay in this `Any`, if it is a `RetryInfo` with one.
fn retry_delay(detail: &[u8]) -> Option<Duration> {
    let type_url = submessages(detail, 1).last()?;
    // The host before the name is free.
    let name = type_url.rsplit(|byte| *byte == b'/').next();
    if name != Some(b"google.rpc.RetryInfo") {
        return None;
    }
    let info = submessages(detail, 2).last()?;
    let mut delay = None;
    // Occurrences of one message are merged, field by field.
    for part in submessages(info, 1) {
        let (seconds, nanos) = delay.get_or_insert((0_i64, 0_i32));
        for field in Fields(part) {
            match field {
                (1, Value::Varint(bits)) => *seconds = bits as i64,
                // A negative int32 is sent with 64 bits.
                (2, Value::Varint(bits)) => *nanos = bits as i32,
                _ => {}
            }
        }
    }
    let (seconds, nanos) = delay?;
    duration(seconds, nanos)
}

/// `None` for a negative duration.
fn duration(seconds: i64, nanos: i32) -> Option<Duration> {
    const NANOS: i128 = 1_000_000_000;
    // The two need not have the same sign, and the nanoseconds may be more than a second.
    let total = i128::from(seconds) * NANOS + i128::from(nanos);
    let seconds = u64::try_from(total.div_euclid(NANOS)).ok()?;
    let nanos = u32::try_from(total.rem_euclid(NANOS)).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// The fields of this number that hold bytes.
fn submessages(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |field| match field {
        (found, Value::Bytes(bytes)) if found == number => Some(bytes),
        _ => None,
    })
}

/// The value of a field, by its wire type.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no message here has.
    Fixed,
}

/// The fields of a message with their numbers, up to the end or to what is no protobuf.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which protobuf gave up long before these messages, and unknown types.
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_none() {
            // What follows has no known place.
            self.0 = &[];
        }
        field
    }
}
