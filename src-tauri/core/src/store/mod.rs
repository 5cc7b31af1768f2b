//! (to be written)

pub mod lock;
