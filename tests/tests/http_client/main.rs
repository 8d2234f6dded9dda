//! HTTP clients behind the layers, against an origin that misbehaves.

mod origin;
