//! Downloads that go on where they broke off.

mod body;
mod call;
mod content_range;
mod error;
mod hook;
mod layer;
mod policy;
mod representation;
mod validator;

pub use self::{
    body::ResumedBody,
    error::{NotResumed, NotResumedReason},
    layer::ResumeLayer,
};
