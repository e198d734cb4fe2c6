mod accounting;
mod delivery;
mod isolation;
mod limit;
mod shutdown;
mod sinks;
