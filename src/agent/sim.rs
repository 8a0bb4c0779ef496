//! The built-in simulated agent.
