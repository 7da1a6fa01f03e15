//! Strangers at the door: bad input, secrets in wrong places, other people's ids.

mod burden;
mod input;
mod isolation;
mod published;
mod secrets;
