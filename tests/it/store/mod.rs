mod engine;
mod migrations;
