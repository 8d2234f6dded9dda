//! Base64 as in binary metadata of gRPC: the standard alphabet, with or without padding.

/// The decoded bytes. `None` if the text has another character or an impossible length.
///
/// Bits that fill up the last character are ignored.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=')? + 1;
    let text = &text[..end];
    let mut decoded = Vec::with_capacity(end);
    for group in text.chunks(4) {
        // One character has six bits: not a byte.
        if group.len() == 1 {
            return None;
        }
        let mut bits = 0_u32;
        for place in 0..4 {
            let sextet = match group.get(place) {
                Some(byte) => sextet(*byte)?,
                None => 0,
            };
            bits = bits << 6 | u32::from(sextet);
        }
        decoded.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(decoded)
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
