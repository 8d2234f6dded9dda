//! What the integration tests share, and the doctest of the README.
