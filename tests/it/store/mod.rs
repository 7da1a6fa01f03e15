mod engine;
mod migrations;
#[cfg(debug_assertions)]
mod spread;
#[cfg(debug_assertions)]
mod statements;
mod upgrade;
