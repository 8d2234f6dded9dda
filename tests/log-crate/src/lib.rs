//! Tests of the log layer where tracing forwards to the `log` crate, under `tests`.

use tracing as _;
