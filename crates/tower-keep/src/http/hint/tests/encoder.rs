//! An encoder of its own, for the tests: base64 by strings of bits, protobuf by the wire format.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding.
pub(super) fn unpadded(bytes: &[u8]) -> String {
    let mut bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    while bits.len() % 6 != 0 {
        bits.push('0');
    }
    let sextets = bits.as_bytes().chunks(6).map(|sextet| {
        let sextet = std::str::from_utf8(sextet).unwrap();
        usize::from_str_radix(sextet, 2).unwrap()
    });
    sextets.map(|sextet| char::from(ALPHABET[sextet])).collect()
}

/// Base64 with padding.
pub(super) fn padded(bytes: &[u8]) -> String {
    let mut text = unpadded(bytes);
    while text.len() % 4 != 0 {
        text.push('=');
    }
    text
}

pub(super) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push((value % 128) as u8 + 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds a number.
pub(super) fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field * 8), varint(value as u64)].concat()
}

/// A field that holds bytes.
pub(super) fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [
        &varint(field * 8 + 2),
        &varint(bytes.len() as u64),
        &bytes.to_vec(),
    ]
    .map(Vec::as_slice)
    .concat()
}

/// An `Any` with a message of this type.
pub(super) fn any(type_url: &str, message: &[u8]) -> Vec<u8> {
    [bytes(1, type_url.as_bytes()), bytes(2, message)].concat()
}

/// A `RetryInfo` in an `Any`.
pub(super) fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
    // As encoders do it: a zero is left out.
    let mut delay = Vec::new();
    if seconds != 0 {
        delay.extend(number(1, seconds));
    }
    if nanos != 0 {
        delay.extend(number(2, nanos.into()));
    }
    any(
        "type.googleapis.com/google.rpc.RetryInfo",
        &bytes(1, &delay),
    )
}

/// A `Status` with a code, a message, another detail, and a `RetryInfo` for each delay.
pub(super) fn status(delays: &[(i64, i32)]) -> Vec<u8> {
    let help = any("type.googleapis.com/google.rpc.Help", &bytes(1, b"help"));
    let mut status = [number(1, 14), bytes(2, b"unavailable"), bytes(3, &help)].concat();
    for (seconds, nanos) in delays {
        status.extend(bytes(3, &retry_info(*seconds, *nanos)));
    }
    status
}
