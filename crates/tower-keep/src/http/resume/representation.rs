//! `Representation`: what is known of a body that may be resumed, and what its range answers must
//! be. Pure.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_TYPE, IF_RANGE, RANGE},
};

use super::{content_range::ContentRange, error::NotResumedReason, validator::Validator};
use crate::http::body::follow::declared_length;

/// A body that may be resumed, and how much of it was read.
///
/// Positions are those in the whole representation.
#[derive(Clone, Debug)]
pub(super) struct Representation {
    validator: Validator,
    /// The URL of the response, if the client follows redirects. A validator belongs to one URL.
    url: Option<Box<str>>,
    /// The length of the whole representation. `None`: only a range of it is known.
    total: Option<u64>,
    /// The response has status 206: the caller asked for a range.
    is_part: bool,
    start: u64,
    /// The position of the next byte.
    next: u64,
    /// The position after the last byte of the running response.
    part_end: u64,
    /// The position after the last byte for the reader.
    end: u64,
    /// Where the running response began.
    part_start: u64,
    /// The running response is the answer to a range request.
    resumed: bool,
}

impl Representation {
    /// The body of this first response. `None` if it must not be resumed. `exact` is the length
    /// that the body itself knows.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, exact: Option<u64>) -> Option<Self> {
        let is_part = status == StatusCode::PARTIAL_CONTENT;
        if !(status == StatusCode::OK || is_part)
            || headers.contains_key(CONTENT_ENCODING)
            || forbids_ranges(headers)
        {
            return None;
        }
        let validator = Validator::of(headers)?;
        let declared = declared_length(headers);
        // Without a length, the body may be the decoded form of another one.
        let length = exact.or(declared)?;
        if declared.is_some_and(|declared| declared != length) {
            return None;
        }
        let (start, end, total) = match is_part {
            false => (0, length, Some(length)),
            true if is_multipart(headers) => return None,
            true => {
                let range = ContentRange::of(headers)?;
                (range.first, range.end, range.total)
            }
        };
        (end - start == length && length > 0).then_some(Self {
            validator,
            url: None,
            total,
            is_part,
            start,
            next: start,
            part_end: end,
            end,
            part_start: start,
            resumed: false,
        })
    }

    /// The response came from this URL.
    pub(super) fn at(self, url: Option<Box<str>>) -> Self {
        Self { url, ..self }
    }

    /// Whether a response from this URL can be of the same representation.
    pub(super) fn is_at(&self, url: Option<&str>) -> bool {
        self.url.as_deref() == url
    }

    /// The number of bytes that the reader has got.
    pub(super) fn delivered(&self) -> u64 {
        self.next - self.start
    }

    /// The number of bytes that the reader has not got.
    pub(super) fn left(&self) -> u64 {
        self.end - self.next
    }

    /// Whether the reader has got all bytes.
    pub(super) fn is_complete(&self) -> bool {
        self.next == self.end
    }

    /// Whether the running response has brought a byte.
    pub(super) fn has_progressed(&self) -> bool {
        self.next > self.part_start
    }

    /// Whether the running response is the answer to a range request.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the running response has brought all its bytes, but not all bytes of the body.
    pub(super) fn has_short_part(&self) -> bool {
        self.next == self.part_end && !self.is_complete()
    }

    /// Counts bytes of the running response. `false`: they are more than it was to have.
    pub(super) fn count(&mut self, bytes: u64) -> bool {
        let next = self.next.saturating_add(bytes);
        let fits = next <= self.part_end;
        if fits {
            self.next = next;
        }
        fits
    }

    /// Asks for the rest: RFC 9110, sections 14.2 and 13.1.5.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        let range = match self.is_part {
            false => format!("bytes={}-", self.next),
            true => format!("bytes={}-{}", self.next, self.end - 1),
        };
        let range = HeaderValue::try_from(range).unwrap_or_else(|_| unreachable!("it is ASCII"));
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, self.validator.value().clone());
    }

    /// The server answered a range request. If the answer is the rest of this body, or its
    /// beginning, the body goes on with it.
    pub(super) fn go_on(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        exact: Option<u64>,
    ) -> Result<(), NotResumedReason> {
        let length = exact.or_else(|| declared_length(headers));
        match status {
            StatusCode::PARTIAL_CONTENT => self.check_part(headers, length)?,
            StatusCode::OK if !self.validator.is_of(headers) => {
                return Err(NotResumedReason::Changed);
            }
            StatusCode::OK if self.is_part || self.next > 0 => {
                return Err(NotResumedReason::RangeIgnored);
            }
            StatusCode::OK => {
                let again = Self::of(status, headers, exact);
                if again.is_none_or(|again| again.end != self.end) {
                    return Err(NotResumedReason::Changed);
                }
                self.part_end = self.end;
            }
            status => return Err(NotResumedReason::Status(status)),
        }
        self.part_start = self.next;
        self.resumed = true;
        Ok(())
    }

    fn check_part(
        &mut self,
        headers: &HeaderMap,
        length: Option<u64>,
    ) -> Result<(), NotResumedReason> {
        if !self.validator.is_of_part(headers) {
            return Err(NotResumedReason::Changed);
        }
        if headers.contains_key(CONTENT_ENCODING) || is_multipart(headers) {
            return Err(NotResumedReason::WrongRange);
        }
        let range = ContentRange::of(headers).ok_or(NotResumedReason::WrongRange)?;
        if let (Some(total), Some(known)) = (range.total, self.total) {
            if total != known {
                return Err(NotResumedReason::Changed);
            }
        }
        let is_as_asked = range.first == self.next
            && range.end <= self.end
            && length.is_none_or(|length| length == range.end - range.first);
        if !is_as_asked {
            return Err(NotResumedReason::WrongRange);
        }
        // The server may send less than it was asked for: RFC 9110, section 15.3.7.
        self.part_end = range.end;
        // A later part must agree with this one.
        self.total = self.total.or(range.total);
        Ok(())
    }
}

fn forbids_ranges(headers: &HeaderMap) -> bool {
    let units = headers.get_all(ACCEPT_RANGES).iter();
    units
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|unit| unit.trim().eq_ignore_ascii_case("none"))
}

fn is_multipart(headers: &HeaderMap) -> bool {
    const MULTIPART: &[u8] = b"multipart/byteranges";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let start = value.as_bytes().get(..MULTIPART.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
    })
}
