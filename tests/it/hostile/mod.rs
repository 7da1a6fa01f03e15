//! Strangers at the door: bad input, secrets in wrong places, other people's ids.

mod input;
mod isolation;
mod secrets;
