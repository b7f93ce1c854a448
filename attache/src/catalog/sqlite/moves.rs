//! How far a move is: one row, that of the furthest mover. And what is uploaded beside it.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};

use super::SqliteCatalog;
use crate::attachment::AttachmentId;
use crate::catalog::moves::{MoveNote, MoveNotes};
use crate::catalog::{instant, millis, signed, unsigned};
use crate::error::Result;

#[async_trait]
impl MoveNotes for SqliteCatalog {
    async fn note_move(&self, note: &MoveNote) -> Result<()> {
        let note = note.clone();
        self.write("note_move", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO moves (one, from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms) \
                     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                     ON CONFLICT (one) DO UPDATE SET \
                     objects = CASE WHEN ?8 OR from_place <> ?1 OR to_place <> ?2 THEN ?3 ELSE max(objects, ?3) END, \
                     bytes = CASE WHEN ?8 OR from_place <> ?1 OR to_place <> ?2 THEN ?4 ELSE max(bytes, ?4) END, \
                     from_place = ?1, to_place = ?2, total_objects = ?5, total_bytes = ?6, noted_ms = ?7",
                )?
                .execute(params![
                    note.from,
                    note.to,
                    signed(note.objects)?,
                    signed(note.bytes)?,
                    signed(note.total_objects)?,
                    signed(note.total_bytes)?,
                    millis(note.noted_at),
                    note.is_whole,
                ])?;
            Ok(())
        })
        .await
    }

    async fn noted_move(&self) -> Result<Option<MoveNote>> {
        self.read("noted_move", |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT from_place, to_place, objects, bytes, total_objects, total_bytes, noted_ms FROM moves",
                )?
                .query_row([], |row| {
                    let note = MoveNote {
                        from: row.get(0)?,
                        to: row.get(1)?,
                        objects: unsigned(row.get(2)?),
                        bytes: unsigned(row.get(3)?),
                        total_objects: unsigned(row.get(4)?),
                        total_bytes: unsigned(row.get(5)?),
                        noted_at: time::OffsetDateTime::UNIX_EPOCH,
                        is_whole: false,
                    };
                    Ok((note, row.get::<_, i64>(6)?))
                })
                .optional()?;
            let Some((note, noted_ms)) = found else {
                return Ok(None);
            };
            Ok(Some(MoveNote {
                noted_at: instant(noted_ms)?,
                ..note
            }))
        })
        .await
    }

    async fn uploading(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let shared = self.shared.clone();
        self.read_many("uploading", move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT a.id, a.state = 'pending', u.worker FROM attachments a LEFT JOIN uploads u ON u.id = a.id WHERE a.state <> 'ready' AND a.id > ?1 \
                 AND (a.state = 'pending' OR a.state = 'partial' AND u.worker IS NOT NULL) ORDER BY a.id",
            )?;
            let mut rows = statement.query([&after])?;
            let mut found = Vec::new();
            while found.len() < limit as usize
                && let Some(row) = rows.next()?
            {
                let holder: Option<String> = row.get(2)?;
                let is_held = || holder.is_some_and(|of| shared.workers.is_alive(&of));
                if row.get(1)? || is_held() {
                    found.push(row.get::<_, String>(0)?.parse()?);
                }
            }
            Ok(found)
        })
        .await
    }
}
