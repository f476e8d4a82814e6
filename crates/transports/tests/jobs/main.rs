//! `/v1/jobs` as `protocol/README.md` §10 says it: each request, and what can go wrong with it.

mod app;
mod files;
mod making;
mod watching;
mod working;
