//! The HTTP exchange of a job. Without the feature `http` its types have no value.

#[cfg(feature = "http")]
pub(crate) use {crate::http::HttpExchange as Exchange, ::http::StatusCode as Status};

#[cfg(not(feature = "http"))]
pub(crate) type Exchange = std::sync::Arc<std::convert::Infallible>;
#[cfg(not(feature = "http"))]
pub(crate) type Status = std::convert::Infallible;
