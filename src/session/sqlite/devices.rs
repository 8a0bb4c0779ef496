//! Steps over paired devices, their tokens and their requests.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::session::devices::{
    DeviceBounds, DevicePut, DeviceRow, PairingRow, PutDevice, RequestRow, TokenRow,
};
use crate::session::ledger::{Fault, LedgerError};

use super::fault::StepError;
use super::rows::{int, maybe_number, number};
use super::writer::Tx;

const DEVICE_COLUMNS: &str = "device.id, device.device, device.revision, device.pairing, \
     device.is_expendable, device.last_seen_at_ms, device_request.request_id, \
     device_request.at_ms, device_request.details";

const DEVICE_TABLES: &str = "device LEFT JOIN device_request ON device_request.device = device.id";

pub(super) fn by_id(conn: &Connection, device: &str) -> Result<Option<DeviceRow>, StepError> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM {DEVICE_TABLES} WHERE device.device = ?1");
    one(conn, &sql, device)
}

pub(super) fn by_request(
    conn: &Connection,
    request_id: &str,
) -> Result<Option<DeviceRow>, StepError> {
    let sql = format!(
        "SELECT {DEVICE_COLUMNS} FROM {DEVICE_TABLES} WHERE device_request.request_id = ?1"
    );
    one(conn, &sql, request_id)
}

fn one(conn: &Connection, sql: &str, name: &str) -> Result<Option<DeviceRow>, StepError> {
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query([name])?;
    rows.next()?.map(|row| read(conn, row)).transpose()
}

pub(super) fn list(conn: &Connection, limit: u32) -> Result<Vec<DeviceRow>, StepError> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM {DEVICE_TABLES} ORDER BY device.id LIMIT ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([limit])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        devices.push(read(conn, row)?);
    }
    Ok(devices)
}

fn read(conn: &Connection, row: &Row<'_>) -> Result<DeviceRow, StepError> {
    let pairing: Option<String> = row.get("pairing")?;
    let request: Option<Arc<str>> = row.get("request_id")?;
    let pairing = match pairing {
        Some(details) => Some(PairingRow {
            details,
            is_expendable: row.get("is_expendable")?,
            last_seen_at_ms: number(row, "last_seen_at_ms")?,
        }),
        None => None,
    };
    let request = match request {
        Some(request_id) => Some(RequestRow {
            request_id,
            at_ms: number(row, "at_ms")?,
            details: row.get("details")?,
        }),
        None => None,
    };
    Ok(DeviceRow {
        device: row.get("device")?,
        revision: number(row, "revision")?,
        pairing,
        tokens: tokens(conn, row.get("id")?)?,
        request,
    })
}

fn tokens(conn: &Connection, device: i64) -> Result<Vec<TokenRow>, StepError> {
    let mut select = conn.prepare_cached(
        "SELECT role, digests, scopes, created_at_ms, rotated_at_ms, revoked_at_ms, \
         last_used_at_ms FROM device_token WHERE device = ?1 ORDER BY role",
    )?;
    let mut rows = select.query([device])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(token(row)?);
    }
    Ok(tokens)
}

fn token(row: &Row<'_>) -> Result<TokenRow, StepError> {
    let scopes: String = row.get("scopes")?;
    let digests: Vec<u8> = row.get("digests")?;
    let (digests, rest) = digests.as_chunks();
    if !rest.is_empty() {
        return Err(corrupt("digests of a token are not whole"));
    }
    Ok(TokenRow {
        role: row.get("role")?,
        digests: digests.to_vec(),
        scopes: serde_json::from_str(&scopes)?,
        created_at_ms: number(row, "created_at_ms")?,
        rotated_at_ms: maybe_number(row, "rotated_at_ms")?,
        revoked_at_ms: maybe_number(row, "revoked_at_ms")?,
        last_used_at_ms: maybe_number(row, "last_used_at_ms")?,
    })
}

fn corrupt(reason: &str) -> StepError {
    let failed = LedgerError::Failed {
        fault: Fault::Corrupt,
        reason: reason.into(),
    };
    failed.into()
}

/// What is stored of the device a change is for.
#[derive(Default)]
struct Stored {
    id: Option<i64>,
    revision: u64,
    is_paired: bool,
    has_request: bool,
}

impl Stored {
    fn read(conn: &Connection, device: &str) -> Result<Self, StepError> {
        let mut select = conn.prepare_cached(
            "SELECT id, revision, pairing IS NOT NULL AS is_paired, \
             EXISTS (SELECT 1 FROM device_request WHERE device_request.device = device.id) \
             AS has_request FROM device WHERE device = ?1",
        )?;
        let stored = select.query_row([device], |row| {
            Ok(Self {
                id: row.get("id")?,
                revision: number(row, "revision")?,
                is_paired: row.get("is_paired")?,
                has_request: row.get("has_request")?,
            })
        });
        Ok(stored.optional()?.unwrap_or_default())
    }
}

