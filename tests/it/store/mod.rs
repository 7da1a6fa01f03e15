mod engine;
mod migrations;
#[cfg(debug_assertions)]
mod statements;
