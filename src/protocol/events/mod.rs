//! The events of the native dialect: payloads, one file per family, and the one table that says
//! what exists, who may see it and how it is delivered (`protocol-facts` §4.4, §7).
//!
//! Knows no connection: who is subscribed to what is the business of the front.

pub mod agent;
pub mod chat;
pub mod device;
pub mod session;
pub mod system;
mod table;

pub use table::{Delivery, Event, EventRow};
