//! The steps that make the tables, oldest first. A step that was released never changes.

use super::engine::Step;

pub const STEPS: &[Step] = &[];
