//! What is measured: each of the layers, some stacks of them, and their peers.

mod added;
mod compared;
mod http;
pub mod keep;
pub mod peers;

use std::{fmt, rc::Rc};

use tokio::runtime::Runtime;
use tower::{Layer, Service};

pub use self::{
    added::{ADDED, Added},
    compared::{COMPARISONS, Comparison, Goal},
};
use crate::{
    drive::{Driven, Rejecting, Subject},
    inner::{Failing, Inner},
};

/// Layers, whose services can be shared by threads.
pub trait Stack: Layer<Inner, Service: Service<u64> + Clone + Send + 'static> {}

impl<L: Layer<Inner, Service: Service<u64> + Clone + Send + 'static>> Stack for L {}

/// A layer, or several, or what does the same, to be measured.
pub struct Case {
    /// Its row.
    pub name: &'static str,
    /// Whether it is tower-keep's.
    pub ours: bool,
    /// Whether its time says something about it.
    pub is_timed: bool,
    /// Around an inner service that is ready at once.
    ready: Box<dyn Subject>,
    /// Around another that is pending once, unless the inner service is not reached.
    pends: Option<Box<dyn Subject>>,
    /// The size of its future.
    pub bytes: usize,
}

impl Case {
    /// Around the inner service that is pending once, or around the other.
    pub fn subject(&mut self, pends: bool) -> Option<&mut (dyn Subject + 'static)> {
        if pends {
            self.pends.as_deref_mut()
        } else {
            Some(&mut *self.ready)
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All of them. The first is the inner service alone.
pub fn all() -> Vec<Case> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O");
    let mut cases = Cases {
        runtime: Rc::new(runtime),
        ours: false,
        all: Vec::new(),
    };
    peers::add(&mut cases);
    http::add_peers(&mut cases);
    cases.ours = true;
    keep::add(&mut cases);
    http::add_keep(&mut cases);
    cases.all
}

struct Cases {
    runtime: Rc<Runtime>,
    ours: bool,
    all: Vec<Case>,
}

impl Cases {
    fn add<L>(&mut self, name: &'static str, layer: L)
    where
        L: Layer<Inner>,
        L::Service: Service<u64> + 'static,
    {
        let _entered = self.runtime.enter();
        let subject = |inner| Box::new(Driven::new(layer.layer(inner), &self.runtime));
        self.all.push(Case {
            name,
            ours: self.ours,
            is_timed: true,
            ready: subject(Inner::ready()),
            pends: Some(subject(Inner::pending_once())),
            bytes: size_of::<<L::Service as Service<u64>>::Future>(),
        });
    }

    /// Of a layer with a circuit, which is open.
    fn add_rejecting<L>(&mut self, name: &'static str, layer: L)
    where
        L: Layer<Failing>,
        L::Service: Service<u64> + 'static,
    {
        let _entered = self.runtime.enter();
        let inner = Failing::new();
        let service = layer.layer(inner);
        self.all.push(Case {
            name,
            ours: self.ours,
            is_timed: true,
            ready: Box::new(Rejecting::new(service, inner, &self.runtime)),
            pends: None,
            bytes: size_of::<<L::Service as Service<u64>>::Future>(),
        });
    }
}
