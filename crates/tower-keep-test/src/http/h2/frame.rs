//! Frames of HTTP/2 that the origin writes by hand, and the frames of the library as they pass.

use crate::http::ErrorCode;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const GO_AWAY: u8 = 0x7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const HEADER_LENGTH: usize = 9;

/// A frame of a type that does not exist, larger than a client allows.
pub(super) const GARBAGE: &[u8] = b"\xff\xff\xff\xfe this is not HTTP\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A GOAWAY frame.
pub(super) fn go_away(last_stream: u32, code: ErrorCode) -> Vec<u8> {
    let mut payload = last_stream.to_be_bytes().to_vec();
    payload.extend(code.0.to_be_bytes());
    frame(GO_AWAY, 0, 0, &payload)
}

/// A HEADERS frame with a status alone, which leaves the tables of the header compression as they
/// are.
pub(super) fn status(stream: u32, status: u16) -> Vec<u8> {
    // A literal without indexing, whose name is entry 8 of the static table, `:status`.
    let mut payload = vec![0x08, 0x03];
    payload.extend(status.to_string().bytes());
    frame(HEADERS, END_HEADERS, stream, &payload)
}

/// What a piece of a frame that was written means for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Head,
    Data(usize),
    End,
}

/// Follows the frames that the library writes.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    header: [u8; HEADER_LENGTH],
    /// The bytes of `header` that were written.
    known: usize,
    /// The bytes of the payload that were not written.
    left: usize,
}

impl Tracker {
    /// Whether the next byte begins a frame.
    pub(super) fn at_boundary(&self) -> bool {
        self.known == 0
    }

    /// The bytes of `buffer` that belong to the present frame, or to the next one at a boundary.
    pub(super) fn rest_of_frame(&self, buffer: &[u8]) -> usize {
        if self.known == HEADER_LENGTH {
            return self.left.min(buffer.len());
        }
        let missing = HEADER_LENGTH - self.known;
        if buffer.len() < missing {
            return buffer.len();
        }
        let mut header = self.header;
        header[self.known..].copy_from_slice(&buffer[..missing]);
        (missing + payload_length(&header)).min(buffer.len())
    }

    /// Notes that these bytes were written.
    pub(super) fn written(&mut self, mut bytes: &[u8], mut sent: impl FnMut(u32, Sent)) {
        while !bytes.is_empty() {
            if self.known < HEADER_LENGTH {
                let length = bytes.len().min(HEADER_LENGTH - self.known);
                self.header[self.known..self.known + length].copy_from_slice(&bytes[..length]);
                self.known += length;
                bytes = &bytes[length..];
                if self.known < HEADER_LENGTH {
                    return;
                }
                self.left = payload_length(&self.header);
            }
            let length = bytes.len().min(self.left);
            self.left -= length;
            bytes = &bytes[length..];
            let stream = self.stream();
            if self.header[3] == DATA && length > 0 {
                sent(stream, Sent::Data(length));
            }
            if self.left == 0 {
                self.known = 0;
                match (self.header[3], self.header[4] & END_STREAM != 0) {
                    (HEADERS, ends) => {
                        sent(stream, Sent::Head);
                        if ends {
                            sent(stream, Sent::End);
                        }
                    }
                    (DATA, true) | (RST_STREAM, _) => sent(stream, Sent::End),
                    _ => {}
                }
            }
        }
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff
    }
}

fn payload_length(header: &[u8; HEADER_LENGTH]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_in_pieces_of_any_size() {
        let mut bytes = status(3, 200);
        bytes.extend(frame(DATA, 0, 3, b"abc"));
        bytes.extend(frame(DATA, END_STREAM, 5, b""));
        for size in 1..=bytes.len() {
            let mut tracker = Tracker::default();
            let (mut heads, mut data, mut ends) = (0, 0, Vec::new());
            for piece in bytes.chunks(size) {
                tracker.written(piece, |stream, sent| match sent {
                    Sent::Head => heads += 1,
                    Sent::Data(length) => data += length,
                    Sent::End => ends.push(stream),
                });
            }
            assert_eq!((heads, data, ends), (1, 3, vec![5]));
            assert!(tracker.at_boundary());
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_known_at_each_byte() {
        let first = status(1, 503);
        let mut bytes = first.clone();
        bytes.extend(go_away(1, ErrorCode::NO_ERROR));
        for written in 0..first.len() {
            let mut tracker = Tracker::default();
            tracker.written(&bytes[..written], |_, _| {});
            assert_eq!(
                tracker.rest_of_frame(&bytes[written..]),
                first.len() - written
            );
        }
    }
}
