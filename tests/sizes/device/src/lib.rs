//! The parts that are measured, and the board that they run on.
#![no_std]

pub mod board;
pub mod commands;
pub mod login;
pub mod source;
pub mod tokens;
