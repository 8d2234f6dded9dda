//! The HTTP exchange of a job, for its events. Only a Log layer for HTTP sets one, so it is rare.

#[cfg(feature = "http")]
use super::Locked;
use super::{Core, Rare, State};
use crate::event::Exchange;
#[cfg(feature = "http")]
use crate::{
    event::{EventKind, Status},
    http::body::BodyEnd,
};

impl Core {
    /// Sets the exchange that has just begun, for the following events.
    #[cold]
    pub(super) fn begin_exchange(&self, exchange: &Exchange) {
        self.lock().begin_exchange(exchange);
    }

    /// The exchange has this response.
    #[cfg(feature = "http")]
    #[cold]
    pub(crate) fn end_exchange(&self, status: Status) {
        if !self.is_observed() {
            return;
        }
        let mut job = self.lock();
        if self.state().is_over() {
            return;
        }
        let exchange = job.rare.as_mut().and_then(|rare| rare.exchange.as_mut());
        if let Some(exchange) = exchange {
            exchange.status = Some(status);
        }
    }
}

#[cfg(feature = "http")]
impl Core {
    /// The response body of the exchange has ended.
    #[inline]
    pub(crate) fn end_body(&self, end: impl FnOnce() -> Option<BodyEnd>) {
        if self.is_observed() {
            self.note_body(end());
        }
    }

    #[cold]
    fn note_body(&self, end: Option<BodyEnd>) {
        let mut job = self.lock();
        if self.state().is_over() {
            return;
        }
        let exchange = job.rare.as_mut().and_then(|rare| rare.exchange.as_mut());
        // A response that a layer made has no status, and its body is not the server's.
        if let Some(exchange) = exchange.filter(|exchange| exchange.status.is_some()) {
            exchange.body = end;
        }
    }
}

impl State {
    pub(super) fn begin_exchange(&mut self, exchange: &Exchange) {
        self.rare().exchange = Some(exchange.clone());
    }
}

impl Rare {
    /// Another attempt begins. It may end before it reaches the Log layer.
    pub(super) fn forget_response(&mut self) {
        #[cfg(feature = "http")]
        if let Some(exchange) = &mut self.exchange {
            exchange.status = None;
            exchange.body = None;
        }
    }
}

#[cfg(feature = "http")]
impl Locked<'_> {
    /// The exchange as this event shows it.
    pub(super) fn exchange_at(&self, kind: &EventKind) -> Option<Exchange> {
        let exchange = self.rare.as_ref()?.exchange.clone()?;
        match kind {
            // They are sent late to a new observer, or when the response is already there.
            EventKind::Dispatched | EventKind::Started => Some(Exchange {
                status: None,
                body: None,
                ..exchange
            }),
            kind if kind.is_terminal() => Some(exchange),
            // The body may be the discarded one of an attempt.
            _ => Some(Exchange {
                body: None,
                ..exchange
            }),
        }
    }
}
