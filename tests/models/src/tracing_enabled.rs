//! Whether anybody listens to tracing: a model decides it, and may change it at any moment.

use loom::{
    lazy_static,
    sync::atomic::{AtomicBool, Ordering},
};

lazy_static! {
    static ref LISTENS: AtomicBool = AtomicBool::new(false);
}

pub(crate) fn tracing_listens() -> bool {
    LISTENS.load(Ordering::Relaxed)
}

/// From now on there is a listener.
pub(crate) fn listen() {
    LISTENS.store(true, Ordering::Relaxed);
}
