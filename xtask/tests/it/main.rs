//! The built binary, first against fake programs on PATH, then against a real engine.

mod action;
mod bench;
mod build;
mod bump;
mod cache;
mod check;
mod config;
mod doctor;
mod end_to_end;
mod fleet;
mod interrupt;
mod list;
mod monorepo;
mod online;
mod package;
mod publish;
mod publish_reports;
mod python;
mod sandbox;
mod seed_bugs;
mod selection;
mod sign;
mod tool_checks;