pub(super) fn put(tx: &Tx<'_>, put: &PutDevice) -> Result<DevicePut, StepError> {
    let (conn, row) = (tx.conn, &put.row);
    let stored = Stored::read(conn, &row.device)?;
    if stored.revision != row.revision {
        return Ok(DevicePut::Changed);
    }
    if row.request.is_some() && !stored.has_request {
        forget_requests(conn, put.bounds.requests_since_ms)?;
        if count(conn, "SELECT count(*) FROM device_request")? >= int(put.bounds.requests_max) {
            return Ok(DevicePut::RequestsFull);
        }
    }
    let mut forgotten = None;
    if row.pairing.is_some() && !stored.is_paired && is_full(conn, &put.bounds)? {
        forgotten = forget_expendable(conn)?;
        if forgotten.is_none() {
            return Ok(DevicePut::DevicesFull);
        }
    }
    let revision = if row.is_empty() {
        remove(conn, stored.id)?;
        0
    } else {
        replace(conn, row, stored.id)?
    };
    Ok(DevicePut::Done {
        revision,
        forgotten,
    })
}

fn count(conn: &Connection, sql: &str) -> Result<i64, StepError> {
    let mut select = conn.prepare_cached(sql)?;
    Ok(select.query_row([], |row| row.get(0))?)
}

fn is_full(conn: &Connection, bounds: &DeviceBounds) -> Result<bool, StepError> {
    let paired = count(
        conn,
        "SELECT count(*) FROM device WHERE pairing IS NOT NULL",
    )?;
    Ok(paired >= int(bounds.devices_max))
}

/// Removes requests from before a time, and devices that were nothing but such a request.
fn forget_requests(conn: &Connection, since_ms: u64) -> Result<(), StepError> {
    let mut select = conn.prepare_cached("SELECT device FROM device_request WHERE at_ms < ?1")?;
    let old: Vec<i64> = select
        .query_map([int(since_ms)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for device in old {
        conn.prepare_cached("DELETE FROM device_request WHERE device = ?1")?
            .execute([device])?;
        let gone = conn
            .prepare_cached("DELETE FROM device WHERE id = ?1 AND pairing IS NULL")?
            .execute([device])?;
        if gone == 0 {
            let revision = next_revision(conn)?;
            conn.prepare_cached("UPDATE device SET revision = ?2 WHERE id = ?1")?
                .execute(params![device, revision])?;
        }
    }
    Ok(())
}

/// Removes the expendable device that was not seen for longest.
fn forget_expendable(conn: &Connection) -> Result<Option<Arc<str>>, StepError> {
    let mut select = conn.prepare_cached(
        "SELECT id, device FROM device WHERE is_expendable = 1 \
         ORDER BY last_seen_at_ms, id LIMIT 1",
    )?;
    let found: Option<(i64, Arc<str>)> = select
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, device)) = found else {
        return Ok(None);
    };
    remove(conn, Some(id))?;
    Ok(Some(device))
}

fn remove(conn: &Connection, id: Option<i64>) -> Result<(), StepError> {
    remove_parts(conn, id)?;
    conn.prepare_cached("DELETE FROM device WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

fn remove_parts(conn: &Connection, id: Option<i64>) -> Result<(), StepError> {
    conn.prepare_cached("DELETE FROM device_token WHERE device = ?1")?
        .execute([id])?;
    conn.prepare_cached("DELETE FROM device_request WHERE device = ?1")?
        .execute([id])?;
    Ok(())
}

/// Writes the row as a whole; returns its revision.
fn replace(conn: &Connection, row: &DeviceRow, id: Option<i64>) -> Result<u64, StepError> {
    remove_parts(conn, id)?;
    let revision = next_revision(conn)?;
    let pairing = row.pairing.as_ref();
    let mut write = conn.prepare_cached(
        "INSERT INTO device (id, device, revision, pairing, is_expendable, last_seen_at_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET revision = ?3, \
         pairing = ?4, is_expendable = ?5, last_seen_at_ms = ?6 RETURNING id",
    )?;
    let id: i64 = write.query_row(
        params![
            id,
            row.device,
            revision,
            pairing.map(|pairing| &pairing.details),
            pairing.is_some_and(|pairing| pairing.is_expendable),
            pairing.map(|pairing| int(pairing.last_seen_at_ms)),
        ],
        |row| row.get(0),
    )?;
    for token in &row.tokens {
        insert_token(conn, id, token)?;
    }
    if let Some(request) = &row.request {
        let mut insert = conn.prepare_cached(
            "INSERT INTO device_request (device, request_id, at_ms, details) \
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        insert.execute(params![
            id,
            request.request_id,
            int(request.at_ms),
            request.details
        ])?;
    }
    Ok(u64::try_from(revision).unwrap_or(0))
}

fn insert_token(conn: &Connection, device: i64, token: &TokenRow) -> Result<(), StepError> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO device_token (device, role, digests, scopes, created_at_ms, rotated_at_ms, \
         revoked_at_ms, last_used_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    insert.execute(params![
        device,
        token.role,
        token.digests.as_flattened(),
        serde_json::to_string(&token.scopes)?,
        int(token.created_at_ms),
        token.rotated_at_ms.map(int),
        token.revoked_at_ms.map(int),
        token.last_used_at_ms.map(int),
    ])?;
    Ok(())
}

fn next_revision(conn: &Connection) -> Result<i64, StepError> {
    let mut update = conn.prepare_cached(
        "UPDATE meta SET device_revision = device_revision + 1 RETURNING device_revision",
    )?;
    Ok(update.query_row([], |row| row.get(0))?)
}
