//! Guides: how to choose the numbers, and what things from other libraries are called here.

pub mod choosing_numbers;
pub mod coming_from;
