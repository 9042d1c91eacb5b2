//! The bodies on real git and a real shell: what hosts did to those who came before.

mod asking;
mod git;
mod place;
mod service;
mod twice;
