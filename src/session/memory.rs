//! A ledger in memory, for simulation and tests.
