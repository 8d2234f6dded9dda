//! `Record`: the data that a body has sent so far. Pure.

use bytes::{Bytes, BytesMut};

/// Frames that need no allocation of their own: a small body is one frame.
const INLINE: usize = 4;

/// From this number of frames on, small frames are copied together.
const MANY: usize = 16;

/// A frame below this size is small.
const SMALL: usize = 1024;

/// The data that a body has sent so far, without copies. After many frames, small ones are copied
/// together: a body of single bytes must not cost a hundred times its size.
#[derive(Debug, Default)]
pub(super) struct Record {
    first: [Bytes; INLINE],
    more: Vec<Bytes>,
    /// Small frames, copied together.
    tail: BytesMut,
    frames: usize,
    /// Where the record begins: the data before it is forgotten.
    start: u64,
    /// Where the record ends.
    end: u64,
}

impl Record {
    /// The number of bytes sent before the record begins.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The number of bytes sent.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds data at the end.
    pub(super) fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.end += len(&data);
        if self.frames >= MANY && data.len() < SMALL {
            self.tail.extend_from_slice(&data);
        } else {
            self.close_tail();
            self.push_frame(data);
        }
    }

    /// The data at this position, up to the end of its frame.
    pub(super) fn at(&mut self, at: u64) -> Option<Bytes> {
        if !(self.start..self.end).contains(&at) {
            return None;
        }
        self.close_tail();
        let mut begin = self.start;
        for frame in self.first.iter().chain(&self.more) {
            let offset = at - begin;
            if offset < len(frame) {
                // Below the length of a frame, so it fits.
                return Some(frame.slice(offset as usize..));
            }
            begin += len(frame);
        }
        None
    }

    /// Forgets everything, and continues after this many more bytes. Returns what it forgot: the
    /// memory of `Bytes` can have an owner whose `Drop` is user code.
    #[must_use = "drop it outside the lock"]
    pub(super) fn forget(&mut self, more: u64) -> Self {
        let end = self.end + more;
        std::mem::replace(
            self,
            Self {
                start: end,
                end,
                ..Self::default()
            },
        )
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push_frame(tail);
        }
    }

    fn push_frame(&mut self, frame: Bytes) {
        match self.first.get_mut(self.frames) {
            Some(slot) => *slot = frame,
            None => self.more.push(frame),
        }
        self.frames += 1;
    }
}

fn len(data: &Bytes) -> u64 {
    data.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(record: &mut Record) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = record.at(all.len() as u64) {
            assert!(!data.is_empty());
            all.extend_from_slice(&data);
        }
        all
    }

    #[test]
    fn any_number_of_frames_comes_back() {
        for frames in 0..60_usize {
            let mut record = Record::default();
            let mut sent = Vec::new();
            for frame in 0..frames {
                let data = vec![frame as u8; frame * 97 % 2000];
                sent.extend_from_slice(&data);
                record.push(data.into());
                if frame % 7 == 0 {
                    // A read in between does not change what follows.
                    assert_eq!(all(&mut record), sent);
                }
            }
            assert_eq!(record.end(), sent.len() as u64);
            assert_eq!(all(&mut record), sent);
        }
    }

    #[test]
    fn large_frames_are_not_copied() {
        let mut record = Record::default();
        let frames: Vec<_> = (0..40).map(|n| Bytes::from(vec![n; SMALL])).collect();
        frames.iter().for_each(|frame| record.push(frame.clone()));
        let mut at = 0;
        for frame in &frames {
            let back = record.at(at).unwrap();
            assert_eq!(back.as_ptr(), frame.as_ptr());
            at += len(frame);
        }
    }

    /// 64 KiB in single bytes are kept in a few frames.
    #[test]
    fn small_frames_are_copied_together() {
        let mut record = Record::default();
        for n in 0..65536_u32 {
            record.push(Bytes::copy_from_slice(&[n as u8]));
        }
        assert_eq!(record.at(65535).unwrap(), [255_u8][..]);
        assert_eq!(record.frames, MANY + 1);
        assert_eq!(record.at(65536), None);
    }

    #[test]
    fn forgotten_data_has_positions_and_no_content() {
        let mut record = Record::default();
        record.push("first".into());
        let forgotten = record.forget(3);
        assert_eq!(forgotten.end(), 5);
        assert_eq!((record.start(), record.end()), (8, 8));
        assert_eq!(record.at(0), None);
        record.push("then".into());
        assert_eq!(record.at(7), None);
        assert_eq!(record.at(9).unwrap(), "hen");
    }
}
