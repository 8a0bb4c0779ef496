//! Paired devices in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::session::devices::{DeviceBounds, DevicePut, DeviceRow, PutDevice};

use super::state::count;

/// The devices of a ledger in memory.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// By the number in which they were first stored.
    rows: BTreeMap<u64, DeviceRow>,
    next_number: u64,
    last_revision: u64,
}

impl Devices {
    pub(super) fn by_id(&self, device: &str) -> Option<DeviceRow> {
        let mut rows = self.rows.values();
        rows.find(|row| *row.device == *device).cloned()
    }

    pub(super) fn by_request(&self, request_id: &str) -> Option<DeviceRow> {
        let asks = |row: &&DeviceRow| {
            let request = row.request.as_ref();
            request.is_some_and(|request| *request.request_id == *request_id)
        };
        self.rows.values().find(asks).cloned()
    }

    pub(super) fn list(&self, limit: u32) -> Vec<DeviceRow> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.rows.values().take(limit).cloned().collect()
    }

    pub(super) fn put(&mut self, put: PutDevice) -> DevicePut {
        let PutDevice { mut row, bounds } = put;
        let stored = self.rows.iter().find(|(_, it)| it.device == row.device);
        let revision = stored.map_or(0, |(_, stored)| stored.revision);
        if revision != row.revision {
            return DevicePut::Changed;
        }
        let number = stored.map(|(number, _)| *number);
        let had_request = stored.is_some_and(|(_, stored)| stored.request.is_some());
        let was_paired = stored.is_some_and(|(_, stored)| stored.pairing.is_some());
        if row.request.is_some() && !had_request && !self.make_room_for_request(&bounds) {
            return DevicePut::RequestsFull;
        }
        let mut forgotten = None;
        if row.pairing.is_some() && !was_paired && self.paired() >= bounds.devices_max {
            forgotten = self.forget_expendable();
            if forgotten.is_none() {
                return DevicePut::DevicesFull;
            }
        }
        let number = number.unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number
        });
        if row.is_empty() {
            self.rows.remove(&number);
            row.revision = 0;
        } else {
            row.revision = self.next_revision();
            row.tokens.sort_by(|a, b| a.role.cmp(&b.role));
            self.rows.insert(number, row.clone());
        }
        DevicePut::Done {
            revision: row.revision,
            forgotten,
        }
    }

    fn paired(&self) -> u64 {
        let paired = self.rows.values().filter(|row| row.pairing.is_some());
        u64::try_from(paired.count()).unwrap_or(u64::MAX)
    }

    fn make_room_for_request(&mut self, bounds: &DeviceBounds) -> bool {
        let is_old = |row: &DeviceRow| {
            let request = row.request.as_ref();
            request.is_some_and(|request| request.at_ms < bounds.requests_since_ms)
        };
        self.rows
            .retain(|_, row| row.pairing.is_some() || !is_old(row));
        let old = self.rows.values_mut().filter(|row| is_old(row));
        for row in old {
            self.last_revision += 1;
            row.revision = self.last_revision;
            row.request = None;
        }
        let asking: Vec<_> = self
            .rows
            .values()
            .filter_map(|row| row.request.as_ref())
            .collect();
        count(&asking) < bounds.requests_max
    }

    fn forget_expendable(&mut self) -> Option<Arc<str>> {
        let seen = |(number, row): (&u64, &DeviceRow)| {
            let pairing = row
                .pairing
                .as_ref()
                .filter(|pairing| pairing.is_expendable)?;
            Some((pairing.last_seen_at_ms, *number))
        };
        let (_, number) = self.rows.iter().filter_map(seen).min()?;
        self.rows.remove(&number).map(|row| row.device)
    }

    fn next_revision(&mut self) -> u64 {
        self.last_revision += 1;
        self.last_revision
    }
}
