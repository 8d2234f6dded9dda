//! The service and the kept request for another attempt.

/// The service and the kept request for another attempt.
pub(super) struct Next<S, Kept> {
    /// The last called instance, or a clone made after that call: it has the state of the service.
    /// Each attempt gets a clone, as a service whose `poll_ready` failed must not be used again.
    pub(super) service: S,
    /// `None` if no attempt is left, or if the request cannot be repeated.
    pub(super) kept: Option<Kept>,
}

impl<S: Clone, Kept> Next<S, Kept> {
    /// A clone of the service for one attempt.
    pub(super) fn instance(next: &Option<Self>) -> S {
        match next {
            Some(next) => next.service.clone(),
            None => unreachable!("an attempt begins only with a service at hand"),
        }
    }

    /// Makes the request for another attempt of the kept request.
    pub(super) fn request<Request>(
        next: &mut Option<Self>,
        again: impl FnOnce(Kept) -> (Request, Option<Kept>),
    ) -> Request {
        let Some((next, kept)) =
            (next.as_mut()).and_then(|next| next.kept.take().map(|kept| (next, kept)))
        else {
            unreachable!("an attempt begins only with a request at hand")
        };
        let (request, kept) = again(kept);
        next.kept = kept;
        request
    }
}
