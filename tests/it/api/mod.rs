//! The HTTP door, as clients see it.

mod seeds;
