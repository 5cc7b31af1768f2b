//! What the journeys against real parts share.

pub mod openclaw;
