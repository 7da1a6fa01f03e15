pub mod hasher;
