//! The table of statuses: what is retried, what a circuit counts, what fails a job in the log.

use http::{HeaderMap, HeaderName, StatusCode, header::CONTENT_TYPE};

use super::message::HttpResponse;

/// What the server answered: an HTTP status, or the status of a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Http(StatusCode),
    Grpc(GrpcStatus),
}

/// The status of a gRPC call, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrpcStatus(u8);

/// What a retry does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retried {
    Always,
    /// Only if the server says when.
    IfHinted,
    No,
}

/// Checked once: a lookup by text would check the name each time.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Answer {
    pub(super) fn of<T: HttpResponse>(response: &T) -> Self {
        let (status, headers) = (response.status(), response.headers());
        match GrpcStatus::of(headers) {
            Some(grpc) if status == StatusCode::OK => Self::Grpc(grpc),
            _ => Self::Http(status),
        }
    }

    /// The answer in the trailers of a response, if it [may be there](Self::is_in_trailers).
    pub(super) fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        GrpcStatus::read(trailers).map(Self::Grpc)
    }

    /// Whether the trailers of a response with this head may have the answer: those of a gRPC
    /// response with messages.
    pub(super) fn is_in_trailers(status: StatusCode, headers: &HeaderMap) -> bool {
        status == StatusCode::OK && is_grpc(headers) && !headers.contains_key(&GRPC_STATUS)
    }

    pub(super) fn retried(self) -> Retried {
        match self {
            Self::Http(
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            )
            | Self::Grpc(GrpcStatus::UNAVAILABLE)
            // Often the limit of this attempt, which was sent as the deadline.
            | Self::Grpc(GrpcStatus::DEADLINE_EXCEEDED | GrpcStatus::CANCELLED) => Retried::Always,
            Self::Grpc(GrpcStatus::RESOURCE_EXHAUSTED) => Retried::IfHinted,
            _ => Retried::No,
        }
    }

    /// Whether it speaks against the health of the server.
    pub(super) fn is_server_failure(self) -> bool {
        match self {
            Self::Http(StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED)
            | Self::Grpc(GrpcStatus::UNIMPLEMENTED) => false,
            _ => self.fails_job(),
        }
    }

    /// Whether it says that the server is busy with others: no circuit counts it.
    pub(super) fn is_rate_limit(self) -> bool {
        matches!(
            self,
            Self::Http(StatusCode::TOO_MANY_REQUESTS) | Self::Grpc(GrpcStatus::RESOURCE_EXHAUSTED)
        )
    }

    /// Whether the job that got it has failed.
    pub(super) fn fails_job(self) -> bool {
        match self {
            Self::Http(status) => status.is_server_error(),
            Self::Grpc(
                // This caller still waits, so it was the server that gave up: some servers answer so at
                // the deadline.
                GrpcStatus::CANCELLED
                | GrpcStatus::UNKNOWN
                | GrpcStatus::DEADLINE_EXCEEDED
                | GrpcStatus::UNIMPLEMENTED
                | GrpcStatus::INTERNAL
                | GrpcStatus::UNAVAILABLE
                | GrpcStatus::DATA_LOSS,
            ) => true,
            Self::Grpc(_) => false,
        }
    }

    /// A sentence for events and logs.
    pub(super) fn describe(self) -> String {
        match self {
            // The reason phrase of the server could be anything, so it stays out.
            Self::Http(status) => format!("the server answered {}", status.as_u16()),
            Self::Grpc(status) => format!(
                "the server answered with gRPC status {} ({})",
                status.0,
                status.name()
            ),
        }
    }
}

impl GrpcStatus {
    const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const RESOURCE_EXHAUSTED: Self = Self(8);
    const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const DATA_LOSS: Self = Self(15);

    const NAMES: [&'static str; 17] = [
        "ok",
        "cancelled",
        "unknown",
        "invalid argument",
        "deadline exceeded",
        "not found",
        "already exists",
        "permission denied",
        "resource exhausted",
        "failed precondition",
        "aborted",
        "out of range",
        "unimplemented",
        "internal",
        "unavailable",
        "data loss",
        "unauthenticated",
    ];

    /// The status in the headers of a gRPC response without messages. The status of any other gRPC
    /// response is in its [trailers](Self::read).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let status = Self::read(headers)?;
        is_grpc(headers).then_some(status)
    }

    /// The status in the headers or trailers of a gRPC response.
    fn read(fields: &HeaderMap) -> Option<Self> {
        let status = fields.get(&GRPC_STATUS)?;
        // Digits only: `parse` would take a sign.
        let digits = (status.to_str().ok()).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        // What cannot be read is an unknown failure, as in grpc's own clients.
        let code = digits.and_then(|digits| digits.parse().ok());
        Some(code.map_or(Self::UNKNOWN, Self::known))
    }

    fn known(code: u8) -> Self {
        match usize::from(code) < Self::NAMES.len() {
            true => Self(code),
            false => Self::UNKNOWN,
        }
    }

    pub(super) fn is_ok(self) -> bool {
        self.0 == 0
    }

    fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.0)]
    }
}

/// Whether a message with these headers belongs to a gRPC call: its content type is gRPC's, with any
/// suffix or parameter.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let (start, rest) = value.as_bytes().split_at(GRPC.len().min(value.len()));
        start.eq_ignore_ascii_case(GRPC)
            && matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' ' | b'\t'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_of_grpc() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            is_grpc(&headers)
        };
        for text in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;x=y",
            "application/grpc-web-text",
        ] {
            assert!(with(text), "{text}");
        }
        for text in [
            "application/json",
            "application/grpcx",
            "application/grp",
            "",
        ] {
            assert!(!with(text), "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
