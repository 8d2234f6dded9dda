//! Fault injection between a layer and its service, by a seed or a script.

mod chance;
mod future;
mod injected;
mod kind;
mod layer;
mod plan;
mod record;
mod service;

pub use self::{
    future::FaultyFuture, injected::InjectedFault, kind::Fault, layer::FaultLayer, record::Faults,
    service::Faulty,
};
