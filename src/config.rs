//! The configuration: file → checked model, with every mistake reported at once.

pub mod model;
