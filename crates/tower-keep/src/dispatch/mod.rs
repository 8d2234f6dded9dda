//! Jobs that outlive their callers.

mod dispatcher;
mod entrance;
mod error;
mod handle;
mod places;
mod service;
mod task;

pub use self::{
    dispatcher::{Dispatcher, Place, Stack},
    error::{Full, Panicked, Refusal, Refused, Unfinished},
    handle::JobHandle,
};
pub use crate::job::Cancelled;
