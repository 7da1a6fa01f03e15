//! The tests that see Mailward from outside.

mod fuzz;
