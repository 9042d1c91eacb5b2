//! The HTTP API and the live admin pages.
