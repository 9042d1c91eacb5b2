//! Counts everything anew and compares.
