//! The length of a body in the head of its message.

use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// The length of the body in the head, if it is one number, and no transfer coding overrides it:
/// RFC 9112, section 6.3.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next()?;
    if lengths.any(|other| other != length) || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return None;
    }
    length.to_str().ok()?.parse().ok()
}
