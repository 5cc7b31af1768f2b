//! Journeys: what Kalit does, checked against real parts. Nothing here is part of the program.
//! Every process that a journey starts is confined to a throw-away home and to loopback.

pub mod openclaw;
